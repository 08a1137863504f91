public import FileIO
private import Glibc
private import Synchronization

/// A fault that a ``MemoryFileSystem`` produces.
public struct InjectedFault: Sendable {
    /// The operation that fails.
    public var operation: FileOperation

    /// Only on paths that end like this; nil: on all.
    public var pathSuffix: String?

    /// Which matching call fails: 1 is the next one.
    public var countdown: Int

    /// The error number.
    public var code: Int32

    /// A write stores that many bytes before it fails.
    public var bytesWrittenBefore: Int

    /// Whether it fails from then on each time.
    public var isSticky: Bool

    /// Creates a fault.
    public init(
        _ operation: FileOperation, pathSuffix: String? = nil, onCall countdown: Int = 1,
        code: Int32, bytesWrittenBefore: Int = 0, isSticky: Bool = false
    ) {
        self.operation = operation
        self.pathSuffix = pathSuffix
        self.countdown = countdown
        self.code = code
        self.bytesWrittenBefore = bytesWrittenBefore
        self.isSticky = isSticky
    }
}

/// Files in memory that forget, on demand, what was not synced.
///
/// Strict where POSIX lets a file system be: content is durable after `synchronize()` of the file,
/// a name after `syncDirectory` of its directory, and neither implies the other.
public final class MemoryFileSystem: FileSystem {
    /// How the machine stops.
    public enum Crash: Sendable, Equatable {
        /// The process is killed: everything written stays.
        case kill

        /// Power loss; everything unsynced is gone.
        case powerLoss

        /// Power loss; of what was unsynced any part stays: whole pages, single sectors, lengths
        /// without content (zero pages), the first few changes of names.
        case tornPowerLoss(seed: UInt64)
    }

    private struct NameChange {
        var directory: MemoryNode
        var name: String
        var node: MemoryNode?
    }

    private struct State {
        var root = MemoryNode(inode: 1, isDirectory: true)
        var nextInode: UInt64 = 2
        var boot = 1
        var epoch = 0
        var pendingNames: [[NameChange]] = []
        var faults: [InjectedFault] = []
        var log: [String] = []
        var locks: [String: Int] = [:]
        var nextLock = 1
        var capacityBytes: Int?
        var onNextSync: (() -> Void)?
    }

    private let clock: ManualClock

    // SAFETY: everything mutable, the nodes included, is only touched under this lock.
    private let state: Mutex<Unchecked<State>>

    private struct Unchecked<Value>: @unchecked Sendable {
        var value: Value
    }

    /// Creates an empty disk.
    ///
    /// - Parameter capacityBytes: Writes beyond it fail with ENOSPC; nil: no limit.
    public init(clock: ManualClock = ManualClock(), capacityBytes: Int? = nil) {
        self.clock = clock
        var state = State()
        state.capacityBytes = capacityBytes
        self.state = Mutex(Unchecked(value: state))
    }

    private func withState<R>(_ body: (inout State) throws(FileError) -> R) throws(FileError) -> R {
        let result = state.withLock { state -> Unchecked<Result<R, FileError>> in
            do throws(FileError) {
                return Unchecked(value: .success(try body(&state.value)))
            } catch {
                return Unchecked(value: .failure(error))
            }
        }
        return try result.value.get()
    }

    // MARK: For tests

    /// Stops the machine: open files become useless, locks are released, unsynced bytes go.
    public func crash(_ crash: Crash = .powerLoss) {
        state.withLock { state in
            state.value.epoch += 1
            state.value.locks.removeAll()
            switch crash {
            case .kill:
                return
            case .powerLoss:
                Self.losePower(&state.value, PowerLoss(random: nil))
            case .tornPowerLoss(let seed):
                Self.losePower(&state.value, PowerLoss(random: SeededRandom(seed: seed)))
            }
        }
    }

    private static func losePower(_ state: inout State, _ loss: PowerLoss) {
        var loss = loss
        state.boot += 1
        // Changes of names reach a journal in order: a first part of them may stay.
        if loss.random != nil, !state.pendingNames.isEmpty {
            let kept = Int.random(in: 0...state.pendingNames.count, using: &loss)
            for change in state.pendingNames[..<kept].joined() {
                change.directory.durableEntries[change.name] = change.node
            }
        }
        state.pendingNames.removeAll()
        var seen: Set<UInt64> = []
        restore(state.root, &seen, &loss)
    }

    private static func restore(
        _ node: MemoryNode, _ seen: inout Set<UInt64>, _ loss: inout PowerLoss
    ) {
        guard seen.insert(node.inode).inserted else { return }
        guard node.isDirectory else { return node.losePower(&loss) }
        node.entries = node.durableEntries
        for name in node.entries.keys.sorted() {
            if let child = node.entries[name] { restore(child, &seen, &loss) }
        }
    }

    /// Makes an operation fail.
    public func inject(_ fault: InjectedFault) {
        state.withLock { $0.value.faults.append(fault) }
    }

    /// Runs something in the middle of the next `synchronize()` of a file, before it takes effect:
    /// what another thread may do meanwhile.
    public func onNextSync(_ body: @escaping () -> Void) {
        let body = Unchecked(value: body)
        state.withLock { $0.value.onNextSync = body.value }
    }

    func runSyncHook() {
        let hook = state.withLock { state in
            defer { state.value.onNextSync = nil }
            return Unchecked(value: state.value.onNextSync)
        }
        hook.value?()
    }

    /// Ends all faults.
    public func clearFaults() {
        state.withLock { $0.value.faults.removeAll() }
    }

    /// Sets the room on the disk; nil: no limit.
    public func setCapacity(_ bytes: Int?) {
        state.withLock { $0.value.capacityBytes = bytes }
    }

    /// What was changed or synced since the last call, one line each, and forgets it.
    public func takeOperations() -> [String] {
        state.withLock { state in
            defer { state.value.log.removeAll() }
            return state.value.log
        }
    }

    /// The content of a file; nil if there is none.
    public func contents(_ path: String) -> [UInt8]? {
        try? withState { state throws(FileError) in try Self.find(state, path)?.data }
    }

    /// Replaces a file's content, durably, past all faults: damage done behind the program's back.
    public func setContents(_ path: String, _ bytes: [UInt8]) {
        _ = try? withState { state throws(FileError) in
            let node = try Self.makeFile(&state, path)
            node.truncate(to: 0)
            bytes.withUnsafeBytes { node.write($0, at: 0) }
            node.synchronize()
            let parent = try Self.parent(state, path)
            parent.durableEntries[Path.name(of: path)] = node
        }
    }

    /// Copies a directory of the real disk, for fixtures.
    public func load(directory: String, to path: String) throws(FileError) {
        let real = RealFileSystem()
        try makeDirectory(path)
        for name in try real.list(directory) {
            let bytes = try real.readFile(Path.join(directory, name), limitBytes: 1 << 30)
            setContents(Path.join(path, name), bytes ?? [])
        }
        try syncDirectory(path)
        try syncDirectory(Path.directory(of: path))
        _ = takeOperations()
    }

    // MARK: Names

    private static func components(_ path: String) -> [Substring] {
        path.split(separator: "/").filter { $0 != "." }
    }

    private static func find(_ state: State, _ path: String) throws(FileError) -> MemoryNode? {
        var node = state.root
        for part in components(path) {
            guard node.isDirectory else { throw FileError(.open, path, code: ENOTDIR) }
            guard let next = node.entries[String(part)] else { return nil }
            node = next
        }
        return node
    }

    private static func parent(_ state: State, _ path: String) throws(FileError) -> MemoryNode {
        let parts = components(path)
        let directory = parts.dropLast().joined(separator: "/")
        guard let node = try find(state, directory), node.isDirectory, !parts.isEmpty else {
            throw FileError(.open, path, code: ENOENT)
        }
        return node
    }

    private static func change(
        _ state: inout State, _ changes: [(MemoryNode, String, MemoryNode?)]
    ) {
        for (directory, name, node) in changes { directory.entries[name] = node }
        state.pendingNames.append(
            changes.map { NameChange(directory: $0.0, name: $0.1, node: $0.2) })
    }

    private static func makeFile(
        _ state: inout State, _ path: String
    ) throws(FileError) -> MemoryNode {
        if let node = try find(state, path) { return node }
        let parent = try parent(state, path)
        let node = MemoryNode(inode: state.nextInode, isDirectory: false)
        state.nextInode += 1
        change(&state, [(parent, Path.name(of: path), node)])
        return node
    }

    /// Applies faults and writes the log line.
    private static func begin(
        _ state: inout State, _ operation: FileOperation, _ path: String, log line: String? = nil
    ) throws(FileError) {
        if let fault = fire(&state, operation, path) {
            throw FileError(operation, path, code: fault.code)
        }
        if let line { state.log.append(line) }
    }

    private static func fire(
        _ state: inout State, _ operation: FileOperation, _ path: String
    ) -> InjectedFault? {
        for index in state.faults.indices
        where state.faults[index].operation == operation
            && path.hasSuffix(state.faults[index].pathSuffix ?? "")
        {
            if state.faults[index].countdown > 1 {
                state.faults[index].countdown -= 1
                continue
            }
            let fault = state.faults[index]
            if !fault.isSticky { state.faults.remove(at: index) }
            return fault
        }
        return nil
    }

    // MARK: FileSystem

    /// Opens or creates a file.
    public func open(_ path: String, _ mode: OpenMode) throws(FileError) -> any File {
        try withState { state throws(FileError) in
            let existing = try Self.find(state, path)
            let operation: FileOperation =
                mode == .readOnly || mode == .readWrite ? .open : .create
            if existing?.isDirectory == true {
                throw FileError(operation, path, code: EISDIR)
            }
            switch mode {
            case .readOnly, .readWrite:
                if existing == nil { throw FileError(.open, path, code: ENOENT) }
            case .createNew:
                if existing != nil { throw FileError(.create, path, code: EEXIST) }
            case .createEmpty, .openOrCreate:
                break
            }
            let isNew = existing == nil || mode == .createEmpty
            try Self.begin(&state, operation, path, log: isNew ? "create \(path)" : nil)
            let node = try Self.makeFile(&state, path)
            if mode == .createEmpty { node.truncate(to: 0) }
            if isNew { node.modifiedSeconds = clock.unixSeconds }
            return MemoryFile(
                path: path, node: node, epoch: state.epoch, isWritable: mode != .readOnly,
                fileSystem: self)
        }
    }

    /// The status of a path.
    public func status(_ path: String) throws(FileError) -> FileStatus? {
        try withState { state throws(FileError) in
            guard let node = try Self.find(state, path) else { return nil }
            return FileStatus(
                kind: node.isDirectory ? .directory : .regular,
                sizeBytes: UInt64(node.data.count), modifiedSeconds: node.modifiedSeconds,
                deviceID: 1, inode: node.inode)
        }
    }

    /// The names in a directory.
    public func list(_ directory: String) throws(FileError) -> [String] {
        try withState { state throws(FileError) in
            try Self.begin(&state, .list, directory)
            guard let node = try Self.find(state, directory), node.isDirectory else {
                throw FileError(.list, directory, code: ENOENT)
            }
            return node.entries.keys.sorted()
        }
    }

    /// Makes a directory and those above it.
    public func makeDirectory(_ path: String) throws(FileError) {
        try withState { state throws(FileError) in
            var node = state.root
            for part in Self.components(path) {
                if let next = node.entries[String(part)] {
                    guard next.isDirectory else {
                        throw FileError(.makeDirectory, path, code: ENOTDIR)
                    }
                    node = next
                    continue
                }
                try Self.begin(&state, .makeDirectory, path, log: "mkdir \(path)")
                let new = MemoryNode(inode: state.nextInode, isDirectory: true)
                state.nextInode += 1
                Self.change(&state, [(node, String(part), new)])
                node = new
            }
        }
    }

    /// Renames.
    public func rename(_ oldPath: String, to newPath: String) throws(FileError) {
        try withState { state throws(FileError) in
            try Self.begin(&state, .rename, oldPath, log: "rename \(oldPath) -> \(newPath)")
            guard let node = try Self.find(state, oldPath) else {
                throw FileError(.rename, oldPath, code: ENOENT)
            }
            if let target = try Self.find(state, newPath), target.isDirectory,
                !target.entries.isEmpty
            {
                throw FileError(.rename, oldPath, code: ENOTEMPTY)
            }
            let from = try Self.parent(state, oldPath)
            let to = try Self.parent(state, newPath)
            Self.change(
                &state,
                [(from, Path.name(of: oldPath), nil), (to, Path.name(of: newPath), node)])
        }
    }

    /// Exchanges two names.
    public func exchange(_ left: String, _ right: String) throws(FileError) {
        try withState { state throws(FileError) in
            try Self.begin(&state, .exchange, left, log: "exchange \(left) <-> \(right)")
            guard let first = try Self.find(state, left), let second = try Self.find(state, right)
            else { throw FileError(.exchange, left, code: ENOENT) }
            let firstParent = try Self.parent(state, left)
            let secondParent = try Self.parent(state, right)
            Self.change(
                &state,
                [
                    (firstParent, Path.name(of: left), second),
                    (secondParent, Path.name(of: right), first),
                ])
        }
    }

    /// Gives a file a second name.
    public func hardLink(_ existing: String, to newPath: String) throws(FileError) {
        try withState { state throws(FileError) in
            try Self.begin(&state, .hardLink, newPath, log: "link \(existing) -> \(newPath)")
            guard let node = try Self.find(state, existing) else {
                throw FileError(.hardLink, newPath, code: ENOENT)
            }
            if try Self.find(state, newPath) != nil {
                throw FileError(.hardLink, newPath, code: EEXIST)
            }
            let parent = try Self.parent(state, newPath)
            Self.change(&state, [(parent, Path.name(of: newPath), node)])
        }
    }

    /// Removes a file's name.
    public func unlink(_ path: String) throws(FileError) {
        try withState { state throws(FileError) in
            guard let node = try Self.find(state, path) else {
                throw FileError(.unlink, path, code: ENOENT)
            }
            if node.isDirectory { throw FileError(.unlink, path, code: EISDIR) }
            try Self.begin(&state, .unlink, path, log: "unlink \(path)")
            let parent = try Self.parent(state, path)
            Self.change(&state, [(parent, Path.name(of: path), nil)])
        }
    }

    /// Removes a file or a directory with its content.
    public func removeTree(_ path: String) throws(FileError) {
        try withState { state throws(FileError) in
            guard let node = try Self.find(state, path) else { return }
            try Self.begin(&state, .removeTree, path, log: "remove \(path)")
            Self.removeContent(&state, node)
            let parent = try Self.parent(state, path)
            Self.change(&state, [(parent, Path.name(of: path), nil)])
        }
    }

    private static func removeContent(_ state: inout State, _ node: MemoryNode) {
        for name in node.entries.keys.sorted() {
            if let child = node.entries[name] { removeContent(&state, child) }
            change(&state, [(node, name, nil)])
        }
    }

    /// Makes the names in a directory durable.
    public func syncDirectory(_ path: String) throws(FileError) {
        try withState { state throws(FileError) in
            try Self.begin(&state, .syncDirectory, path, log: "syncdir \(path)")
            guard let node = try Self.find(state, path), node.isDirectory else {
                throw FileError(.syncDirectory, path, code: ENOENT)
            }
            node.durableEntries = node.entries
            for index in state.pendingNames.indices {
                state.pendingNames[index].removeAll { $0.directory === node }
            }
            state.pendingNames.removeAll { $0.isEmpty }
        }
    }

    /// Room on the disk.
    public func diskSpace(_ path: String) throws(FileError) -> DiskSpace {
        try withState { state throws(FileError) in
            let total = state.capacityBytes ?? 1 << 40
            return DiskSpace(
                availableBytes: UInt64(max(0, total - Self.usedBytes(state.root))),
                totalBytes: UInt64(total))
        }
    }

    private static func usedBytes(_ node: MemoryNode) -> Int {
        node.isDirectory
            ? node.entries.values.reduce(0) { $0 + usedBytes($1) } : node.data.count
    }

    /// Takes the exclusive lock of a file.
    public func tryLock(_ path: String) throws(FileError) -> (any FileLock)? {
        try withState { state throws(FileError) in
            try Self.begin(&state, .lock, path)
            _ = try Self.makeFile(&state, path)
            guard state.locks[path] == nil else { return nil }
            let id = state.nextLock
            state.nextLock += 1
            state.locks[path] = id
            return MemoryLock(fileSystem: self, path: path, id: id)
        }
    }

    func releaseLock(_ path: String, _ id: Int) {
        state.withLock { state in
            if state.value.locks[path] == id { state.value.locks[path] = nil }
        }
    }

    /// Differs after each power loss.
    public func bootID() throws(FileError) -> String {
        try withState { state throws(FileError) in "boot-\(state.boot)" }
    }

    // MARK: For files

    func withNode<R>(
        _ file: MemoryFile, _ operation: FileOperation, log line: String? = nil,
        _ body: (MemoryNode) throws(FileError) -> R
    ) throws(FileError) -> R {
        try withState { state throws(FileError) in
            guard file.epoch == state.epoch else {
                throw FileError(operation, file.path, code: EBADF)
            }
            try Self.begin(&state, operation, file.path, log: line)
            return try body(file.node.value)
        }
    }

    func write(
        _ file: MemoryFile, _ bytes: UnsafeRawBufferPointer, at offset: Int
    ) throws(FileError) {
        try withState { state throws(FileError) in
            guard file.epoch == state.epoch, file.isWritable else {
                throw FileError(.write, file.path, code: EBADF)
            }
            let node = file.node.value
            var room = bytes.count
            var code: Int32?
            if let fault = Self.fire(&state, .write, file.path) {
                room = min(room, fault.bytesWrittenBefore)
                code = fault.code
            }
            if let capacity = state.capacityBytes {
                let growth = max(0, offset + room - node.data.count)
                let free = max(0, capacity - Self.usedBytes(state.root))
                if growth > free {
                    room = max(0, room - (growth - free))
                    code = code ?? ENOSPC
                }
            }
            node.write(UnsafeRawBufferPointer(rebasing: bytes[..<room]), at: offset)
            node.modifiedSeconds = clock.unixSeconds
            state.log.append("write \(file.path) \(offset)+\(room)")
            if let code { throw FileError(.write, file.path, code: code) }
        }
    }
}
