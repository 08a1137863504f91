import FileIO
import Foundation
import Synchronization

/// The real file system with faults, and with a memory of what was synced.
///
/// Of every file that is written through it, it knows the bytes that the last `synchronize`
/// covered, and of every directory the names that the last `syncDirectory` covered: so a test can
/// build what a power loss at this moment may leave.
final class FaultyFileSystem: FileSystem {
    private let real = RealFileSystem()
    private let state = Mutex(State())
    /// Held during each change, and while an image is made: an image shows one moment.
    fileprivate let moment = RecursiveLock()

    /// Runs `body` while nothing is changed through this file system, but for trees that are removed.
    func atOneMoment<R>(_ body: () throws -> R) rethrows -> R {
        moment.lock()
        defer { moment.unlock() }
        return try body()
    }

    struct State {
        /// Bytes that survive, by inode.
        var synced: [UInt64: [UInt8]] = [:]
        /// Names that survive, by directory.
        var names: [String: [String: UInt64]] = [:]
        /// Directories that were renamed or exchanged, and that a power loss may move back.
        var moves: [Move] = []
        var fault: (@Sendable (FileOperation, String) -> Int32?)?
        var syncCount = 0
    }

    /// A rename or an exchange of directories.
    struct Move: Sendable {
        var from: String
        var to: String
        var isExchange: Bool

        func touches(_ other: Move) -> Bool {
            !Set([from, to]).isDisjoint(with: [other.from, other.to])
        }
    }

    /// Asked before each operation for the errno that it shall fail with.
    func setFault(_ fault: (@Sendable (FileOperation, String) -> Int32?)?) {
        state.withLock { $0.fault = fault }
    }

    var syncCount: Int { state.withLock { $0.syncCount } }

    func check(_ operation: FileOperation, _ path: String) throws(FileError) {
        let fault = state.withLock { $0.fault }
        if let code = fault?(operation, path) { throw FileError(operation, path, code: code) }
    }

    // MARK: Power loss

    /// Writes what a power loss may leave of a directory's own files into another one.
    ///
    /// Names and pages that were not synced survive at random: old, new, zeros.
    func copyAfterPowerLoss<Generator: RandomNumberGenerator>(
        _ directories: [(String, String)], _ random: inout Generator
    ) throws {
        moment.lock()
        defer { moment.unlock() }
        for (directory, target) in directories { try copy(directory, to: target, &random) }
    }

    /// Moves directories of an image back whose move was not synced, at random.
    ///
    /// A move stays where a later one of the same directory stays.
    func undoMoves<Generator: RandomNumberGenerator>(
        from source: String, in target: String, _ random: inout Generator
    ) throws {
        var kept: [Move] = []
        for move in state.withLock({ $0.moves }).reversed() {
            if Bool.random(using: &random) || kept.contains(where: { $0.touches(move) }) {
                kept.append(move)
                continue
            }
            let from = target + move.from.dropFirst(source.count)
            let to = target + move.to.dropFirst(source.count)
            if move.isExchange {
                try real.exchange(from, to)
            } else {
                try real.rename(to, to: from)
            }
        }
    }

    /// What lies in directories is on the disk: they were found there when the machine started.
    func noteDurable(_ directories: [String]) throws {
        for directory in directories {
            let found = try inodes(in: directory)
            var bytes: [UInt64: [UInt8]] = [:]
            for (name, inode) in found {
                let path = directory + "/" + name
                bytes[inode] = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
            }
            state.withLock {
                $0.names[directory] = found
                $0.synced.merge(bytes) { $1 }
            }
        }
    }

    private func copy<Generator: RandomNumberGenerator>(
        _ directory: String, to target: String, _ random: inout Generator
    ) throws {
        try FileManager.default.createDirectory(
            atPath: target, withIntermediateDirectories: true)
        let (synced, durableNames) = state.withLock {
            ($0.synced, $0.names[directory] ?? [:])
        }
        let current = try inodes(in: directory)
        for name in Set(current.keys).union(durableNames.keys).sorted() {
            let inode: UInt64?
            if current[name] == durableNames[name] {
                inode = current[name]
            } else {
                inode = Bool.random(using: &random) ? current[name] : durableNames[name]
            }
            guard let inode else { continue }
            let old = synced[inode] ?? []
            var bytes = old
            if current[name] == inode {
                let new = [UInt8](
                    try Data(contentsOf: URL(fileURLWithPath: directory + "/" + name)))
                bytes = Self.mixture(old: old, new: new, &random)
            }
            try Data(bytes).write(to: URL(fileURLWithPath: target + "/" + name))
        }
    }

    /// Each page that differs is the old one, the new one, or zeros; the length is between both.
    private static func mixture<Generator: RandomNumberGenerator>(
        old: [UInt8], new: [UInt8], _ random: inout Generator
    ) -> [UInt8] {
        guard old != new else { return old }
        let length = Int.random(
            in: min(old.count, new.count)...max(old.count, new.count), using: &random)
        var bytes = [UInt8](repeating: 0, count: length)
        let page = 512
        for start in stride(from: 0, to: length, by: page) {
            let end = min(start + page, length)
            let choice = Int.random(in: 0..<3, using: &random)
            for index in start..<end {
                let before = index < old.count ? old[index] : 0
                let after = index < new.count ? new[index] : 0
                // Bytes that the last sync covered and that nobody wrote again are safe.
                if before == after && index < old.count {
                    bytes[index] = before
                } else {
                    bytes[index] = choice == 0 ? before : choice == 1 ? after : 0
                    if index < old.count && index >= new.count { bytes[index] = before }
                }
            }
        }
        return bytes
    }

    private func inodes(in directory: String) throws -> [String: UInt64] {
        var found: [String: UInt64] = [:]
        for name in try real.list(directory) {
            guard let status = try real.status(directory + "/" + name), status.kind == .regular
            else { continue }
            found[name] = status.inode
        }
        return found
    }

    fileprivate func noteSynced(_ file: any File) {
        let path = file.path
        guard let status = try? real.status(path),
            let bytes = try? file.readAll(limitBytes: 1 << 30)
        else { return }
        state.withLock {
            $0.synced[status.inode] = bytes
            $0.syncCount += 1
        }
    }

    // MARK: FileSystem

    func open(_ path: String, _ mode: OpenMode) throws(FileError) -> any File {
        try check(.open, path)
        moment.lock()
        defer { moment.unlock() }
        let isNew = try real.status(path) == nil
        let file = try real.open(path, mode)
        if isNew, let inode = try real.status(path)?.inode {
            // Another file had this number.
            state.withLock { $0.synced[inode] = nil }
        }
        return FaultyFile(file, self)
    }

    func status(_ path: String) throws(FileError) -> FileStatus? { try real.status(path) }
    func list(_ directory: String) throws(FileError) -> [String] { try real.list(directory) }
    func makeDirectory(_ path: String) throws(FileError) { try real.makeDirectory(path) }

    func rename(_ oldPath: String, to newPath: String) throws(FileError) {
        try check(.rename, oldPath)
        moment.lock()
        defer { moment.unlock() }
        let isDirectory = try real.status(oldPath)?.kind == .directory
        try real.rename(oldPath, to: newPath)
        guard isDirectory else { return }
        state.withLock {
            $0.moves.append(Move(from: oldPath, to: newPath, isExchange: false))
            $0.names[newPath] = $0.names.removeValue(forKey: oldPath)
        }
    }

    func exchange(_ left: String, _ right: String) throws(FileError) {
        try check(.exchange, left)
        moment.lock()
        defer { moment.unlock() }
        try real.exchange(left, right)
        state.withLock {
            $0.moves.append(Move(from: left, to: right, isExchange: true))
            ($0.names[left], $0.names[right]) = ($0.names[right], $0.names[left])
        }
    }

    func hardLink(_ existing: String, to newPath: String) throws(FileError) {
        try check(.hardLink, existing)
        try real.hardLink(existing, to: newPath)
    }

    func unlink(_ path: String) throws(FileError) {
        try check(.unlink, path)
        moment.lock()
        defer { moment.unlock() }
        try real.unlink(path)
    }

    func removeTree(_ path: String) throws(FileError) {
        try check(.removeTree, path)
        try real.removeTree(path)
    }

    func syncDirectory(_ path: String) throws(FileError) {
        try check(.syncDirectory, path)
        moment.lock()
        defer { moment.unlock() }
        let names = (try? inodes(in: path)) ?? [:]
        state.withLock {
            $0.names[path] = names
            $0.moves.removeAll { Path.directory(of: $0.from) == path }
        }
    }

    func diskSpace(_ path: String) throws(FileError) -> DiskSpace { try real.diskSpace(path) }

    func tryLock(_ path: String) throws(FileError) -> (any FileLock)? { try real.tryLock(path) }

    func bootID() throws(FileError) -> String { try real.bootID() }
}

private final class FaultyFile: File {
    private let real: any File
    private let system: FaultyFileSystem

    init(_ real: any File, _ system: FaultyFileSystem) {
        self.real = real
        self.system = system
    }

    var path: String { real.path }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(FileError)
        -> Int
    {
        try system.check(.read, path)
        return try real.read(into: buffer, at: offset)
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(FileError) {
        do throws(FileError) {
            try system.check(.write, path)
        } catch {
            // A full disk takes a part.
            try real.write(
                UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count / 2)]), at: offset)
            throw error
        }
        system.moment.lock()
        defer { system.moment.unlock() }
        try real.write(bytes, at: offset)
    }

    func truncate(to sizeBytes: UInt64) throws(FileError) {
        try system.check(.truncate, path)
        system.moment.lock()
        defer { system.moment.unlock() }
        try real.truncate(to: sizeBytes)
    }

    func synchronize() throws(FileError) {
        try system.check(.sync, path)
        system.moment.lock()
        defer { system.moment.unlock() }
        system.noteSynced(real)
    }

    func size() throws(FileError) -> UInt64 { try real.size() }
    func advise(_ advice: FileAdvice, offset: UInt64, count: UInt64) {}
    func startWriteback(offset: UInt64, count: UInt64) {}
    func close() throws(FileError) { try real.close() }
}

/// A lock that its owner may take again.
private final class RecursiveLock: @unchecked Sendable {
    // SAFETY: NSRecursiveLock is thread-safe.
    private let base = NSRecursiveLock()
    func lock() { base.lock() }
    func unlock() { base.unlock() }
}
