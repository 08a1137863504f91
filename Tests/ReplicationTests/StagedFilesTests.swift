import CXXHash
import FileIO
import NIOCore
import ReplicationCore
import SyncProtocol
import TestKit
import Testing

@testable import Replication

@Suite("Staged files")
struct StagedFilesTests {
    private let fileSystem = MemoryFileSystem()
    private let name = "strings/000001.sst"

    private func make() throws -> StagedFiles {
        let files = StagedFiles(
            stagingPath: "/sync", database: "db0", fileSystem: self.fileSystem)
        try files.prepare(
            SnapshotManifest(
                id: try #require(SnapshotID("abc")),
                files: [SnapshotFile(name: self.name, sizeBytes: 8_192)], position: .zero,
                digest: 0), knowsSizes: true, presentBytes: 0)
        return files
    }

    private func chunk(_ start: Int, _ count: Int) -> ByteBuffer {
        ByteBuffer(bytes: (start..<start + count).map { UInt8(truncatingIfNeeded: $0 &* 13) })
    }

    private func reopened(
        prefix: UInt64
    ) throws -> (files: [SnapshotReceiver.Remainder.File], droppedBytes: UInt64) {
        let files = StagedFiles(
            stagingPath: "/sync", database: "db0", fileSystem: self.fileSystem)
        return try files.survey(
            snapshotID: try #require(SnapshotID("abc")),
            known: [.init(name: self.name, sizeBytes: 8_192, prefixBytes: prefix)])
    }

    @Test("C1: a chunk with a wrong digest is not written")
    func wrongDigest() throws {
        let files = try self.make()
        #expect(try !files.write(self.name, at: 0, self.chunk(0, 100), digest: 1))
        #expect(try !self.fileSystem.exists("/sync/db0/" + self.name))
    }

    @Test("What the journal proves counts beyond the resume point; the rest is cut off (C4)")
    func survey() throws {
        let files = try self.make()
        #expect(try files.write(self.name, at: 0, self.chunk(0, 1_000), digest: nil))
        #expect(try files.write(self.name, at: 1_000, self.chunk(1_000, 500), digest: nil))
        #expect(try files.write(self.name, at: 3_000, self.chunk(3_000, 1_000), digest: nil))
        let file = try self.fileSystem.open("/sync/db0/" + self.name, .readWrite)
        try file.write([1, 2, 3], at: 4_000)
        let found = try self.reopened(prefix: 1_000)
        #expect(found.files.first?.prefixBytes == 1_500)
        #expect(found.files.first?.islands == [3_000..<4_000])
        #expect(found.droppedBytes == 3)
        #expect(try file.size() == 4_000)
    }

    @Test("A chunk that is damaged on the disk does not count")
    func damagedOnDisk() throws {
        let files = try self.make()
        for start in [0, 1_000, 2_000] {
            #expect(
                try files.write(
                    self.name, at: UInt64(start), self.chunk(start, 1_000), digest: nil))
        }
        let file = try self.fileSystem.open("/sync/db0/" + self.name, .readWrite)
        try file.write([0xFF], at: 1_500)
        let found = try self.reopened(prefix: 0)
        #expect(found.files.first?.prefixBytes == 1_000)
        #expect(found.files.first?.islands == [2_000..<3_000])
    }

    @Test("A journal with any byte changed never proves a wrong range")
    func flippedJournal() throws {
        let files = try self.make()
        #expect(try files.write(self.name, at: 0, self.chunk(0, 1_000), digest: nil))
        #expect(try files.write(self.name, at: 1_000, self.chunk(1_000, 1_000), digest: nil))
        let path = "/sync/db0.chunks"
        let whole = try #require(self.fileSystem.contents(path))
        for index in whole.indices {
            var bytes = whole
            bytes[index] ^= 0x10
            self.fileSystem.setContents(path, bytes)
            let data = try #require(self.fileSystem.contents("/sync/db0/" + self.name))
            let found = try self.reopened(prefix: 0)
            let prefix = found.files.first?.prefixBytes ?? 0
            #expect([0, 1_000, 2_000].contains(prefix))
            self.fileSystem.setContents("/sync/db0/" + self.name, data)
        }
        for count in 0..<whole.count {
            self.fileSystem.setContents(path, Array(whole[..<count]))
            let data = try #require(self.fileSystem.contents("/sync/db0/" + self.name))
            #expect(try self.reopened(prefix: 0).files.first?.prefixBytes ?? 0 <= 2_000)
            self.fileSystem.setContents("/sync/db0/" + self.name, data)
        }
    }

    @Test("Reading back finds the damaged chunk and the digest of the whole")
    func verify() throws {
        let files = try self.make()
        for start in stride(from: 0, to: 8_192, by: 2_048) {
            #expect(
                try files.write(
                    self.name, at: UInt64(start), self.chunk(start, 2_048), digest: nil))
        }
        let file = try self.fileSystem.open("/sync/db0/" + self.name, .readWrite)
        try file.write([0xAB], at: 3_000)
        let bad = try files.verify(self.name, sizeBytes: 8_192)
        #expect(bad.badRanges == [2_048..<4_096])
        #expect(try files.write(self.name, at: 2_048, self.chunk(2_048, 2_048), digest: nil))
        let good = try files.verify(self.name, sizeBytes: 8_192)
        let bytes = Array(self.chunk(0, 8_192).readableBytesView)
        #expect(good.badRanges.isEmpty)
        #expect(good.digest == XXH64(bytes, bytes.count, 0))
    }

    @Test("A full disk is told in words, before the copy and in it")
    func fullDisk() throws {
        self.fileSystem.setCapacity(40_000)
        let error = #expect(throws: StagingError.self) { try self.make() }
        guard case .noRoom = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        self.fileSystem.setCapacity(nil)
        let files = try self.make()
        self.fileSystem.inject(
            InjectedFault(.write, pathSuffix: self.name, code: 28))
        let write = #expect(throws: StagingError.self) {
            try files.write(self.name, at: 0, self.chunk(0, 100), digest: nil)
        }
        #expect(write?.description.contains("disk is full") == true)
    }

    @Test("Files that are not of the snapshot are removed before the copy")
    func strangers() throws {
        try self.fileSystem.makeDirectory("/sync/db0/strings")
        self.fileSystem.setContents("/sync/db0/strings/000009.sst", [1])
        _ = try self.make()
        #expect(try !self.fileSystem.exists("/sync/db0/strings/000009.sst"))
    }

    @Test("The info file: lines 4 and 5, and nothing else will do")
    func info() {
        func position(_ text: String) -> BinlogPosition? {
            SnapshotInfo.position(in: Array(text.utf8))
        }
        #expect(
            position("3s\n10.0.0.1\n9221\n7\n1234\n")
                == BinlogPosition(fileNumber: 7, offset: 1_234))
        #expect(position("3s\nh\n1\n7\n1234") == BinlogPosition(fileNumber: 7, offset: 1_234))
        #expect(position("3s\nh\n1\n7\n1234\n5\n6\n") != nil)
        #expect(position("3s\nh\n1\n7\n1234\n5\n6\nx\n") != nil)
        for bad in [
            "", "3s\nh\n1\n7\n", "3s\nh\n1\n-7\n1\n", "3s\nh\nx\n7\n1\n", "3s\nh\n1\n7\n1\nx\n",
            "3s\nh\n1\n7\n1\n1\n1\nx\ny\n",
        ] {
            #expect(position(bad) == nil, "\(bad)")
        }
    }
}
