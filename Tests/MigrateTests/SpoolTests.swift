import FileIO
import TestKit
import Testing

@testable import Migrate

@Suite("Spool")
struct SpoolTests {
    static let id = String(repeating: "a", count: 40)
    static let origin = SpoolOrigin(
        sourceID: id, startOffset: 100, database: 2, hasSnapshot: false,
        receivedAtMilliseconds: 5)

    static func append(_ spool: Spool, _ bytes: [UInt8], at time: Int64 = 7) throws {
        try bytes.withUnsafeBytes { try spool.append($0, receivedAtMilliseconds: time) }
    }

    static func stream(
        _ spool: Spool, from offset: UInt64 = 100, generation: UInt32 = 1
    ) throws -> [UInt8] {
        var reader = try SpoolStreamReader(spool: spool, generation: generation, offset: offset)
        var all: [UInt8] = []
        while let (bytes, _) = try reader.next() { all += bytes }
        return all
    }

    @Test("Bytes come back as they went in, over segments and from any offset")
    func roundTrip() throws {
        let files = MemoryFileSystem()
        let spool = try Spool(
            directory: "/s", limits: SpoolLimits(segmentBytes: 300), fileSystem: files)
        try spool.beginGeneration(Self.origin)
        let data = (0..<1000).map { UInt8(truncatingIfNeeded: $0 * 7) }
        for start in stride(from: 0, to: 1000, by: 100) {
            try Self.append(spool, Array(data[start..<(start + 100)]))
        }
        #expect(spool.endOffset == 1100)
        #expect(try Self.stream(spool) == data)
        for offset in [1, 99, 100, 101, 555, 999, 1000] {
            #expect(try Self.stream(spool, from: 100 + UInt64(offset)) == Array(data[offset...]))
        }
        #expect(files.contents("/s/g00000001/00000000000000000100.seg") != nil)
        #expect(try files.list("/s/g00000001").count > 3)
    }

    @Test("A torn tail is cut wherever it was torn, and whole blocks stay")
    func tornTail() throws {
        let files = MemoryFileSystem()
        let path = "/s/g00000001/00000000000000000100.seg"
        do {
            let spool = try Spool(directory: "/s", fileSystem: files)
            try spool.beginGeneration(Self.origin)
            try Self.append(spool, Array("first".utf8))
            try Self.append(spool, Array("second".utf8))
            spool.close()
        }
        let whole = try #require(files.contents(path))
        let firstEnd = SpoolSegmentHeader.encodedBytes + SpoolBlockHeader.encodedBytes + 5
        for length in SpoolSegmentHeader.encodedBytes..<whole.count {
            files.setContents(path, Array(whole[..<length]))
            let spool = try Spool(directory: "/s", fileSystem: files)
            #expect(spool.endOffset == (length < firstEnd ? 100 : 105))
            // What comes next is read behind it.
            try Self.append(spool, Array("next".utf8))
            let expected = (length < firstEnd ? "" : "first") + "next"
            #expect(try Self.stream(spool) == Array(expected.utf8))
            spool.close()
            for name in try files.list("/s/g00000001") where name != "origin" {
                try files.unlink("/s/g00000001/" + name)
            }
        }
    }

    @Test("Every flipped bit of a block is found")
    func flips() throws {
        let files = MemoryFileSystem()
        let path = "/s/g00000001/00000000000000000100.seg"
        let spool = try Spool(directory: "/s", fileSystem: files)
        try spool.beginGeneration(Self.origin)
        try Self.append(spool, Array("value".utf8))
        let whole = try #require(files.contents(path))
        for index in whole.indices {
            for bit in 0..<8 {
                var bytes = whole
                bytes[index] ^= 1 << bit
                files.setContents(path, bytes)
                #expect(throws: SpoolError.self) { try Self.stream(spool) }
            }
        }
    }

    @Test("After a power loss what was synced is there, and no more is claimed to be durable")
    func powerLoss() throws {
        let files = MemoryFileSystem()
        do {
            let spool = try Spool(directory: "/s", fileSystem: files)
            try spool.beginGeneration(Self.origin)
            try Self.append(spool, Array("kept".utf8))
            #expect(spool.durableOffset == 100)
            try spool.synchronize()
            #expect(spool.durableOffset == 104)
            try Self.append(spool, Array("lost".utf8))
        }
        files.crash()
        let spool = try Spool(directory: "/s", fileSystem: files)
        #expect(spool.endOffset == 104)
        #expect(spool.sourceID == Self.id)
        #expect(try Self.stream(spool) == Array("kept".utf8))
    }

    @Test("At the ceiling nothing is added and nothing is lost; room lets it go on")
    func ceiling() throws {
        let files = MemoryFileSystem()
        let spool = try Spool(
            directory: "/s", limits: SpoolLimits(segmentBytes: 200, ceilingBytes: 400),
            fileSystem: files)
        try spool.beginGeneration(Self.origin)
        let piece = [UInt8](repeating: 1, count: 100)
        try Self.append(spool, piece)
        try Self.append(spool, piece)
        let refused = #expect(throws: SpoolError.self) { try Self.append(spool, piece) }
        #expect(refused?.isOutOfSpace == true)
        #expect(spool.endOffset == 300)
        try spool.release(before: 1, offset: 200, isBehindSnapshot: true)
        try Self.append(spool, piece)
        #expect(try Self.stream(spool, from: 200).count == 200)
        #expect(!spool.holds(generation: 1, offset: 199))
    }

    @Test("A full disk is an error by name, and the same bytes go in once there is room")
    func fullDisk() throws {
        let files = MemoryFileSystem()
        let spool = try Spool(directory: "/s", fileSystem: files)
        try spool.beginGeneration(Self.origin)
        try Self.append(spool, Array("one".utf8))
        files.inject(
            InjectedFault(.write, pathSuffix: ".seg", code: 28, bytesWrittenBefore: 9))
        let refused = #expect(throws: SpoolError.self) {
            try Self.append(spool, Array("two".utf8))
        }
        #expect(refused?.isOutOfSpace == true)
        try Self.append(spool, Array("two".utf8))
        #expect(try Self.stream(spool) == Array("onetwo".utf8))
    }

    @Test("A snapshot that was not received whole is gone after a restart")
    func halfSnapshot() throws {
        let files = MemoryFileSystem()
        var origin = Self.origin
        origin.hasSnapshot = true
        let spool = try Spool(directory: "/s", fileSystem: files)
        try spool.beginGeneration(origin)
        try Array("REDIS0009".utf8).withUnsafeBytes { try spool.appendSnapshot($0) }
        #expect(spool.needsSnapshot)
        spool.close()
        let again = try Spool(directory: "/s", fileSystem: files)
        #expect(again.generation == 0)
        try again.beginGeneration(origin)
        try Array("REDIS0009".utf8).withUnsafeBytes { try again.appendSnapshot($0) }
        try again.finishSnapshot()
        again.close()
        let third = try Spool(directory: "/s", fileSystem: files)
        #expect(!third.needsSnapshot)
        #expect(third.view(third.generation)?.snapshotBytes == 9)
        #expect(third.endOffset == 100)
    }

    @Test("A second process is kept out")
    func locked() throws {
        let files = MemoryFileSystem()
        let spool = try Spool(directory: "/s", fileSystem: files)
        #expect(throws: SpoolError.inUse(directory: "/s")) {
            _ = try Spool(directory: "/s", fileSystem: files)
        }
        spool.close()
    }

    @Test("A new id of the source is kept with the place where it begins")
    func newID() throws {
        let files = MemoryFileSystem()
        let other = String(repeating: "b", count: 40)
        let spool = try Spool(directory: "/s", fileSystem: files)
        try spool.beginGeneration(Self.origin)
        try Self.append(spool, Array("old".utf8))
        try spool.changeSourceID(other, receivedAtMilliseconds: 9)
        try Self.append(spool, Array("new".utf8))
        spool.close()
        let again = try Spool(directory: "/s", fileSystem: files)
        #expect(again.sourceID == other)
        #expect(again.find(id: other, offset: 106) == 1)
        #expect(again.find(id: Self.id, offset: 103) == 1)
        var reader = try SpoolStreamReader(spool: again, generation: 1, offset: 100)
        _ = try reader.next()
        #expect(reader.sourceID == Self.id)
        _ = try reader.next()
        #expect(reader.sourceID == other)
    }
}
