import FileIO
import TestKit
import Testing

@testable import PikaServer

@Suite("Live settings")
struct ConfTests {
    @Test("Without a file the defaults hold, and nothing can be rewritten")
    func defaults() throws {
        let conf = try Conf(path: nil, fileSystem: RealFileSystem())
        #expect(conf.settings.port == 9221)
        #expect(throws: ConfError.self) { try conf.rewrite() }
    }

    @Test("A file that is not there is an error that names it")
    func missing() {
        do {
            _ = try Conf(path: "/nonexistent/pika.conf", fileSystem: RealFileSystem())
            Issue.record("a missing file was read")
        } catch {
            #expect("\(error)".contains("/nonexistent/pika.conf"))
        }
    }

    @Test("CONFIG SET changes live items, tells the observer, and refuses the rest")
    func set() throws {
        let conf = try Conf(path: nil, fileSystem: RealFileSystem())
        try conf.set("timeout", to: "7")
        #expect(conf.settings.timeoutSeconds == 7)
        #expect(throws: Conf.SetError.unsupported(name: "port")) { try conf.set("port", to: "1") }
        #expect(throws: Conf.SetError.unsupported(name: "Timeout")) {
            try conf.set("Timeout", to: "1")
        }
        #expect(
            throws: Conf.SetError.invalid(
                name: "timeout", value: "-1", expected: "an integer from 0 to 1000000000")
        ) { try conf.set("timeout", to: "-1") }
        #expect(conf.settings.timeoutSeconds == 7)
    }

    @Test("CONFIG GET answers aliases")
    func get() throws {
        let conf = try Conf(path: nil, fileSystem: RealFileSystem())
        let all = conf.items { _ in true }
        #expect(all.contains { $0.name == "write-buffer-size" && $0.value == "67108864" })
        #expect(all.contains { $0.name == "slow_cmd_pool" })
        #expect(conf.items { $0 == "port" }.map(\.value) == ["9221"])
        #expect(conf.items { _ in false }.isEmpty)
    }
}
