internal import MigrateCore
internal import RDB

/// Turns the keys of a snapshot into an RDB, without I/O and without holding a key as a whole.
///
///     var writer = SnapshotWriter(filter: filter, policy: policy, checksNames: false)
///     try writer.begin(head, now: time); try writer.append(chunk); writer.endKey()
///     write(writer.takeBytes()); for patch in writer.takePatches() { overwrite(patch) }
///     try writer.end()
///
/// A key that comes in one chunk is written with its count; of a longer one the count is filled in
/// at its end, where that is in bytes that were taken already by a patch.
struct SnapshotWriter {
    /// Redis 5 and all later servers load it.
    static let rdbVersion = 9

    private let filter: KeyFilter
    private let policy: PlanPolicy
    /// Hashes of all names: a name that comes twice is found at the end; nil = none can.
    private var names: ContiguousArray<UInt64>?
    private var writer = RDBWriter(version: SnapshotWriter.rdbVersion)
    private var database: Int?
    private var patches: [RDBPatch] = []
    private var notes: [PlanNote] = []
    private var key: Key?

    private struct Key {
        var target: DatabaseKey
        var kind: KeyKind
        var deadline: Int64?
        /// The first elements, while it is not known whether more come.
        var first: ElementChunk?
        var isOpen = false
    }

    /// - Parameter checksNames: The source or the filter may give one name to two keys: no server
    ///   loads such a file.
    init(filter: KeyFilter, policy: PlanPolicy, checksNames: Bool) {
        self.filter = filter
        self.policy = policy
        self.names = checksNames ? [] : nil
        self.writer.auxiliary("redis-bits", "64")
    }

    /// Bytes that wait.
    var pendingCount: Int { self.writer.pendingCount }
    mutating func takeBytes() -> ContiguousArray<UInt8> { self.writer.takeBytes() }

    /// What is to be written over bytes that were taken before.
    mutating func takePatches() -> [RDBPatch] {
        defer { self.patches = [] }
        return self.patches
    }

    /// What was left out, and forgets it.
    mutating func takeNotes() -> [PlanNote] {
        defer { self.notes = [] }
        return self.notes
    }

    // MARK: - Keys

    mutating func begin(_ head: KeyHead, now: Int64) throws(PlanRefusal) {
        self.key = nil
        guard self.filter.takes(head.kind),
            let target = self.filter.target(DatabaseKey(head.database, head.name))
        else { return }
        switch head.kind {
        case .stream: return try self.skip("stream", self.policy.stream)
        case .module: return try self.skip("module \(head.moduleName)", self.policy.module)
        default: break
        }
        if let deadline = head.deadlineMilliseconds, deadline <= now {
            self.notes.append(PlanNote("expired"))
            return
        }
        if let count = self.names?.count {
            guard count < Engine.maxReconciledKeys else {
                throw PlanRefusal(Engine.tooManyNames)
            }
            self.names?.append(KeyHash.hash(database: target.database, key: target.key))
        }
        self.key = Key(target: target, kind: head.kind, deadline: head.deadlineMilliseconds)
    }

    private mutating func skip(_ what: String, _ choice: PlanPolicy.Choice) throws(PlanRefusal) {
        guard choice == .skip else {
            throw PlanRefusal("a \(what) can't be copied; [policy] can skip it")
        }
        self.notes.append(PlanNote(what))
    }

    mutating func append(_ chunk: ElementChunk) throws(PlanRefusal) {
        guard var key = self.key, chunk.textCount > 0 else { return }
        let chunk = key.kind == .sortedSet ? try self.withoutNaN(chunk) : chunk
        guard chunk.textCount > 0 else { return }
        if chunk.fieldDeadlines.contains(where: { $0 != 0 }) {
            guard self.policy.fieldDeadline == .drop else {
                throw PlanRefusal("a hash has fields with deadlines (field-deadline)")
            }
            self.notes.append(PlanNote("field-deadline"))
        }
        // Taken out, so that what it holds is not copied.
        self.key = nil
        defer { self.key = key }
        guard key.isOpen || key.first != nil else {
            key.first = chunk
            return
        }
        if !key.isOpen {
            key.isOpen = true
            self.select(key)
            self.writer.beginOpenKey(
                key.target.key, kind: Self.kind(key.kind), deadlineMilliseconds: key.deadline)
            if let first = key.first { self.write(first, of: key) }
            key.first = nil
        }
        self.write(chunk, of: key)
    }

    private mutating func withoutNaN(_ chunk: ElementChunk) throws(PlanRefusal) -> ElementChunk {
        guard chunk.scores.contains(where: \.isNaN) else { return chunk }
        guard self.policy.nanScore == .skip else {
            throw PlanRefusal("a sorted set has a score that is no number (nan-score)")
        }
        self.notes.append(PlanNote("nan-score"))
        var kept = ElementChunk()
        for index in chunk.scores.indices where !chunk.scores[index].isNaN {
            kept.append(chunk.bytes[chunk.range(index)])
            kept.scores.append(chunk.scores[index])
        }
        return kept
    }

    /// - Returns: What the key holds; nil = it was left out.
    mutating func endKey() -> KeyKind? {
        guard let key = self.key else { return nil }
        self.key = nil
        if key.isOpen {
            if let patch = self.writer.endOpenKey() { self.patches.append(patch) }
        } else if let first = key.first {
            self.writeWhole(first, of: key)
        } else if key.kind == .string {
            var empty = ElementChunk()
            empty.append([])
            self.writeWhole(empty, of: key)
        } else {
            // Servers have no empty collections.
            return nil
        }
        return key.kind
    }

    /// The end of the file.
    mutating func end() throws(PlanRefusal) {
        self.names?.sort()
        if let names = self.names, zip(names, names.dropFirst()).contains(where: { $0 == $1 }) {
            throw PlanRefusal(Engine.nameTwice)
        }
        self.writer.end()
    }

    // MARK: - Bytes

    private mutating func select(_ key: Key) {
        guard self.database != key.target.database else { return }
        self.database = key.target.database
        self.writer.selectDatabase(UInt64(key.target.database))
    }

    private mutating func writeWhole(_ chunk: ElementChunk, of key: Key) {
        self.select(key)
        let count = key.kind == .hash ? chunk.textCount / 2 : chunk.textCount
        self.writer.beginKey(
            key.target.key, kind: Self.kind(key.kind), elementCount: UInt64(count),
            deadlineMilliseconds: key.deadline)
        guard key.kind == .string else { return self.write(chunk, of: key) }
        chunk.bytes.withUnsafeBytes { self.writer.append($0) }
    }

    private mutating func write(_ chunk: ElementChunk, of key: Key) {
        guard key.kind != .string else { return self.writer.append(piece: chunk.bytes) }
        chunk.bytes.withUnsafeBytes { bytes in
            func text(_ index: Int) -> UnsafeRawBufferPointer {
                UnsafeRawBufferPointer(rebasing: bytes[chunk.range(index)])
            }
            switch key.kind {
            case .sortedSet:
                for index in 0..<chunk.textCount {
                    self.writer.append(member: text(index), score: chunk.scores[index])
                }
            case .hash:
                for index in stride(from: 0, to: chunk.textCount - 1, by: 2) {
                    self.writer.append(field: text(index), value: text(index + 1))
                }
            default:
                for index in 0..<chunk.textCount { self.writer.append(text(index)) }
            }
        }
    }

    private static func kind(_ kind: KeyKind) -> RDBKind {
        switch kind {
        case .string: .string
        case .list: .list
        case .set: .set
        case .sortedSet: .sortedSet
        case .hash: .hash
        case .stream: .stream
        case .module: .module
        }
    }
}
