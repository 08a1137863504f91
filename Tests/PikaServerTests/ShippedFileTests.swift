import FileIO
import Glibc
import Testing

@testable import PikaServer

@Suite("Shipped settings file")
struct ShippedFileTests {
    private var path: String {
        let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        return "/\(root)/conf/pika.conf"
    }

    @Test("conf/pika.conf is what the table says; REWRITE=1 writes it anew")
    func equalsTable() throws {
        let fileSystem = RealFileSystem()
        if getenv("REWRITE") != nil {
            try fileSystem.writeAtomically(path, Array(ConfTable.shippedFile.utf8))
        }
        let bytes = try fileSystem.readFile(path, limitBytes: ConfFile.sizeLimitBytes)
        let text = String(decoding: try #require(bytes), as: UTF8.self)
        #expect(text == ConfTable.shippedFile)
    }

    @Test("It is read without a warning, and gives the defaults")
    func givesDefaults() throws {
        let conf = try Conf(path: path, fileSystem: RealFileSystem())
        #expect(conf.warnings.isEmpty)
        let defaults = Settings()
        for item in ConfTable.items {
            #expect(conf.settings.text(of: item.name) == defaults.text(of: item.name))
        }
    }

    @Test("Every line fits, and every item is there once")
    func complete() {
        let lines = ConfTable.shippedFile.split(separator: "\n")
        #expect(lines.allSatisfy { $0.count <= 100 })
        for item in ConfTable.items {
            let start = (item.commented ? "# " : "") + item.name + " :"
            #expect(lines.filter { $0.hasPrefix(start) }.count == 1, "\(item.name)")
        }
    }
}
