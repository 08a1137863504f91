internal import FileIO
internal import Glibc
internal import MigrateCore
internal import PikaStorage

/// Where a walk through a Pika's stores goes on: behind a key.
///
/// ```text
/// u8 version 1 | u8 database | u8 kind | key
/// ```
struct StoreWalkPoint: Equatable {
    static let version: UInt8 = 1
    /// Longer keys get no point of their own.
    static let maxKeyBytes = SnapshotPoint.maxTokenBytes - 3

    var database: Int
    var kind: StoreKind
    /// The last key that is complete.
    var key: [UInt8]

    func encode() -> [UInt8] {
        [Self.version, UInt8(clamping: self.database), self.kind.rawValue] + self.key
    }

    init(database: Int, kind: StoreKind, key: [UInt8]) {
        self.database = database
        self.kind = kind
        self.key = key
    }

    init?(_ bytes: [UInt8]) {
        guard bytes.count >= 3, bytes[0] == Self.version, bytes[1] < 8,
            let kind = StoreKind(rawValue: bytes[2])
        else { return nil }
        self.init(database: Int(bytes[1]), kind: kind, key: Array(bytes[3...]))
    }
}

/// Reads all keys of a Pika's dump, database by database and store by store, in bounded memory.
///
/// Owned by one task; calls block for the disk.
struct StoreWalk {
    /// Keys whose names are read at once.
    static let keysAtOnce = 256
    /// Short strings that come packed, with their values, at most.
    static let stringsAtOnce = 4_096
    /// A longer string comes by itself, in bytes.
    static let maxPackedBytes = 4_096
    /// A point to go on from is given after so many bytes at least.
    static let pointEveryBytes = 1 << 20

    private let directory: String
    private let databases: [Int]
    private let environment: StoreEnvironment
    private let now: Int64
    /// Indexes into `databases` and the kinds.
    private var databaseIndex = 0
    private var kindIndex = 0
    private var store: Store?
    /// Those of the database that were read before: a name may be in several.
    private var earlier: [Store] = []
    private var keys: ArraySlice<FoundKey> = []
    /// The next key's least name.
    private var from: [UInt8] = []
    /// The key whose elements are being read.
    private var open: OpenKey?
    private var sincePoint = 0
    /// Bytes of names and values that were read.
    private(set) var readBytes: UInt64 = 0

    private struct FoundKey {
        var name: [UInt8]
        var expiry: Int32
        var earlierKinds: [KeyKind] = []
    }

    private struct OpenKey {
        var name: [UInt8]
        /// The next element's least name; unused for lists.
        var from: [UInt8] = []
        /// The next element's index: lists; the next byte: strings.
        var index = 0
    }

    private static let kinds: [StoreKind] = StoreKind.precedence

    /// - Parameters:
    ///   - directory: holds `db0/strings` and so on.
    ///   - databases: which ones there are, ascending.
    ///   - now: Unix seconds; keys that expired before are left out.
    init(
        directory: String, databases: [Int], now: Int64, environment: StoreEnvironment,
        resumingAt point: StoreWalkPoint? = nil
    ) {
        self.directory = directory
        self.databases = databases
        self.now = now
        self.environment = environment
        guard let point, let database = databases.firstIndex(of: point.database),
            let kind = Self.kinds.firstIndex(of: point.kind)
        else { return }
        self.databaseIndex = database
        self.kindIndex = kind
        self.from = point.key + [0]
    }

    /// The next events, about a chunk's worth; empty at the end.
    mutating func next(position: SourcePosition) throws(SourceError) -> [SourceEvent] {
        var events: [SourceEvent] = []
        var bytes = 0
        do throws(StorageError) {
            while bytes < ElementChunk.maxBytes {
                if self.open != nil {
                    try self.readElements(&events, &bytes)
                    guard self.open == nil else { continue }
                    events.append(.keyEnd)
                    if let point = self.point(position, bytes) { events.append(point) }
                } else if let key = self.keys.popFirst() {
                    self.from = key.name + [0]
                    self.open = OpenKey(name: key.name)
                    bytes += key.name.count + 64
                    events.append(.keyStart(self.head(key)))
                } else if let batch = try self.readStrings() {
                    bytes += batch.bytes.count
                    events.append(.strings(batch))
                    if let point = self.point(position, bytes) { events.append(point) }
                } else if try !self.readKeys() {
                    break
                }
            }
        } catch { throw .corrupt("\(self.directory): \(error)") }
        self.readBytes += UInt64(bytes)
        self.sincePoint += bytes
        return events
    }

    private mutating func point(_ position: SourcePosition, _ bytes: Int) -> SourceEvent? {
        guard self.sincePoint + bytes >= Self.pointEveryBytes, !self.from.isEmpty,
            self.from.count <= StoreWalkPoint.maxKeyBytes
        else { return nil }
        self.sincePoint = -bytes
        let point = StoreWalkPoint(
            database: self.databases[self.databaseIndex], kind: Self.kinds[self.kindIndex],
            key: Array(self.from.dropLast()))
        return .snapshotPoint(
            SnapshotPoint(position: position, token: point.encode()),
            readBytes: self.readBytes + UInt64(bytes))
    }

    private func head(_ key: FoundKey) -> KeyHead {
        var head = KeyHead(
            database: self.databases[self.databaseIndex], name: key.name,
            kind: Self.kinds[self.kindIndex].keyKind,
            deadlineMilliseconds: key.expiry == 0 ? nil : Int64(key.expiry) * 1_000)
        head.earlierKinds = key.earlierKinds
        return head
    }

    /// Opens the store to read, and those of the database that come before it.
    private mutating func openStores() throws(StorageError) {
        guard self.store == nil else { return }
        let directory = Path.join(self.directory, "db\(self.databases[self.databaseIndex])")
        func open(_ kind: StoreKind) throws(StorageError) -> Store {
            try Store.openReadOnly(
                path: Path.join(directory, kind.directoryName), kind: kind,
                environment: self.environment)
        }
        while self.earlier.count < self.kindIndex {
            self.earlier.append(try open(Self.kinds[self.earlier.count]))
        }
        self.store = try open(Self.kinds[self.kindIndex])
    }

    /// The store is read to its end.
    private mutating func turnPage() {
        if let store = self.store { self.earlier.append(store) }
        self.store = nil
        self.from = []
        self.kindIndex += 1
        guard self.kindIndex == Self.kinds.count else { return }
        for store in self.earlier { store.close(flush: false) }
        self.earlier = []
        self.kindIndex = 0
        self.databaseIndex += 1
    }

    /// Looks which of the names the earlier stores hold as well.
    private func findEarlier(_ found: inout [FoundKey]) throws(StorageError) {
        let now = self.now
        for store in self.earlier {
            let transaction = store.makeTransaction()
            for index in found.indices {
                let expiry = try found[index].name.withBytes { name throws(StorageError) in
                    try transaction.keyExpiry(name, now: now)
                }
                if expiry != nil { found[index].earlierKinds.append(store.kind.keyKind) }
            }
        }
    }

    /// The short strings that come next, in one pass over their rows; nil if there are none.
    ///
    /// Their store is a database's first: no other type of the same name came before.
    private mutating func readStrings() throws(StorageError) -> StringBatch? {
        guard self.keys.isEmpty, self.databaseIndex < self.databases.count,
            Self.kinds[self.kindIndex] == .strings
        else { return nil }
        try self.openStores()
        guard let store = self.store, self.earlier.isEmpty else { return nil }
        var batch = StringBatch(
            database: self.databases[self.databaseIndex], bytes: [], ends: [], deadlines: [])
        var long: FoundKey?
        let now = self.now
        let from = self.from
        try from.withBytes { start throws(StorageError) in
            try Strings(store.makeTransaction()).forEach(from: start, now: now, fillCache: false) {
                name, value, expiry in
                guard value.count <= Self.maxPackedBytes else {
                    long = FoundKey(name: Array(name), expiry: expiry)
                    return false
                }
                batch.append(
                    name: name, value: value, deadlineMilliseconds: Int64(expiry) * 1_000)
                return batch.count < Self.stringsAtOnce
                    && batch.bytes.count < ElementChunk.maxBytes
            }
        }
        guard batch.count > 0 else {
            if let long { self.keys = [long] }
            return nil
        }
        self.from = Array(batch.bytes[batch.name(batch.count - 1)]) + [0]
        return batch
    }

    /// The names that come next; false at the end of everything.
    private mutating func readKeys() throws(StorageError) -> Bool {
        if !self.keys.isEmpty { return true }
        while self.databaseIndex < self.databases.count {
            try self.openStores()
            guard let store = self.store else { return false }
            var found: [FoundKey] = []
            let from = self.from
            let now = self.now
            try from.withBytes { start throws(StorageError) in
                try store.makeTransaction().forEachKey(from: start, now: now, fillCache: false) {
                    key, expiry in
                    found.append(FoundKey(name: Array(key), expiry: expiry))
                    return found.count < Self.keysAtOnce
                }
            }
            if !found.isEmpty {
                try self.findEarlier(&found)
                self.keys = found[...]
                return true
            }
            self.turnPage()
        }
        return false
    }

    /// One chunk of the open key; it is closed when there are no more.
    private mutating func readElements(
        _ events: inout [SourceEvent], _ bytes: inout Int
    ) throws(StorageError) {
        guard let store = self.store, var key = self.open else { return }
        var chunk = ElementChunk()
        let transaction = store.makeTransaction()
        let now = self.now
        let isOver = try key.name.withBytes { name throws(StorageError) in
            switch Self.kinds[self.kindIndex] {
            case .strings: try Self.string(transaction, name, &key, &chunk, now)
            case .lists: try Self.list(transaction, name, &key, &chunk, now)
            case .hashes, .sets, .zsets: try Self.members(transaction, name, &key, &chunk, now)
            }
        }
        bytes += chunk.bytes.count + chunk.textCount * 8
        if chunk.textCount > 0 { events.append(.elements(chunk)) }
        self.open = isOver ? nil : key
    }

    private static func string(
        _ transaction: StoreTransaction, _ name: Bytes, _ key: inout OpenKey,
        _ chunk: inout ElementChunk, _ now: Int64
    ) throws(StorageError) -> Bool {
        let start = key.index
        var end = start
        var isOver = true
        try Strings(transaction).withValue(name, now: now) { value, _ in
            guard let value, start < value.count || value.isEmpty else { return }
            end = min(start + ElementChunk.maxBytes, value.count)
            isOver = end == value.count
            chunk.append(value[start..<end])
            if end - start < value.count { chunk.wholeBytes = UInt64(value.count) }
        }
        key.index = end
        return isOver
    }

    private static func list(
        _ transaction: StoreTransaction, _ name: Bytes, _ key: inout OpenKey,
        _ chunk: inout ElementChunk, _ now: Int64
    ) throws(StorageError) -> Bool {
        var isFull = false
        try Lists(transaction).forEach(name, start: Int64(key.index), now: now) { element in
            chunk.append(element)
            isFull = Self.isFull(chunk, elements: chunk.textCount)
            return !isFull
        }
        key.index += chunk.textCount
        return !isFull
    }

    private static func members(
        _ transaction: StoreTransaction, _ name: Bytes, _ key: inout OpenKey,
        _ chunk: inout ElementChunk, _ now: Int64
    ) throws(StorageError) -> Bool {
        var isFull = false
        var last: [UInt8] = []
        try key.from.withBytes { from throws(StorageError) in
            switch transaction.kind {
            case .hashes:
                try Hashes(transaction).forEach(name, from: from, now: now) { field, value in
                    chunk.append(field)
                    chunk.append(value)
                    isFull = Self.isFull(chunk, elements: chunk.textCount / 2)
                    if isFull { last = Array(field) }
                    return !isFull
                }
            case .sets:
                try Sets(transaction).forEach(name, from: from, now: now) { member in
                    chunk.append(member)
                    isFull = Self.isFull(chunk, elements: chunk.textCount)
                    if isFull { last = Array(member) }
                    return !isFull
                }
            case .zsets:
                try SortedSets(transaction).forEachMember(name, from: from, now: now) {
                    member, score in
                    chunk.append(member)
                    chunk.scores.append(score)
                    isFull = Self.isFull(chunk, elements: chunk.textCount)
                    if isFull { last = Array(member) }
                    return !isFull
                }
            case .strings, .lists: break
            }
        }
        key.from = last + [0]
        return !isFull
    }

    private static func isFull(_ chunk: ElementChunk, elements: Int) -> Bool {
        elements >= ElementChunk.maxElements || chunk.bytes.count >= ElementChunk.maxBytes
    }
}

extension StoreKind {
    /// The kind in a source's words.
    var keyKind: KeyKind {
        switch self {
        case .strings: .string
        case .hashes: .hash
        case .lists: .list
        case .sets: .set
        case .zsets: .sortedSet
        }
    }
}

extension Array where Element == UInt8 {
    /// Lends the bytes to a body that throws a typed error.
    func withBytes<R, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> R
    ) throws(Failure) -> R {
        let result = self.withUnsafeBytes { bytes -> Result<R, Failure> in
            do throws(Failure) { return .success(try body(bytes)) } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}
