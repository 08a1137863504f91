import FileIO
import Foundation
import PikaStorage
import SyncProtocol
import Synchronization
import Testing

@testable import Keyspace

@Suite("Effects")
struct EffectTests {
    @Test("Every effect is found by its word, in any case of letters", arguments: Effect.allCases)
    func words(effect: Effect) {
        let word = effect.word.description
        withBytes([word, word.uppercased(), word + "x", String(word.dropLast())]) { words in
            #expect(Effect(word: words[0]) == effect)
            #expect(Effect(word: words[1]) == effect)
            #expect(Effect(word: words[2]) != effect)
            #expect(Effect(word: words[3]) != effect)
        }
    }

    @Test("Words of commands that are no items are unknown")
    func unknown() {
        withBytes(["get", "mset", "expire", "", "x", "rename", "setex"]) { words in
            for word in words { #expect(Effect(word: word) == nil) }
        }
    }

    @Test("FLUSHDB of one type empties that store")
    func flushTarget() throws {
        let all = try withBytes(["flushdb"]) { try ItemApplier.flushTarget($0) }
        #expect(all == .all)
        let one = try withBytes(["FLUSHDB", "Hash"]) { try ItemApplier.flushTarget($0) }
        #expect(one == .hashes)
        #expect(throws: ApplyError.badArgument(effect: .flushdb, index: 1)) {
            try withBytes(["flushdb", "other"]) { try ItemApplier.flushTarget($0) }
        }
    }
}

@Suite("Item content")
struct ItemContentTests {
    static let content = Array("*3\r\n$3\r\nset\r\n$3\r\nfoo\r\n$4\r\nb\r\nr\r\n".utf8)

    @Test("A content is split into its strings")
    func split() throws {
        var arguments = ItemArguments()
        try Self.content.withUnsafeBytes { content in
            try arguments.parse(content)
            let words = arguments.all.map { String(decoding: $0, as: UTF8.self) }
            #expect(words == ["set", "foo", "b\r\nr"])
        }
    }

    @Test("No strict prefix and nothing longer is a content")
    func prefixes() {
        var arguments = ItemArguments()
        for count in 0..<Self.content.count {
            Self.content[..<count].withUnsafeBytes { content in
                let result = Result { () throws(ApplyError) in try arguments.parse(content) }
                #expect(throws: ApplyError.malformedContent) { try result.get() }
            }
        }
        (Self.content + [0]).withUnsafeBytes { content in
            let result = Result { () throws(ApplyError) in try arguments.parse(content) }
            #expect(throws: ApplyError.malformedContent) { try result.get() }
        }
    }

    @Test("A flipped byte gives other strings or an error, never a crash")
    func flips() {
        var arguments = ItemArguments()
        for index in Self.content.indices {
            for bit in 0..<8 {
                var damaged = Self.content
                damaged[index] ^= 1 << UInt8(bit)
                damaged.withUnsafeBytes { content in
                    guard (try? arguments.parse(content)) != nil else { return }
                    for word in arguments.all { #expect(word.count <= content.count) }
                }
            }
        }
    }

    @Test("The padding of a real Pika is a content")
    func padding() throws {
        let content = Array("*2\r\n$7\r\npadding\r\n$00005\r\n*****\r\n".utf8)
        var arguments = ItemArguments()
        try content.withUnsafeBytes { content in
            try arguments.parse(content)
            #expect(arguments.count == 2)
            #expect(Effect(word: arguments.all[0]) == .padding)
        }
    }
}

@Suite("Log clock")
struct LogClockTests {
    @Test(
        "Effective now never lies more than two seconds before the highest one", arguments: 0..<20)
    func property(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var clock = LogClock()
        var wall: Int64 = 1_700_000_000
        for _ in 0..<1000 {
            wall += Int64.random(in: -5...6, using: &random)
            let before = clock.highest
            let predicted = clock.effective(execTimeSeconds: wall)
            let now = clock.advance(execTimeSeconds: wall)
            #expect(now == predicted)
            #expect(now >= before - 2 && now >= wall)
            #expect(clock.highest == max(before, now))
        }
    }

    @Test("A replay from any item on, with that item's clock, gives the same times")
    func replay() {
        var random = SeededGenerator(seed: 7)
        let times = (0..<200).map { _ in Int64.random(in: 1000...1020, using: &random) }
        var clock = LogClock()
        var clocks = [clock]
        let nows = times.map { time in
            let now = clock.advance(execTimeSeconds: time)
            clocks.append(clock)
            return now
        }
        for start in times.indices {
            var again = LogClock(highest: clocks[start].highest)
            let replayed = times[start...].map { again.advance(execTimeSeconds: $0) }
            #expect(replayed == Array(nows[start...]))
        }
    }
}

@Suite("Key locks")
struct KeyLocksTests {
    @Test("A stripe has one owner, and who waits is called at its release")
    func waiters() {
        let locks = KeyLocks(count: 8)
        #expect(locks.tryAcquire(3, owner: 1, busy: false) == .acquired)
        #expect(locks.tryAcquire(3, owner: 1, busy: false) == .alreadyOwned)
        #expect(locks.tryAcquire(3, owner: 2, busy: false) == .heldByLoop)
        locks.markBusy(3)
        #expect(locks.tryAcquire(3, owner: 2, busy: false) == .heldByBusy)
        #expect(locks.tryAcquire(3, owner: 1, busy: false) == .alreadyOwned)
        let counter = Counter()
        locks.whenFree(3) { counter.add() }
        locks.whenFree(4) { counter.add() }
        #expect(counter.value == 1)
        locks.release(3)
        #expect(counter.value == 2)
        #expect(locks.isEmpty)
    }

    @Test("Threads that take stripes exclude each other")
    func exclusion() {
        let locks = KeyLocks(count: 4)
        let shared = UnsharedNumbers()
        let threads = (1...4).map { owner in
            WorkerThread {
                for round in 0..<2000 {
                    let stripe = UInt32((round + owner) % 4)
                    while locks.tryAcquire(stripe, owner: UInt32(owner), busy: false) != .acquired {
                        yieldThread()
                    }
                    shared.increment(Int(stripe))
                    locks.release(stripe)
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(shared.total == 8000)
    }
}

final class Counter: Sendable {
    private let count = Atomic<Int>(0)
    func add() { count.add(1, ordering: .sequentiallyConsistent) }
    var value: Int { count.load(ordering: .sequentiallyConsistent) }
}

private final class UnsharedNumbers: @unchecked Sendable {
    // SAFETY: each number is changed under its stripe only; that is what the test tests.
    private let numbers = UnsafeMutablePointer<Int>.allocate(capacity: 4)
    init() { numbers.initialize(repeating: 0, count: 4) }
    deinit { numbers.deallocate() }
    func increment(_ index: Int) { numbers[index] += 1 }
    var total: Int { (0..<4).reduce(0) { $0 + numbers[$1] } }
}

@Suite("Transaction gate")
struct TransactionGateTests {
    @Test("Nobody is inside while it is closed, and all go on afterwards")
    func exclusion() {
        let gate = TransactionGate()
        let inside = Counter()
        let flag = Flag()
        let threads = (0..<3).map { _ in
            let entrance = gate.makeEntrance()
            return WorkerThread {
                while !flag.isSet {
                    guard entrance.enter() else {
                        yieldThread()
                        continue
                    }
                    inside.add()
                    entrance.leave()
                }
            }
        }
        for _ in 0..<50 {
            gate.withClosed { () throws(Never) in
                let before = inside.value
                pause(microseconds: 200)
                #expect(inside.value == before)
            }
        }
        flag.set()
        for thread in threads { thread.join() }
    }

    @Test("Who is refused is called when the gate opens")
    func waiters() {
        let gate = TransactionGate()
        let entrance = gate.makeEntrance()
        let opened = Counter()
        gate.withClosed { () throws(Never) in
            #expect(!entrance.enter())
            gate.whenOpen { opened.add() }
            #expect(opened.value == 0)
        }
        #expect(opened.value == 1)
        #expect(entrance.enter())
        entrance.leave()
        gate.whenOpen { opened.add() }
        #expect(opened.value == 2)
    }

    @Test("A group in the stall queue keeps it open")
    func queuedGroup() {
        let gate = TransactionGate()
        gate.groupQueued()
        let finished = Flag()
        let thread = WorkerThread {
            pause(microseconds: 3000)
            finished.set()
            gate.groupFinished()
        }
        gate.withClosed { () throws(Never) in #expect(finished.isSet) }
        thread.join()
    }
}

final class Flag: Sendable {
    private let flag = Atomic<Bool>(false)
    func set() { flag.store(true, ordering: .sequentiallyConsistent) }
    var isSet: Bool { flag.load(ordering: .sequentiallyConsistent) }
}

@Suite("Files of ours")
struct MarkFileTests {
    static let entries = [
        HistoryEntry(id: newReplicationID(), previousEnd: .zero, previousDigest: 0, start: .zero),
        HistoryEntry(
            id: newReplicationID(), previousEnd: BinlogPosition(fileNumber: 1, offset: 77),
            previousDigest: 5, start: BinlogPosition(fileNumber: 2, offset: 0)),
    ]
    static let node = NodeFile(
        bootID: "boot", runID: newRunID(), replicationID: newReplicationID(),
        roles: [.master, .replica])
    static let state = StateFile(
        applied: BinlogPosition(fileNumber: 3, offset: 4),
        logEnd: BinlogPosition(fileNumber: 3, offset: 9), logDigest: 7, highestEffectiveNow: -1,
        stores: StoreKind.allCases.map {
            StateFile.StoreMark(sequenceNumber: UInt64($0.rawValue), identity: "id\($0)")
        })
    static let snapshot = SnapshotFileRecord(
        position: BinlogPosition(fileNumber: 3, offset: 4), runningDigest: 8,
        highestEffectiveNow: 9, cutAtSeconds: 10, history: entries,
        files: [SnapshotFile(path: "sets/CURRENT", sizeBytes: 16)])

    private func check<Record: MarkFile & Equatable>(_ record: Record) throws {
        let bytes = try Record.envelope.encode(record.payload)
        #expect(try Record(decoding: bytes) == record)
        for count in 0..<bytes.count {
            let prefix = Array(bytes[..<count])
            #expect(throws: RecordReader.Failure.self) { try Record(decoding: prefix) }
        }
        for index in bytes.indices {
            var damaged = bytes
            damaged[index] ^= 0x40
            #expect(throws: RecordReader.Failure.self) { try Record(decoding: damaged) }
        }
    }

    @Test("Each file reads back; prefixes and flipped bytes are refused")
    func roundTrips() throws {
        try check(Self.node)
        try check(Self.state)
        try check(HistoryFile(entries: Self.entries))
        try check(Self.snapshot)
        var rules = FlushRules()
        rules.set(emptiesAll: true, from: BinlogPosition(fileNumber: 1, offset: 10))
        rules.set(emptiesAll: false, from: BinlogPosition(fileNumber: 2, offset: 0))
        try check(FlushRulesFile(rules: rules))
    }

    @Test("FLUSHDB of a type means what it meant to the master that wrote that part of the log")
    func flushRules() {
        func at(_ file: UInt32, _ offset: UInt64) -> BinlogPosition {
            BinlogPosition(fileNumber: file, offset: offset)
        }
        var rules = FlushRules()
        #expect(!rules.emptiesAll(at: at(9, 9)))
        rules.set(emptiesAll: false, from: at(0, 0))
        #expect(rules.entries.isEmpty, "as without a rule")
        rules.set(emptiesAll: true, from: at(1, 10))
        rules.set(emptiesAll: true, from: at(1, 90))
        #expect(rules.entries.count == 1)
        #expect(!rules.emptiesAll(at: at(1, 10)))
        #expect(rules.emptiesAll(at: at(1, 11)))
        rules.set(emptiesAll: false, from: at(2, 0))
        #expect(rules.emptiesAll(at: at(2, 0)))
        #expect(!rules.emptiesAll(at: at(2, 1)))
        // A copy of an older position took the log's place: what lay behind it is over.
        rules.set(emptiesAll: true, from: at(0, 5))
        #expect(rules.entries == [FlushRules.Entry(from: at(0, 5), emptiesAll: true)])
        for number in 0..<200 {
            rules.set(emptiesAll: number % 2 == 1, from: at(3, UInt64(number)))
        }
        #expect(rules.entries.count == FlushRules.maximumEntries)
    }

    @Test("What FLUSHDB of a type means behind a position is taken over from a peer")
    func adoptedFlushRules() {
        func at(_ file: UInt32, _ offset: UInt64) -> BinlogPosition {
            BinlogPosition(fileNumber: file, offset: offset)
        }
        func rule(_ position: BinlogPosition, _ emptiesAll: Bool) -> FlushRules.Entry {
            FlushRules.Entry(from: position, emptiesAll: emptiesAll)
        }
        let theirs = FlushRules(entries: [rule(at(1, 10), true), rule(at(4, 0), false)])
        var empty = FlushRules()
        empty.adopt(theirs, from: .zero)
        #expect(empty == theirs)
        // The peer tells what holds at our end, whatever its own entry's position is.
        var behind = FlushRules()
        behind.adopt(theirs, from: at(3, 5))
        #expect(behind.entries == [rule(at(3, 5), true), rule(at(4, 0), false)])
        // What is here already was applied by our own rule: it stays for a replay.
        var known = FlushRules(entries: [rule(at(0, 5), true)])
        known.adopt(FlushRules(), from: at(2, 0))
        #expect(known.entries == [rule(at(0, 5), true), rule(at(2, 0), false)])
    }

    @Test("A damaged file is an error that names it")
    func namesFile() throws {
        let directory = try TemporaryDirectory()
        let fileSystem = RealFileSystem()
        try Self.state.write(in: directory.path, fileSystem: fileSystem)
        #expect(
            try StateFile.read(in: directory.path, fileSystem: fileSystem) == Self.state)
        let path = directory.path + "/" + StateFile.fileName
        try Data([1, 2, 3]).write(to: URL(fileURLWithPath: path))
        do throws(KeyspaceError) {
            _ = try StateFile.read(in: directory.path, fileSystem: fileSystem)
            Issue.record("read a damaged file")
        } catch {
            guard case .damaged(path, _) = error else {
                Issue.record("\(error)")
                return
            }
        }
        try StateFile.remove(in: directory.path, fileSystem: fileSystem)
        #expect(try StateFile.read(in: directory.path, fileSystem: fileSystem) == nil)
    }
}
