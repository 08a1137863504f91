import Keyspace
import Testing

@Suite("Remembered deadlines")
struct DeadlineQueueTests {
    private func key(_ text: String) -> [UInt8] { Array(text.utf8) }

    private func texts(_ due: [DeadlineQueue.Due]) -> [String] {
        due.map { String(decoding: $0.key, as: UTF8.self) + " \($0.deadline)" }.sorted()
    }

    @Test("A key is due once the second of its deadline is over, and only once")
    func due() {
        var queue = DeadlineQueue(now: 100)
        queue.set(key("a"), deadline: 105)
        queue.set(key("b"), deadline: 103)
        queue.set(key("c"), deadline: 105)
        #expect(texts(queue.takeDue(now: 103, limit: 10)) == [])
        #expect(texts(queue.takeDue(now: 104, limit: 10)) == ["b 103"])
        #expect(texts(queue.takeDue(now: 105, limit: 10)) == [])
        #expect(texts(queue.takeDue(now: 106, limit: 10)) == ["a 105", "c 105"])
        #expect(texts(queue.takeDue(now: 200, limit: 10)) == [])
        #expect(queue.count == 0)
    }

    @Test("The last deadline of a key counts; a key that is forgotten is never due")
    func moved() {
        var queue = DeadlineQueue(now: 100)
        queue.set(key("a"), deadline: 101)
        queue.set(key("a"), deadline: 110)
        queue.set(key("b"), deadline: 102)
        queue.remove(key("b"))
        queue.remove(key("none"))
        #expect(queue.count == 1)
        #expect(texts(queue.takeDue(now: 110, limit: 10)) == [])
        #expect(texts(queue.takeDue(now: 111, limit: 10)) == ["a 110"])
        queue.set(key("c"), deadline: 120)
        queue.removeAll()
        #expect(texts(queue.takeDue(now: 200, limit: 10)) == [])
    }

    @Test("A deadline that was over when it was set is due at the next look")
    func overdue() {
        var queue = DeadlineQueue(now: 100)
        queue.set(key("a"), deadline: 1)
        #expect(texts(queue.takeDue(now: 100, limit: 10)) == [])
        #expect(texts(queue.takeDue(now: 101, limit: 10)) == ["a 1"])
        queue.set(key("b"), deadline: 50)
        queue.remove(key("b"))
        #expect(texts(queue.takeDue(now: 300, limit: 10)) == [])
    }

    @Test("A single key is taken out when its time is over, not before")
    func single() {
        var queue = DeadlineQueue(now: 100)
        queue.set(key("a"), deadline: 100)
        #expect(queue.takeDue(key("a"), now: 100) == nil)
        #expect(queue.takeDue(key("b"), now: 500) == nil)
        #expect(queue.takeDue(key("a"), now: 101)?.deadline == 100)
        #expect(queue.takeDue(key("a"), now: 101) == nil)
        #expect(texts(queue.takeDue(now: 500, limit: 10)) == [])
    }

    @Test("No more keys are taken at once than wanted; the others come next")
    func limitOfALook() {
        var queue = DeadlineQueue(now: 100)
        for number in 0..<25 { queue.set(key("k\(number)"), deadline: 100 + Int64(number % 3)) }
        var sizes: [Int] = []
        var all = Set<String>()
        while true {
            let due = queue.takeDue(now: 200, limit: 10)
            if due.isEmpty { break }
            sizes.append(due.count)
            all.formUnion(texts(due))
        }
        #expect(sizes == [10, 10, 5])
        #expect(all.count == 25)
    }

    @Test("A clock that jumps by years costs no look at every second")
    func jump() {
        var queue = DeadlineQueue(now: 0)
        queue.set(key("a"), deadline: 1_000_000_000_000)
        queue.set(key("b"), deadline: 3)
        #expect(texts(queue.takeDue(now: 1_000_000_000_000, limit: 10)) == ["b 3"])
        #expect(texts(queue.takeDue(now: 1_000_000_000_001, limit: 10)) == ["a 1000000000000"])
    }

    @Test("At the limit of keys another one finds no room and is counted; a known key moves")
    func keyLimit() {
        var queue = DeadlineQueue(now: 100, keyLimit: 2)
        queue.set(key("a"), deadline: 101)
        queue.set(key("b"), deadline: 101)
        #expect(queue.missedCount == 0)
        queue.set(key("c"), deadline: 101)
        #expect(queue.missedCount == 1)
        queue.set(key("b"), deadline: 102)
        #expect(queue.missedCount == 1)
        #expect(texts(queue.takeDue(now: 200, limit: 10)) == ["a 101", "b 102"])
        queue.set(key("c"), deadline: 201)
        #expect(queue.count == 1)
    }

    @Test("At the limit of bytes another name finds no room until one is gone")
    func byteLimit() {
        var queue = DeadlineQueue(now: 100, byteLimit: 5)
        queue.set(key("abc"), deadline: 101)
        queue.set(key("de"), deadline: 101)
        queue.set(key("f"), deadline: 101)
        #expect(queue.missedCount == 1)
        queue.remove(key("de"))
        queue.set(key("fg"), deadline: 101)
        #expect(queue.missedCount == 1)
        #expect(queue.count == 2)
    }
}
