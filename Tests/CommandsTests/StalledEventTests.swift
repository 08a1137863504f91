import Glibc
import PikaStorage
import Synchronization
import Testing

@testable import Commands
@testable import Keyspace

@Suite("What is told of writes whose store stalls")
struct StalledEventTests {
    private func withStalls(_ body: (StalledScene) throws -> Void) throws {
        let scene = try StalledScene()
        defer { scene.close() }
        try body(scene)
    }

    @Test("Events of a stalled write are told once it is in, in order, and once")
    func write() throws {
        try withStalls { scene in
            let work = try scene.stall { "SET fill \($0) ; INCR n ; SADD s \($1)" }
            #expect(scene.listening.events() == [])
            scene.release()
            #expect(scene.finish(work) == ["+OK", ":\(scene.attempts)", ":1"])
            #expect(scene.listening.events() == ["fill set", "n incrby", "s sadd"])
            #expect(scene.harness.run("INCR n").description == ":\(scene.attempts + 1)")
            #expect(scene.listening.events() == ["n incrby"])
        }
    }

    @Test("Who hears of a stalled write finds it in its store")
    func visible() throws {
        try withStalls { scene in
            let outlet = LookingOutlet(scene.harness.keyspace.databases[0], key: "n")
            let client = Harness.makeClient(id: 78)
            client.record.outlet = outlet
            _ = scene.harness.run("PSUBSCRIBE __keyevent@0__:incrby", as: client)
            let work = try scene.stall { value, _ in "SET fill \(value) ; INCR n" }
            #expect(outlet.take() == (1..<scene.attempts).map(String.init))
            scene.release()
            _ = scene.finish(work)
            #expect(outlet.take() == ["\(scene.attempts)"])
        }
    }

    @Test("PUBLISH behind a stalled write waits for it, one of another client does not")
    func published() throws {
        try withStalls { scene in
            let work = try scene.stall { value, _ in "SET fill \(value) ; PUBLISH c later" }
            let other = Harness.makeClient(id: 3)
            #expect(scene.harness.run("PUBLISH c now", as: other).description == ":1")
            #expect(scene.listening.events() == ["c now"])
            scene.release()
            #expect(scene.finish(work) == ["+OK", ":1"])
            #expect(scene.listening.events() == ["fill set", "c later"])
        }
    }

    @Test("A transaction that stalls is told whole, in order, with its messages")
    func transaction() throws {
        try withStalls { scene in
            scene.harness.clock.jumpsPerRead.store(1, ordering: .relaxed)
            let work = try scene.stall {
                "MULTI ; SADD s \($1) ; SET fill \($0) ; PUBLISH c m ; LPUSH l x ; LPOP l ; EXEC"
            }
            #expect(scene.listening.events() == [])
            scene.release()
            #expect(scene.finish(work).last == "[:1, +OK, :1, :1, \"x\"]")
            #expect(
                scene.listening.events() == [
                    "s sadd", "fill set", "c m", "l lpush", "l lpop", "l del",
                ])
        }
    }

    @Test("A write that waits for stalled ones is told behind them; one of other stores at once")
    func behind() throws {
        try withStalls { scene in
            let work = try scene.stall { "SET fill \($0) ; SADD s \($1)" }
            let second = try scene.begin(
                "MULTI ; SADD s2 a ; PUBLISH c m ; EXEC", as: Harness.makeClient(id: 3))
            #expect(second.thread != nil)
            _ = scene.harness.run("LPUSH l x", as: Harness.makeClient(id: 4))
            #expect(scene.listening.events() == ["l lpush"])
            scene.release()
            #expect(scene.finish(work) == ["+OK", ":1"])
            #expect(scene.finish(second).last == "[:1, :1]")
            #expect(scene.listening.events() == ["fill set", "s sadd", "s2 sadd", "c m"])
        }
    }

    @Test("A transaction of the slow pool that stalls is told once, when it is in")
    func pool() throws {
        try withStalls { scene in
            let increments = String(repeating: "INCR n ; ", count: 1001)
            let work = try scene.stall { value, _ in
                "MULTI ; SET fill \(value) ; \(increments)PUBLISH c m ; EXEC"
            }
            #expect(scene.listening.events() == [])
            scene.release()
            #expect(scene.finish(work).last?.hasSuffix(":\(scene.attempts * 1001), :1]") == true)
            let increment = Array(repeating: "n incrby", count: 1001)
            #expect(scene.listening.events() == ["fill set"] + increment + ["c m"])
        }
    }

    @Test(
        "A stalled write whose store fails in the end is not told, nor what was published behind it",
        arguments: [
            ("SET fill @ ; SADD s # ; PUBLISH c m", 3),
            ("MULTI ; SADD s # ; SET fill @ ; PUBLISH c m ; EXEC", 1),
        ])
    func failure(_ script: String, _ count: Int) throws {
        try withStalls { scene in
            let work = try scene.stall { value, number in
                script.replacing("@", with: value).replacing("#", with: number)
            }
            // The strings take the group, the sets do not.
            scene.database.live.stores[.sets].close(flush: false)
            scene.release()
            let replies = scene.finish(work).suffix(count)
            #expect(replies.count == count)
            #expect(replies.allSatisfy { $0.hasPrefix("-ERR") }, "\(replies)")
            #expect(scene.listening.events() == [])
            #expect(scene.harness.run("SET a 1").description.hasPrefix("-"))
            #expect(scene.listening.events() == [])
            // What the log has is completed then: nobody asked for it now.
            try scene.database.recoverDisk()
            #expect(scene.harness.run("SET a 1").description == "+OK")
            #expect(scene.listening.events() == ["a set"])
        }
    }

    @Test("EXEC refuses a transaction whose MULTI was answered with a stalled write's error")
    func failedMulti() throws {
        try withStalls { scene in
            let work = try scene.stall(undo: "DISCARD") {
                "SET fill \($0) ; SADD s \($1) ; MULTI ; PUBLISH c m"
            }
            scene.database.live.stores[.sets].close(flush: false)
            scene.release()
            #expect(scene.finish(work).map { $0.hasPrefix("-ERR") } == [true, true, true, true])
            #expect(scene.harness.run("EXEC").description.hasPrefix("-EXECABORT"))
            #expect(scene.listening.events() == [])
            try scene.database.recoverDisk()
        }
    }
}

// MARK: - The scene

/// A harness whose log can't be synced until it is released: flushes wait, memtables fill up.
private final class StalledScene {
    let harness: Harness
    let listening: Listening
    private let files = FailingFileSystem()
    /// Bursts that were sent until a store stalled, that one included.
    private(set) var attempts = 0

    private static let attemptLimit = 2000

    /// A burst, and the work that it waits for.
    struct Burst {
        let client: ClientState
        /// Replies before those that wait.
        let early: [UInt8]
        var work: SlowWork?
        var thread: WorkerThread?
        let isDone = Flag()
    }

    init() throws {
        self.harness = try Harness(fileSystem: self.files) { configuration in
            // With two memtables writes are stopped, never only slowed.
            configuration.store.memtableBytes = 64 << 10
            configuration.store.memtableCount = 2
        }
        self.listening = try Listening("KEA", harness: self.harness)
        self.files.holdsSyncs.store(true, ordering: .releasing)
    }

    var database: Database { self.harness.keyspace.databases[0] }

    func release() { self.files.holdsSyncs.store(false, ordering: .releasing) }

    func close() {
        self.release()
        self.harness.close()
    }

    /// Sends requests as one burst; what they wait for goes on, on a thread of its own.
    func begin(_ requests: String, as client: ClientState) throws -> Burst {
        let input = bytes(requests.replacing(" ; ", with: "\r\n") + "\r\n")
        let processor = self.harness.processor
        let result = input.withUnsafeBytes { processor.process(client, $0) }
        try #require(result.consumed == input.count)
        var burst = Burst(client: client, early: Array(processor.output))
        processor.clearOutput()
        guard case .busy(let work) = result.next else { return burst }
        burst.work = work
        let isDone = burst.isDone
        burst.thread = WorkerThread {
            work.run()
            isDone.set()
        }
        return burst
    }

    /// The replies of a burst, once it is through.
    func finish(_ burst: Burst) -> [String] {
        var output = burst.early
        burst.thread?.join()
        let processor = self.harness.processor
        if let work = burst.work {
            _ = processor.finish(work, burst.client)
            output += Array(processor.output)
            processor.clearOutput()
        }
        return Reply.parseAll(output).map(\.description)
    }

    /// Sends bursts that write a value of the strings, until one is in the log but not in its stores.
    ///
    /// - Parameters:
    ///   - undo: is sent behind each of the others.
    ///   - requests: the requests of a burst, of a large value and its number.
    func stall(undo: String? = nil, _ requests: (String, String) -> String) throws -> Burst {
        let padding = String(repeating: "v", count: 8000)
        while self.attempts < Self.attemptLimit {
            self.attempts += 1
            let number = String(self.attempts)
            let burst = try self.begin(requests(number + padding, number), as: self.harness.client)
            while burst.work != nil, !burst.isDone.isSet {
                if self.database.stalledGroupCount > 0 { return burst }
                usleep(1000)
            }
            _ = self.finish(burst)
            if let undo { _ = self.harness.run(undo) }
            _ = self.listening.events()
        }
        throw NeverStalled()
    }
}

private struct NeverStalled: Error {}

/// Something that happens once.
private final class Flag: Sendable {
    private let value = Atomic<Bool>(false)
    func set() { self.value.store(true, ordering: .releasing) }
    var isSet: Bool { self.value.load(ordering: .acquiring) }
}

/// A client that looks a number up whenever it gets a message.
private final class LookingOutlet: ClientOutlet {
    private let database: Database
    private let key: [UInt8]
    private let found = Mutex<[String]>([])

    init(_ database: Database, key: String) {
        self.database = database
        self.key = bytes(key)
    }

    var waitingBytes: Int { 0 }

    func push(_ message: [UInt8]) {
        let strings = Strings(self.database.makeReader().strings)
        let value = self.key.withUnsafeBytes { key in
            try? strings.withValue(key, now: self.database.now) { value, _ in
                value.map { String(decoding: $0, as: UTF8.self) }
            }
        }
        self.found.withLock { $0.append((value ?? nil) ?? "nothing") }
    }

    /// What was found since the last call.
    func take() -> [String] {
        self.found.withLock { found in
            defer { found = [] }
            return found
        }
    }
}
