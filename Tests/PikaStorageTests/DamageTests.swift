import Foundation
import PikaStorage
import SyncProtocol
import Testing

@Suite("Damaged, locked and full directories")
struct DamageTests {
    private let now: Int64 = 1_700_000_000

    /// A closed store with a few table files.
    private func makeStore(_ path: String) throws {
        let store = try openStore(path, .hashes)
        let transaction = store.makeTransaction()
        for round in 0..<3 {
            for number in 0..<200 {
                _ = try with("key\(number)") { key in
                    try with("field\(round)") { try Hashes(transaction).set(key, $0, $0, now: now) }
                }
            }
            _ = try transaction.commit(applied: position(UInt64(round), now: now), mode: .waiting)
            try store.flush()
        }
        if let failure = store.close() { throw failure }
    }

    private func files(_ path: String, _ suffix: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: path).sorted()
            .filter { $0.hasSuffix(suffix) || $0.hasPrefix(suffix) }
            .map { path + "/" + $0 }
    }

    private func open(_ path: String) -> StorageError? {
        do {
            let store = try Store.open(
                path: path, kind: .hashes, options: smallOptions(), environment: testEnvironment)
            store.close(flush: false)
            return nil
        } catch {
            return error
        }
    }

    private func code(_ error: StorageError?) -> EngineFault.Code? {
        guard case .engine(let fault) = error else { return nil }
        #expect(!fault.message.isEmpty)
        return fault.code
    }

    @Test("A flipped byte in a table file is found by verification and by reading")
    func flippedByte() throws {
        let directory = try TemporaryDirectory()
        try makeStore(directory("s"))
        let table = try #require(try files(directory("s"), ".sst").first)
        var bytes = try Data(contentsOf: URL(fileURLWithPath: table))
        bytes[100] ^= 1
        try bytes.write(to: URL(fileURLWithPath: table))
        // A cache of its own: blocks read before the damage are good.
        let store = try Store.openReadOnly(
            path: directory("s"), kind: .hashes,
            environment: StoreEnvironment(blockCacheBytes: 1 << 20, writeBufferBytes: 0))
        defer { store.close() }
        var found: StorageError?
        do { try store.verifyChecksums() } catch { found = error }
        #expect(code(found) == .corruption)
        let transaction = store.makeTransaction()
        found = nil
        do throws(StorageError) {
            for family in [Family.meta, .data] {
                try transaction.scan(family, prefix: .none, from: nil) { _, _ in true }
            }
        } catch {
            found = error
        }
        #expect(code(found) == .corruption)
    }

    @Test("A table file that is cut or missing is an error at opening")
    func cutTable() throws {
        let directory = try TemporaryDirectory()
        try makeStore(directory("s"))
        let table = try #require(try files(directory("s"), ".sst").last)
        let bytes = try Data(contentsOf: URL(fileURLWithPath: table))
        try bytes.dropLast(10).write(to: URL(fileURLWithPath: table))
        #expect(code(open(directory("s"))) == .corruption)
        try FileManager.default.removeItem(atPath: table)
        #expect(open(directory("s")) != nil)
        try bytes.write(to: URL(fileURLWithPath: table))
        #expect(open(directory("s")) == nil)
    }

    @Test("A CURRENT that is cut is an error at opening", arguments: [0, 5, 15])
    func cutCurrent(length: Int) throws {
        let directory = try TemporaryDirectory()
        try makeStore(directory("s"))
        let current = URL(fileURLWithPath: directory("s/CURRENT"))
        try Data(contentsOf: current).prefix(length).write(to: current)
        #expect(code(open(directory("s"))) != nil)
    }

    @Test("A MANIFEST that is cut or flipped is an error at opening")
    func damagedManifest() throws {
        let directory = try TemporaryDirectory()
        try makeStore(directory("s"))
        let manifest = URL(
            fileURLWithPath: try #require(try files(directory("s"), "MANIFEST").last))
        let bytes = try Data(contentsOf: manifest)
        try Data().write(to: manifest)
        #expect(code(open(directory("s"))) != nil)
        var flipped = bytes
        flipped[40] ^= 1
        try flipped.write(to: manifest)
        #expect(code(open(directory("s"))) == .corruption)
        try FileManager.default.removeItem(at: manifest)
        #expect(code(open(directory("s"))) != nil)
    }

    @Test("A directory of another type is refused")
    func otherType() throws {
        let directory = try TemporaryDirectory()
        try makeStore(directory("s"))
        #expect(throws: StorageError.self) {
            try Store.open(
                path: directory("s"), kind: .lists, options: smallOptions(),
                environment: testEnvironment)
        }
        #expect(open(directory("s")) == nil)
    }

    @Test("A missing directory is an error unless it may be made")
    func missing() throws {
        let directory = try TemporaryDirectory()
        var options = smallOptions()
        options.createIfMissing = false
        #expect(throws: StorageError.self) {
            try openStore(directory("none"), .sets, options: options)
        }
        #expect(throws: StorageError.self) {
            try Store.openReadOnly(
                path: directory("none"), kind: .sets, environment: testEnvironment)
        }
    }

    @Test("A directory that this process has open is locked")
    func lockedByThisProcess() throws {
        let directory = try TemporaryDirectory()
        let store = try openStore(directory("s"), .hashes)
        #expect(open(directory("s")) == .locked(path: directory("s")))
        store.close()
        #expect(open(directory("s")) == nil)
    }

    @Test(
        "A directory that another process has open is locked",
        .enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/perl")))
    func lockedByAnotherProcess() throws {
        let directory = try TemporaryDirectory()
        try makeStore(directory("s"))
        let holder = Process()
        holder.executableURL = URL(fileURLWithPath: "/usr/bin/perl")
        holder.arguments = [
            "-MFcntl", "-e",
            """
            open(F, '+<', $ARGV[0]) or exit 1;
            my $lock = pack('s s x4 q q i x4', F_WRLCK, 0, 0, 0, 0);
            fcntl(F, F_SETLK, $lock) or exit 2;
            $| = 1; print "locked\\n"; <STDIN>;
            """, directory("s/LOCK"),
        ]
        let output = Pipe()
        let input = Pipe()
        holder.standardOutput = output
        holder.standardInput = input
        try holder.run()
        defer {
            try? input.fileHandleForWriting.close()
            holder.waitUntilExit()
        }
        #expect(output.fileHandleForReading.availableData == Data("locked\n".utf8))
        #expect(open(directory("s")) == .locked(path: directory("s")))
    }
}

/// A small file system in memory, if this process may mount one.
final class SmallDisk {
    let path: String

    init?(megabytes: Int, in directory: TemporaryDirectory) {
        path = directory("disk")
        try? FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: true)
        guard mount("tmpfs", path, "tmpfs", 0, "size=\(megabytes)m") == 0 else { return nil }
    }

    /// Whether a test can have one.
    static let isAvailable: Bool = {
        guard let directory = try? TemporaryDirectory() else { return false }
        return SmallDisk(megabytes: 1, in: directory) != nil
    }()

    deinit { umount2(path, 0) }
}

@Suite(
    "A full disk", .serialized,
    .enabled(if: SmallDisk.isAvailable, "needs the right to mount a tmpfs"))
struct FullDiskTests {
    private let now: Int64 = 1_700_000_000

    /// Writes numbered positions, one string each, until an error.
    private func fill(
        _ transaction: StoreTransaction, from start: UInt64, limit: UInt64
    ) -> (last: UInt64, error: StorageError?) {
        let filler = [UInt8](repeating: 7, count: 4000)
        for offset in start..<limit {
            do throws(StorageError) {
                let key = Array("key\(offset)".utf8)
                try key.withUnsafeBytesTyped { key throws(StorageError) in
                    try filler.withUnsafeBytesTyped { value throws(StorageError) in
                        try Strings(transaction).set(key, value)
                    }
                }
                _ = try transaction.commit(applied: position(offset, now: now), mode: .waiting)
            } catch {
                return (offset - 1, error)
            }
        }
        return (limit - 1, nil)
    }

    @Test("Writes fail with no space, reads go on; a reopened store is exact and goes on")
    func noSpace() throws {
        let directory = try TemporaryDirectory()
        let disk = try #require(SmallDisk(megabytes: 48, in: directory))
        // Without it there is room for a compaction of all that fitted beside it.
        let ballast = disk.path + "/ballast"
        try Data(count: 36 << 20).write(to: URL(fileURLWithPath: ballast))
        var store = try openStore(disk.path + "/s", .strings)
        var transaction = store.makeTransaction()
        let (last, error) = fill(transaction, from: 1, limit: 20_000)
        guard case .engine(let fault) = error else {
            Issue.record("expected a full disk, got \(String(describing: error))")
            return
        }
        #expect(fault.isNoSpace)
        #expect(last > 500)
        // What failed was not applied; all before it reads back.
        transaction.reset()
        let shown = try #require(try store.appliedPosition()?.position.offset)
        #expect(shown == last || shown == last + 1)
        #expect(try transaction.keyStatistics(now: now).keys == shown)
        // A flush does not pretend to have done its work.
        #expect(throws: StorageError.self) { try store.flush(allowStall: true) }
        try FileManager.default.removeItem(atPath: ballast)
        store.close(flush: false)
        store = try openStore(disk.path + "/s", .strings)
        defer { store.close() }
        transaction = store.makeTransaction()
        let persisted = try #require(try store.appliedPosition()?.position.offset)
        #expect(persisted <= shown)
        #expect(try transaction.keyStatistics(now: now).keys == persisted)
        // Replay from the store's own position.
        let (end, none) = fill(transaction, from: persisted + 1, limit: shown + 100)
        #expect(none == nil)
        try store.flush(allowStall: true)
        #expect(try store.appliedPosition(persistedOnly: true)?.position.offset == end)
        #expect(try transaction.keyStatistics(now: now).keys == end)
    }

    @Test("A checkpoint on a full disk is an error or complete, never short")
    func checkpoint() throws {
        let directory = try TemporaryDirectory()
        let disk = try #require(SmallDisk(megabytes: 24, in: directory))
        let store = try openStore(
            disk.path + "/s", .strings, options: smallOptions(memtableBytes: 4 << 20))
        defer { store.close(flush: false) }
        let transaction = store.makeTransaction()
        let (last, error) = fill(transaction, from: 1, limit: 700)
        #expect(error == nil)
        let ballast = disk.path + "/ballast"
        _ = try? Data(count: 22 << 20).write(to: URL(fileURLWithPath: ballast))
        if !FileManager.default.fileExists(atPath: ballast) {
            var size = 22 << 20
            while size > 4096,
                (try? Data(count: size).write(to: URL(fileURLWithPath: ballast))) == nil
            {
                size /= 2
            }
        }
        do throws(StorageError) {
            try store.flush(allowStall: true)
            try store.checkpoint(to: disk.path + "/copy")
        } catch {
            return
        }
        let copy = try Store.openReadOnly(
            path: disk.path + "/copy", kind: .strings, environment: testEnvironment)
        defer { copy.close() }
        #expect(try copy.appliedPosition()?.position.offset == last)
    }
}

extension Array where Element == UInt8 {
    /// `withUnsafeBytes` with a typed error.
    func withUnsafeBytesTyped(
        _ body: (Bytes) throws(StorageError) -> Void
    ) throws(StorageError) {
        var failure: StorageError?
        withUnsafeBytes { bytes in
            do throws(StorageError) { try body(bytes) } catch { failure = error }
        }
        if let failure { throw failure }
    }
}
