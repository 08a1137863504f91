import FileIO
import TestKit
import Testing

@Suite("Sealed files")
struct SealedFileTests {
    private let kind = SealedFile(kind: "TEST", version: 2, limitBytes: 100)

    @Test("Golden bytes of a sealed file")
    func golden() throws {
        let bytes = try kind.encode([1, 2, 3])
        #expect(
            bytes == [
                0x54, 0x45, 0x53, 0x54, 0x20, 0x20, 0x20, 0x20, 2, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3,
            ] + bytes[19...])
        #expect(bytes.count == 27)
        #expect(try kind.decode(bytes).payload == [1, 2, 3])
    }

    @Test("No prefix, no flipped bit and no longer file decodes")
    func damage() throws {
        let bytes = try kind.encode(Array(0..<50))
        for count in 0..<bytes.count {
            #expect(throws: SealedFileError.self) { try kind.decode(Array(bytes[..<count])) }
        }
        for index in bytes.indices {
            for bit in 0..<8 {
                var flipped = bytes
                flipped[index] ^= 1 << UInt8(bit)
                #expect(throws: SealedFileError.self) { try kind.decode(flipped) }
            }
        }
        #expect(throws: SealedFileError.self) { try kind.decode(bytes + [0]) }
    }

    @Test("Older versions are handed out, newer ones and long payloads are refused")
    func versions() throws {
        let old = try SealedFile(kind: "TEST", version: 1, limitBytes: 100).encode([9])
        #expect(try kind.decode(old).version == 1)
        let new = try SealedFile(kind: "TEST", version: 3, limitBytes: 100).encode([9])
        #expect(throws: SealedFileError.unknownVersion(newestKnown: 2, actual: 3)) {
            try kind.decode(new)
        }
        #expect(throws: SealedFileError.tooLong(bytes: 101, limit: 100)) {
            try kind.encode([UInt8](repeating: 0, count: 101))
        }
        let other = try SealedFile(kind: "OTHER", version: 2, limitBytes: 100).encode([9])
        #expect(throws: SealedFileError.self) { try kind.decode(other) }
    }
}

@Suite("File system", .serialized)
struct FileSystemTests {
    /// The same scenarios on the real disk and in memory.
    private func each(_ body: (any FileSystem, String) throws -> Void) throws {
        try body(MemoryFileSystem(), "base")
        let real = RealFileSystem()
        let base = "/tmp/pika-fileio-\(UInt64.random(in: 0...UInt64.max))"
        defer { try? real.removeTree(base) }
        try body(real, base)
    }

    @Test("Files are written, read, cut and listed")
    func files() throws {
        try each { disk, base in
            try disk.makeDirectory(base + "/a/b")
            try disk.makeDirectory(base + "/a/b")
            let file = try disk.open(base + "/a/b/x", .createNew)
            try file.write([1, 2, 3, 4], at: 0)
            try file.write([9], at: 6)
            #expect(try file.size() == 7)
            #expect(try file.readAll(limitBytes: 10) == [1, 2, 3, 4, 0, 0, 9])
            #expect(throws: FileError.self) { try file.readAll(limitBytes: 6) }
            try file.truncate(to: 2)
            try file.synchronize()
            try disk.syncDirectory(base + "/a/b")
            #expect(try disk.readFile(base + "/a/b/x", limitBytes: 10) == [1, 2])
            #expect(try disk.readFile(base + "/a/b/none", limitBytes: 10) == nil)
            #expect(throws: FileError.self) { try disk.open(base + "/a/b/x", .createNew) }
            #expect(throws: FileError.self) { try disk.open(base + "/a/b/y", .readWrite) }
            _ = try disk.open(base + "/a/b/y", .openOrCreate)
            #expect(try disk.list(base + "/a/b") == ["x", "y"])
            #expect(try disk.status(base + "/a/b")?.kind == .directory)
            #expect(try disk.status(base + "/a/b/x")?.sizeBytes == 2)
            #expect(try disk.exists(base + "/none") == false)
            try disk.unlinkIfPresent(base + "/a/b/y")
            try disk.unlinkIfPresent(base + "/a/b/y")
            #expect(throws: FileError.self) { try disk.unlink(base + "/a/b/y") }
        }
    }

    @Test("Names are renamed, exchanged, linked and removed as trees")
    func names() throws {
        try each { disk, base in
            try disk.makeDirectory(base + "/one")
            try disk.makeDirectory(base + "/two")
            try disk.writeAtomically(base + "/one/x", [1])
            try disk.writeAtomically(base + "/two/x", [2])
            try disk.exchange(base + "/one", base + "/two")
            #expect(try disk.readFile(base + "/one/x", limitBytes: 9) == [2])
            try disk.hardLink(base + "/one/x", to: base + "/y")
            #expect(
                try disk.status(base + "/y")?.inode == disk.status(base + "/one/x")?.inode)
            #expect(
                try disk.status(base + "/y")?.deviceID == disk.status(base)?.deviceID)
            try disk.rename(base + "/two", to: base + "/three")
            #expect(try disk.list(base) == ["one", "three", "y"])
            try disk.removeTree(base + "/three")
            try disk.removeTree(base + "/three")
            #expect(try disk.list(base) == ["one", "y"])
            #expect(try disk.diskSpace(base).totalBytes > 0)
            #expect(try disk.bootID().isEmpty == false)
        }
    }

    @Test("A second owner of a directory gets a clear error until the first lets go")
    func directoryLock() throws {
        try each { disk, base in
            let lock = try DirectoryLock(base + "/data", fileSystem: disk)
            let error = #expect(throws: DirectoryLockError.self) {
                try DirectoryLock(base + "/data", fileSystem: disk)
            }
            #expect(error == .heldByAnotherProcess(directory: base + "/data"))
            #expect(error?.description.contains("another process") == true)
            lock.release()
            _ = try DirectoryLock(base + "/data", fileSystem: disk)
        }
    }

    @Test("Paths")
    func paths() {
        #expect(Path.join("a", "b") == "a/b")
        #expect(Path.join("a/", "b") == "a/b")
        #expect(Path.directory(of: "a/b/c") == "a/b")
        #expect(Path.directory(of: "/c") == "/")
        #expect(Path.directory(of: "c") == ".")
        #expect(Path.name(of: "a/b/c") == "c")
    }
}

@Suite("Atomic replacement")
struct AtomicWriteTests {
    @Test("Golden: temporary file, sync, rename, directory sync")
    func golden() throws {
        let disk = MemoryFileSystem()
        try disk.makeDirectory("d")
        _ = disk.takeOperations()
        try disk.writeAtomically("d/f", [1, 2, 3])
        #expect(
            disk.takeOperations() == [
                "create d/f.tmp", "write d/f.tmp 0+3", "sync d/f.tmp", "rename d/f.tmp -> d/f",
                "syncdir d",
            ])
    }

    @Test("Whenever the machine stops or a call fails, the old or the new content is there")
    func crashes() throws {
        let calls: [FileOperation] = [.create, .write, .sync, .rename, .syncDirectory]
        for operation in calls {
            for seed in 0..<20 {
                let disk = MemoryFileSystem()
                try disk.makeDirectory("d")
                try disk.syncDirectory("")
                try disk.writeAtomically("d/f", [1, 1, 1])
                disk.inject(InjectedFault(operation, code: 5, bytesWrittenBefore: 1))
                #expect(throws: FileError.self) { try disk.writeAtomically("d/f", [2, 2]) }
                disk.crash(.tornPowerLoss(seed: UInt64(seed)))
                let found = try disk.readFile("d/f", limitBytes: 9)
                #expect(found == [1, 1, 1] || found == [2, 2])
                try disk.writeAtomically("d/f", [3])
                disk.crash(.tornPowerLoss(seed: UInt64(seed)))
                #expect(try disk.readFile("d/f", limitBytes: 9) == [3])
            }
        }
    }
}

@Suite("Files in memory")
struct MemoryFileSystemTests {
    @Test("A power loss forgets unsynced bytes and unsynced names, a kill forgets nothing")
    func forgets() throws {
        let disk = MemoryFileSystem()
        try disk.makeDirectory("d")
        try disk.syncDirectory("")
        let file = try disk.open("d/f", .createNew)
        try file.write([1, 2], at: 0)
        disk.crash(.kill)
        #expect(disk.contents("d/f") == [1, 2])
        #expect(throws: FileError.self) { try file.write([3], at: 2) }
        let again = try disk.open("d/f", .readWrite)
        try again.synchronize()
        disk.crash()
        #expect(disk.contents("d/f") == nil)
        let third = try disk.open("d/f", .createNew)
        try disk.syncDirectory("d")
        try third.write([1, 2], at: 0)
        try third.synchronize()
        try third.write([9, 9, 9], at: 0)
        disk.crash()
        #expect(disk.contents("d/f") == [1, 2])
    }

    @Test("A torn power loss leaves old, new, zero and mixed pages")
    func torn() throws {
        var kinds: Set<String> = []
        for seed in 0..<40 {
            let disk = MemoryFileSystem()
            let file = try disk.open("f", .createNew)
            try file.write([UInt8](repeating: 1, count: 4_096), at: 0)
            try file.synchronize()
            try disk.syncDirectory("")
            try file.write([UInt8](repeating: 2, count: 8_192), at: 0)
            disk.crash(.tornPowerLoss(seed: UInt64(seed)))
            let bytes = disk.contents("f") ?? []
            kinds.insert("length \(bytes.count)")
            kinds.insert("first \(Set(bytes.prefix(4_096)).sorted())")
            kinds.insert("second \(Set(bytes.dropFirst(4_096)).sorted())")
        }
        #expect(
            kinds.isSuperset(of: [
                "length 4096", "length 8192", "first [1]", "first [2]", "first [1, 2]",
                "second [0]", "second [2]", "second [0, 2]",
            ]))
    }

    @Test("Faults fire on the call they name; a full disk takes what fits")
    func faults() throws {
        let disk = MemoryFileSystem(capacityBytes: 10)
        let file = try disk.open("f", .createNew)
        disk.inject(InjectedFault(.write, onCall: 2, code: 5, bytesWrittenBefore: 1))
        try file.write([1], at: 0)
        #expect(throws: FileError(.write, "f", code: 5)) { try file.write([2, 2], at: 1) }
        #expect(disk.contents("f") == [1, 2])
        try file.write([3, 3], at: 1)
        let error = #expect(throws: FileError.self) {
            try file.write([UInt8](repeating: 4, count: 20), at: 3)
        }
        #expect(error?.isOutOfSpace == true)
        #expect(disk.contents("f")?.count == 10)
        #expect(try disk.diskSpace("").availableBytes == 0)
    }
}
