import Glibc
import Synchronization
import Testing

/// kill -9 of a real process under load; part of the kills hit the recovery.
///
/// Each connection works on keys of its own and sends its commands in order, several at a time. So
/// after each restart its keys must show the state behind one of its commands: not before the last
/// acknowledged one, not behind the last sent one. A lost or doubled INCR, RPUSH or APPEND, or half
/// of a command with several keys, shows no such state.
@Suite("Kill -9 under load", .serialized)
struct KillTests {
    private static var rounds: Int {
        getenv("PIKA_CRASH_ROUNDS").flatMap { Int(String(cString: $0)) } ?? 5
    }

    private static var seed: UInt64 {
        let text = getenv("PIKA_TEST_SEED").map { String(cString: $0) } ?? ""
        return UInt64(text.prefix(16), radix: 16) ?? 0x5EED
    }

    @Test(
        "Nothing acknowledged is missing, nothing is doubled",
        arguments: ["everysec", "always"])
    func killed(policy: String) throws {
        print("SEED=\(String(Self.seed, radix: 16))")
        var random = CrashRandom(seed: Self.seed)
        let pika = try PikaProcess([
            "databases : 2", "binlog-sync : \(policy)", "binlog-file-size : 65536",
            "thread-num : 2",
        ])
        try pika.start()
        var workers = (0..<4).map { CrashWorker(index: $0, seed: random.next()) }
        workers.append(CrashWorker(index: 4, seed: random.next(), database: 1, flushes: true))
        var acknowledged = 0
        for _ in 0..<Self.rounds {
            let load = CrashLoad(workers, port: pika.port)
            usleep(UInt32.random(in: 20_000...500_000, using: &random))
            pika.kill()
            load.join()
            while random.next() % 2 == 0 {
                // Killed again before or while it recovers.
                try pika.launch(["-c", "pika.conf"])
                usleep(UInt32.random(in: 1_000...400_000, using: &random))
                pika.kill()
            }
            try pika.start()
            let client = try #require(BlockingClient(port: pika.port))
            for worker in workers { try worker.check(client) }
            let total = workers.reduce(0) { $0 + $1.acknowledgedCount }
            #expect(total > acknowledged, "nothing was done between two kills")
            acknowledged = total
        }
        print("kills survived; \(acknowledged) commands were acknowledged")
    }
}

/// A generator with a seed.
struct CrashRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

/// All workers at once, until their connections break.
private final class CrashLoad {
    private var threads: [pthread_t] = []

    init(_ workers: [CrashWorker], port: Int) {
        for worker in workers {
            let body = Unmanaged.passRetained(CrashBody(worker, port))
            var thread = pthread_t()
            pthread_create(&thread, nil, runCrashBody, body.toOpaque())
            threads.append(thread)
        }
    }

    func join() { for thread in threads { pthread_join(thread, nil) } }
}

private final class CrashBody {
    let worker: CrashWorker
    let port: Int

    init(_ worker: CrashWorker, _ port: Int) {
        self.worker = worker
        self.port = port
    }
}

private func runCrashBody(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let context else { return nil }
    let body = Unmanaged<CrashBody>.fromOpaque(context).takeRetainedValue()
    body.worker.run(port: body.port)
    return nil
}
