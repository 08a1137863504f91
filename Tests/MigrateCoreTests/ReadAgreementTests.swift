import MigrateCore
import Testing

@Suite("What was read and what is received")
struct ReadAgreementTests {
    private func steps(
        _ count: Int, read: String = "new", isStreaming: Bool = true, isHeld: Bool = false
    ) -> [ReadAgreement.Step] {
        var agreement = ReadAgreement()
        return (0..<count).map { _ in
            agreement.judge(
                read: read, received: "old", isStreaming: isStreaming, isHeld: isHeld)
        }
    }

    @Test("A key of the stream's history is taken at once, and one of a server that has no names")
    func agreed() {
        #expect(self.steps(1, read: "old") == [.take])
        #expect(self.steps(1, read: "") == [.take])
    }

    @Test("A key of another history is read again, until the stream looks for its server, too")
    func disagreed() {
        let all = self.steps(2 * ReadAgreement.patience)
        let part = [ReadAgreement.Step](repeating: .again, count: ReadAgreement.patience - 1)
        #expect(all == part + [.reconnect] + part + [.reconnect])
    }

    @Test("A link that is connecting is left to it, however long a server prepares its snapshot")
    func connecting() {
        let all = self.steps(3 * ReadAgreement.patience, isStreaming: false)
        #expect(all.allSatisfy { $0 == .again })
    }

    @Test("A spool without room is not waited for: it gets some only if the reader goes on")
    func held() { #expect(self.steps(1, isHeld: true) == [.take]) }
}
