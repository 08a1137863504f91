import FileIO
import Glibc
import MigrateCore
import PikaStorage
import Testing

@testable import Migrate

@Suite("A walk through a Pika's stores")
struct StoreWalkTests {
    private static let now: Int64 = 1_700_000_000
    private static let deadline = Self.now + 1_000
    private static let environment = StoreEnvironment(
        blockCacheBytes: 1 << 20, writeBufferBytes: 1 << 20)

    private struct Found: Equatable {
        var name: String
        var bytes: Int
        var deadline: Int64?
        var isPacked: Bool
    }

    /// A dump with these strings, and a hash that has the name of one of them.
    private func dump(_ strings: [(name: String, bytes: Int, expiry: Int64)]) throws -> String {
        var template = Array("/tmp/pika-migrate-walk-XXXXXX".utf8CString)
        let directory = String(cString: try #require(mkdtemp(&template)))
        for kind in StoreKind.precedence {
            let path = "\(directory)/db0/\(kind.directoryName)"
            try RealFileSystem().makeDirectory("\(directory)/db0")
            let store = try Store.open(
                path: path, kind: kind, options: StoreOptions(), environment: Self.environment)
            let transaction = store.makeTransaction()
            if kind == .strings {
                for string in strings {
                    try Array(string.name.utf8).withBytes { name throws(StorageError) in
                        try [UInt8](repeating: 7, count: string.bytes).withBytes {
                            value throws(StorageError) in
                            try Strings(transaction).set(name, value, expiry: string.expiry)
                        }
                    }
                }
            } else if kind == .hashes {
                try Array("b".utf8).withBytes { name throws(StorageError) in
                    _ = try Hashes(transaction).set(name, name, name, now: Self.now)
                }
            }
            #expect(try transaction.commit(applied: nil, mode: .waiting) == .done)
            store.close()
        }
        return directory
    }

    private func walk(
        _ directory: String, from point: StoreWalkPoint? = nil
    ) throws -> (strings: [Found], others: [KeyHead]) {
        var walk = StoreWalk(
            directory: directory, databases: [0], now: Self.now, environment: Self.environment,
            resumingAt: point)
        var strings: [Found] = []
        var others: [KeyHead] = []
        let position = SourcePosition.file(FilePosition(identity: "d", offset: 0, database: 0))
        while true {
            let events = try walk.next(position: position)
            if events.isEmpty { return (strings, others) }
            for event in events {
                switch event {
                case .strings(let batch):
                    for (head, chunk) in (0..<batch.count).map({ batch.key($0) }) {
                        strings.append(Self.found(head, chunk.bytes.count, isPacked: true))
                    }
                case .keyStart(let head) where head.kind == .string:
                    strings.append(Self.found(head, 0, isPacked: false))
                case .keyStart(let head): others.append(head)
                case .elements(let chunk) where others.isEmpty:
                    strings[strings.count - 1].bytes += chunk.bytes.count
                default: break
                }
            }
        }
    }

    private static func found(_ head: KeyHead, _ bytes: Int, isPacked: Bool) -> Found {
        Found(
            name: String(decoding: head.name, as: UTF8.self), bytes: bytes,
            deadline: head.deadlineMilliseconds, isPacked: isPacked)
    }

    @Test("Short strings come packed, long ones by themselves, expired ones not; from any key on")
    func strings() throws {
        let many = (0..<300).map { (name: "m\(1_000 + $0)", bytes: 1_000, expiry: Int64(0)) }
        let directory = try self.dump(
            [
                ("a", 4_096, 0), ("b", 0, Self.deadline), ("c", 5, Self.now - 1),
                ("d", 4_097, Self.deadline), ("e", 600_000, 0), ("f", 10, 0),
            ] + many)
        defer { try? RealFileSystem().removeTree(directory) }
        let wanted =
            [
                Found(name: "a", bytes: 4_096, deadline: nil, isPacked: true),
                Found(name: "b", bytes: 0, deadline: Self.deadline * 1_000, isPacked: true),
                Found(name: "d", bytes: 4_097, deadline: Self.deadline * 1_000, isPacked: false),
                Found(name: "e", bytes: 600_000, deadline: nil, isPacked: false),
                Found(name: "f", bytes: 10, deadline: nil, isPacked: true),
            ] + many.map { Found(name: $0.name, bytes: 1_000, deadline: nil, isPacked: true) }
        let whole = try self.walk(directory)
        #expect(whole.strings == wanted)
        #expect(whole.others.map(\.name) == [Array("b".utf8)])
        #expect(whole.others.first?.earlierKinds == [.string])
        for (index, key) in [(1, "a"), (3, "d"), (4, "e"), (5, "f"), (305, "m1299")] {
            let point = StoreWalkPoint(database: 0, kind: .strings, key: Array(key.utf8))
            let rest = try self.walk(directory, from: point)
            #expect(rest.strings == Array(wanted[index...]), "behind \(key)")
            #expect(rest.others.count == 1)
        }
    }
}
