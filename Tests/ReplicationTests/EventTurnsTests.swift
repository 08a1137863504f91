import Testing

@testable import Replication

@Suite("Events of a machine, in turn")
struct EventTurnsTests {
    @Test("An event that comes while another one is handled waits for its turn, with its bytes")
    func turns() {
        var turns = EventTurns<Int, String>()
        var seen: [String] = []
        func handle(_ event: Int, _ bytes: String? = nil) {
            turns.append(event, bytes)
            guard turns.begin() else { return }
            while let next = turns.next() {
                seen.append("\(next)\(turns.bytes ?? "")")
                if next == 1 {
                    handle(2, "b")
                    turns.append(3)
                    seen.append("end of 1")
                }
            }
        }
        handle(1, "a")
        #expect(seen == ["1a", "end of 1", "2b", "3"])
        #expect(turns.bytes == nil)
        handle(4)
        #expect(seen.last == "4", "the next one is taken again")
    }

    @Test("What waits can be dropped")
    func clear() {
        var turns = EventTurns<Int, String>()
        turns.append(1)
        turns.append(2)
        let (first, second) = (turns.begin(), turns.begin())
        #expect(first && !second)
        let one = turns.next()
        #expect(one == 1)
        turns.clear()
        let none = turns.next()
        #expect(none == nil)
        let again = turns.begin()
        #expect(again)
    }
}
