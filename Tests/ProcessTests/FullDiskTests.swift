import Glibc
import Testing

/// A real process on a real file system that becomes full, and gets space again.
///
/// Whatever was answered with OK must be there afterwards: at once, after DISKRECOVERY, and after a
/// kill. Whatever was answered with an error may be there or not.
@Suite(
    "Full disk", .serialized,
    .enabled(if: SmallDisk.isAvailable, "needs the right to mount in a namespace"))
struct FullDiskTests {
    /// A server part of whose data lie on a small disk.
    final class Rig {
        let pika: PikaProcess
        let disk: SmallDisk
        private var random = CrashRandom(seed: 0xF011)
        /// Values that were acknowledged, by key.
        private(set) var acknowledged: [String: String] = [:]
        private var next = 0

        init(megabytes: Int, _ settings: [String]) throws {
            var template = Array("/tmp/pika-small-disk-XXXXXX".utf8CString)
            let mount = String(cString: try #require(mkdtemp(&template)))
            self.disk = try SmallDisk(path: mount, megabytes: megabytes)
            self.pika = try PikaProcess(
                ["least-free-disk-resume-size : 0"]
                    + settings.map { $0.replacing("SMALL", with: mount) },
                launcher: disk.launcher)
        }

        deinit {
            pika.kill()
            rmdir(disk.path)
        }

        func client() throws -> BlockingClient {
            try #require(BlockingClient(port: pika.port))
        }

        /// SETs of incompressible values; returns the first error, or nil after `count` of them.
        func load(_ client: BlockingClient, count: Int) -> String? {
            for _ in 0..<count {
                next += 1
                var value = ""
                while value.utf8.count < 2_000 {
                    value += String(random.next(), radix: 36)
                }
                switch client.call("SET", "k\(next)", value) {
                case .text("OK")?: acknowledged["k\(next)"] = value
                case .error(let text)?: return text
                case let other: return "unexpected: \(String(describing: other))"
                }
            }
            return nil
        }

        /// All that was acknowledged is there.
        func check(_ client: BlockingClient, _ moment: String) {
            var missing = 0
            for (key, value) in acknowledged
            where client.call("GET", key) != .bulk(value) { missing += 1 }
            #expect(missing == 0, "\(missing) of \(acknowledged.count) acknowledged, \(moment)")
        }

        /// Waits for the end of BGSAVE.
        func save(_ client: BlockingClient) -> BlockingClient.Reply? {
            let reply = client.call("BGSAVE")
            for _ in 0..<500 {
                guard case .bulk(let info?) = client.call("INFO", "stats") else { break }
                if !info.contains("is_bgsaving:Yes") { break }
                usleep(20_000)
            }
            return reply
        }

        func restart(after end: () -> Void) throws -> BlockingClient {
            end()
            try pika.start()
            return try client()
        }
    }

    @Test("Full under the stores: a flush fails, writes get the reason, nothing acknowledged goes")
    func flush() throws {
        let rig = try Rig(megabytes: 24, ["db-path : SMALL/db/", "log-path : ./log/"])
        try rig.pika.start()
        var client = try rig.client()
        let error = try #require(rig.load(client, count: 30_000))
        #expect(error.contains("No space left on device"), "\(error)")
        rig.check(client, "with a full disk")
        guard case .error(let refusal)? = client.call("SET", "one", "more") else {
            Issue.record("a write was taken by stores that can't flush")
            return
        }
        #expect(refusal.contains("No space left on device"), "\(refusal)")

        // Killed and started while it is full: what is there is served.
        client = try rig.restart { rig.pika.kill() }
        rig.check(client, "after a kill with a full disk")
        _ = rig.load(client, count: 20_000)
        rig.check(client, "with a disk that is full again")

        try rig.disk.resize(megabytes: 400)
        #expect(client.call("DISKRECOVERY") == .text("OK"))
        rig.check(client, "after DISKRECOVERY")
        #expect(rig.load(client, count: 2_000) == nil)
        client = try rig.restart { rig.pika.kill() }
        rig.check(client, "after DISKRECOVERY and a kill")
        client = try rig.restart {
            rig.pika.signal(SIGTERM)
            #expect(rig.pika.waitForExit() == 0)
        }
        rig.check(client, "after an orderly stop")
    }

    @Test("Full under the log: the command gets the reason, the next one goes when there is space")
    func log() throws {
        let rig = try Rig(megabytes: 8, ["log-path : SMALL/log/", "binlog-sync : always"])
        try rig.pika.start()
        var client = try rig.client()
        let error = try #require(rig.load(client, count: 30_000))
        #expect(error.contains("No space left on device"), "\(error)")
        rig.check(client, "with a full disk")
        try rig.disk.resize(megabytes: 100)
        if case .error? = client.call("SET", "one", "more") {
            // What could not be made durable needs the log opened anew.
            #expect(client.call("DISKRECOVERY") == .text("OK"))
        }
        #expect(rig.load(client, count: 500) == nil)
        rig.check(client, "with space again")
        client = try rig.restart { rig.pika.kill() }
        rig.check(client, "after a kill")
    }

    @Test("Full under a snapshot: BGSAVE fails and leaves nothing, the server serves on")
    func snapshot() throws {
        let rig = try Rig(
            megabytes: 60,
            ["db-path : SMALL/db/", "dump-path : SMALL/dump/", "log-path : ./log/"])
        try rig.pika.start()
        var client = try rig.client()
        #expect(rig.load(client, count: 3_000) == nil)
        // A compaction that ends now gives space back: it is filled again.
        for _ in 0..<20 where !rig.pika.log.contains("BGSAVE failed") {
            try rig.disk.clear("dump")
            try rig.disk.fill()
            _ = rig.save(client)
        }
        #expect(rig.disk.isEmpty("dump"), "what was begun stayed")
        #expect(rig.pika.log.contains("BGSAVE failed"))
        #expect(rig.pika.log.contains("No space left on device"))
        rig.check(client, "after the failure")

        try rig.disk.empty()
        #expect(client.call("DISKRECOVERY") == .text("OK"))
        #expect(rig.load(client, count: 200) == nil)
        _ = rig.save(client)
        #expect(!rig.disk.isEmpty("dump"))
        rig.check(client, "after DISKRECOVERY")
        client = try rig.restart { rig.pika.kill() }
        rig.check(client, "after a kill")
    }

    @Test("DISKRECOVERY with a disk that is full still: an error, and again OK with space")
    func stillFull() throws {
        let rig = try Rig(megabytes: 40, ["db-path : SMALL/db/", "log-path : ./log/"])
        try rig.pika.start()
        let client = try rig.client()
        #expect(rig.load(client, count: 1_000) == nil)
        try rig.disk.fill()
        let error = try #require(rig.load(client, count: 30_000))
        #expect(error.contains("No space left on device"), "\(error)")
        guard case .error? = client.call("DISKRECOVERY") else {
            // It opened; the next flush tells.
            rig.check(client, "after DISKRECOVERY on a full disk")
            #expect(rig.load(client, count: 30_000) != nil)
            try rig.disk.empty()
            #expect(client.call("DISKRECOVERY") == .text("OK"))
            rig.check(client, "after the second DISKRECOVERY")
            return
        }
        try rig.disk.empty()
        #expect(client.call("DISKRECOVERY") == .text("OK"))
        #expect(rig.load(client, count: 200) == nil)
        rig.check(client, "after DISKRECOVERY")
    }
}
