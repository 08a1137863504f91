import Foundation
import PikaStorage
import TestKit
import Testing

@Suite("Elements read ahead")
struct ListAheadTests {
    private let now: Int64 = 1_700_000_000

    private func element(_ lists: Lists, _ key: String, _ end: ListEnd) throws -> String? {
        try with(key) { key in
            try lists.withEnd(key, end, now: now) { bytes in
                bytes.map { String(decoding: $0, as: UTF8.self) }
            }
        }
    }

    /// What LPOP and RPOP do.
    private func pop(_ lists: Lists, _ key: String, _ end: ListEnd) throws -> String? {
        let found = try element(lists, key, end)
        let count = try with(key) { try lists.pop($0, end, count: 1, now: now) }
        #expect(count == (found == nil ? 0 : 1))
        return found
    }

    private func push(_ lists: Lists, _ key: String, _ end: ListEnd, _ elements: [String]) throws {
        try with(key) { key in
            try with(list: elements) { _ = try lists.push(key, end, $0, now: now) }
        }
    }

    @Test("Pops give what is there, whatever the group changed between them")
    func agreesWithModel() throws {
        let directory = try TemporaryDirectory()
        let store = try openStore(directory("lists"), .lists)
        defer { store.close(flush: false) }
        let lists = Lists(store.makeTransaction())
        var random = SeededRandom(seed: testSeed)
        var model: [String: [String]] = [:]
        for step in 0..<6000 {
            let key = "list\(random.next() % 2)"
            let end: ListEnd = random.next() % 4 == 0 ? .right : .left
            var list = model[key, default: []]
            switch random.next() % 12 {
            case 0:
                let size = random.next() % 200 == 0 ? 20_000 : 3
                let new = (0..<random.next() % 60).map {
                    "\(step)-\($0)" + String(repeating: "x", count: size)
                }
                guard !new.isEmpty else { continue }
                try push(lists, key, end, new)
                list = end == .left ? new.reversed() + list : list + new
            case 1 where !list.isEmpty:
                let index = Int(random.next() % UInt64(min(list.count, 4)))
                try with(key) { key in
                    try with("set \(step)") { try lists.set(key, at: Int64(index), $0, now: now) }
                }
                list[index] = "set \(step)"
            case 2 where random.next() % 8 == 0:
                try with(key) { try lists.trim($0, start: 2, stop: -3, now: now) }
                list = list.count > 4 ? Array(list[2...(list.count - 3)]) : []
            case 3:
                #expect(try lists.transaction.commit(applied: nil, mode: .waiting) == .done)
            default:
                let wanted = end == .left ? list.first : list.last
                try #require(
                    try pop(lists, key, end) == wanted, "step \(step), PIKA_TEST_SEED=\(testSeed)")
                if !list.isEmpty { list.remove(at: end == .left ? 0 : list.count - 1) }
            }
            model[key] = list
        }
    }

    private func openedList(
        _ directory: TemporaryDirectory
    ) throws -> (store: Store, one: Lists, other: Lists) {
        let store = try openStore(directory("lists"), .lists)
        let one = Lists(store.makeTransaction())
        try push(one, "l", .right, ["a", "b", "c", "d", "e"])
        _ = try one.transaction.commit(applied: nil)
        return (store, one, Lists(store.makeTransaction()))
    }

    @Test("What was read ahead is forgotten when somebody writes elements")
    func endsWithWrites() throws {
        let directory = try TemporaryDirectory()
        let (store, one, other) = try openedList(directory)
        defer { store.close(flush: false) }
        #expect(try pop(one, "l", .left) == "a")
        #expect(try pop(one, "l", .left) == "b")
        one.transaction.reset()
        try with("l") { key in
            try with("new") { try other.set(key, at: 1, $0, now: now) }
        }
        _ = try other.transaction.commit(applied: nil)
        #expect(try pop(one, "l", .left) == "a")
        #expect(try pop(one, "l", .left) == "new")
        #expect(try pop(one, "l", .left) == "c")
    }

    @Test("Two that pop by turns, commit or take back what they did, get every element in its turn")
    func poppedByTwo() throws {
        let directory = try TemporaryDirectory()
        let store = try openStore(directory("lists"), .lists)
        defer { store.close(flush: false) }
        let both = [Lists(store.makeTransaction()), Lists(store.makeTransaction())]
        var random = SeededRandom(seed: testSeed)
        var model = (0..<2000).map { "element \($0)" }
        try push(both[0], "l", .right, model)
        _ = try both[0].transaction.commit(applied: nil)
        while !model.isEmpty {
            let lists = both[Int(random.next() % 2)]
            var copy = model
            for _ in 0...random.next() % 24 where !copy.isEmpty {
                let end: ListEnd = random.next() % 64 == 0 ? .right : .left
                let wanted = end == .left ? copy.removeFirst() : copy.removeLast()
                try #require(try pop(lists, "l", end) == wanted, "PIKA_TEST_SEED=\(testSeed)")
            }
            if random.next() % 4 == 0 {
                lists.transaction.reset()
            } else {
                #expect(try lists.transaction.commit(applied: nil) == .done)
                model = copy
            }
        }
        #expect(try pop(both[0], "l", .left) == nil)
    }

    @Test("An own element that was read ahead and taken back is not there any more")
    func takenBack() throws {
        let directory = try TemporaryDirectory()
        let (store, one, other) = try openedList(directory)
        defer { store.close(flush: false) }
        #expect(try pop(one, "l", .left) == "a")
        _ = try one.transaction.commit(applied: nil)
        try with("l") { key in
            try with("own") { try one.set(key, at: 2, $0, now: now) }
        }
        // Reads all of them ahead, the own one, too.
        #expect(try pop(one, "l", .left) == "b")
        one.transaction.reset()
        for wanted in ["b", "c", "d", "e"] { #expect(try pop(one, "l", .left) == wanted) }
        #expect(try pop(one, "l", .left) == nil)
        one.transaction.reset()
        try push(other, "l", .right, ["theirs"])
        _ = try other.transaction.commit(applied: nil)
        for wanted in ["b", "c", "d", "e", "theirs"] {
            #expect(try pop(one, "l", .left) == wanted)
        }
    }
}
