import Migrate
import Testing

@Suite("Exit codes")
struct ExitStatusTests {
    @Test("Every exit code has its own name")
    func names() {
        #expect(Set(ExitStatus.allCases.map(\.code)).count == ExitStatus.allCases.count)
    }

    @Test("Every reason to end has its code")
    func reasons() {
        let codes: [(RunError, Int32)] = [
            (.stopped, 0), (.usage(""), 2), (.refused(""), 3), (.preflight(""), 4),
            (.corrupt(""), 5), (.history(""), 6), (.fenced(""), 7), (.rejected(""), 8),
            (.outOfSpace(""), 9), (.io(""), 10), (.targetLost(""), 10),
        ]
        for (error, code) in codes { #expect(error.status.rawValue == code, "\(error)") }
    }
}
