import Migrate
import Testing

@Suite("Exit codes")
struct ExitStatusTests {
    @Test("Every exit code has its own name")
    func names() {
        #expect(Set(ExitStatus.allCases.map(\.code)).count == ExitStatus.allCases.count)
    }
}
