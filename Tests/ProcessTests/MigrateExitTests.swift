import Glibc
import Testing

/// Every exit code of `pika-migrate run` that no other test of processes ends with.
@Suite(
    "Exit codes of pika-migrate", .serialized,
    .enabled(if: access(MigrateWorld.redisServer, X_OK) == 0))
struct MigrateExitTests {
    private func file(_ text: String) throws -> String {
        var template = Array("/tmp/pika-migrate-exit-XXXXXX".utf8CString)
        let descriptor = mkstemp(&template)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        #expect(write(descriptor, bytes, bytes.count) == bytes.count)
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private func run(_ world: MigrateWorld, _ settings: String...) throws -> Int32 {
        let words = settings.flatMap { ["--set", $0] }
        return try world.tool(directory: "exit", words).waitForExit()
    }

    @Test("0: a source that was followed to its present end")
    func done() throws {
        let world = try MigrateWorld()
        let client = try #require(BlockingClient(port: world.source.port))
        #expect(client.call("SET", "key", "x") == .text("OK"))
        #expect(try self.run(world, "job.stop-when-caught-up=true") == 0)
        let target = try #require(BlockingClient(port: world.target.port))
        #expect(target.call("GET", "key") == .bulk("x"))
    }

    @Test("3: a password that the source, or the target, does not take")
    func permission() throws {
        let wrong = try self.file("wrong\n")
        defer { unlink(wrong) }
        for isSource in [true, false] {
            let world = try MigrateWorld()
            let port = isSource ? world.source.port : world.target.port
            let client = try #require(BlockingClient(port: port))
            #expect(client.call("CONFIG", "SET", "requirepass", "right") == .text("OK"))
            let end = isSource ? "source" : "target"
            #expect(try self.run(world, "\(end).password-file=\(wrong)") == 3, "\(end)")
        }
    }

    @Test("5: an RDB file that ends too early; 4: one with a type that nobody knows")
    func corrupt() throws {
        let world = try MigrateWorld()
        for (text, code) in [("REDIS0009\u{0}\u{4}na", Int32(5)), ("REDIS0009 and more", 4)] {
            let path = try self.file(text)
            defer { unlink(path) }
            #expect(try self.run(world, "source.url=rdb:\(path)") == code)
        }
    }

    @Test("8: a target that rejects a command; its letter is kept without the value")
    func rejected() throws {
        let world = try MigrateWorld()
        let client = try #require(BlockingClient(port: world.source.port))
        #expect(client.call("SET", "key", "x") == .text("OK"))
        try world.start()
        try world.waitUntilEqual(seconds: 30)
        let target = try #require(BlockingClient(port: world.target.port))
        #expect(target.call("RPUSH", "list", "mine") == .integer(1))
        #expect(client.call("APPEND", "list", "value") == .integer(5))
        #expect(world.tool.waitForExit() == 8)
    }

    @Test("10: a job's directory that can't be made")
    func files() throws {
        let world = try MigrateWorld()
        let path = try self.file("in the way")
        defer { unlink(path) }
        #expect(try self.run(world, "job.dir=\(path)/job") == 10)
    }
}
