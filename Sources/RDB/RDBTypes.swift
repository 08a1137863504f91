/// What a key of an RDB file holds.
public enum RDBKind: UInt8, Sendable, Equatable, CaseIterable {
    /// One string, possibly in pieces.
    case string
    /// Elements in order, head first.
    case list
    /// Members.
    case set
    /// Members with scores.
    case sortedSet
    /// Fields and values, possibly with deadlines.
    case hash
    /// Named and skipped: no elements come.
    case stream
    /// Named and skipped: no elements come.
    case module
}

/// Who wrote the file: the two families give some numbers different meanings.
public enum RDBDialect: UInt8, Sendable, Equatable {
    /// Magic `REDIS`.
    case redis
    /// Magic `VALKEY`, since Valkey 9.
    case valkey
}

/// Bounds on what a file may make the decoder hold.
public struct RDBLimits: Sendable, Equatable {
    /// Longest key name, element, function source or packed container, in bytes, unpacked.
    ///
    /// String values have no limit: they come in pieces.
    public var maxElementBytes: Int
    /// Most elements in one chunk.
    public var maxChunkElements: Int
    /// Chunks are handed out once they hold this many bytes (or one longer element), in bytes.
    public var maxChunkBytes: Int
    /// Newest version of the dialect `REDIS` that is tried.
    public var maxRedisVersion: Int

    /// The limits that bound the decoder's memory by about 3 × `maxElementBytes`.
    public init(
        maxElementBytes: Int = 64 * 1024 * 1024, maxChunkElements: Int = 256,
        maxChunkBytes: Int = 256 * 1024, maxRedisVersion: Int = 14
    ) {
        self.maxElementBytes = maxElementBytes
        self.maxChunkElements = max(1, maxChunkElements)
        self.maxChunkBytes = max(1, maxChunkBytes)
        self.maxRedisVersion = maxRedisVersion
    }
}

/// What is wrong with bytes that are no RDB.
public enum RDBFault: String, Sendable, Equatable {
    /// A length's first byte has no meaning.
    case lengthByte = "length byte without a meaning"
    /// A special string form where a length must be.
    case encodedLength = "string form where a length must be"
    /// A special string form without a meaning.
    case stringForm = "unknown string form"
    /// Compressed bytes that do not give the length they claim.
    case compressedString = "compressed string does not unpack"
    /// A ziplist's totals, entries or end disagree.
    case ziplist = "damaged ziplist"
    /// A listpack's totals, entries or end disagree.
    case listpack = "damaged listpack"
    /// An intset's width or count disagree with its length.
    case intset = "damaged intset"
    /// A zipmap's entries or end disagree.
    case zipmap = "damaged zipmap"
    /// A field without value, a member without score.
    case oddEntries = "packed pairs are incomplete"
    /// A score that is no number.
    case score = "score is no number"
    /// A deadline of a field that is no number.
    case fieldDeadline = "deadline of a field is no number"
    /// A list node that is neither plain nor packed.
    case listNode = "unknown kind of list node"
    /// An item of a module's value without a meaning.
    case moduleItem = "unknown item in a module's value"
    /// Bytes behind the value of a DUMP payload.
    case trailingBytes = "bytes behind the value"
}

/// Why a file or payload is not decoded; offsets count from the beginning of the file, in bytes.
public enum RDBError: Error, Sendable, Equatable {
    /// The input ended in the middle, at or behind this offset.
    case truncated(offset: UInt64)
    /// It begins with neither `REDIS` nor `VALKEY`.
    case badMagic
    /// Valkey's LZ4 envelope around the whole file: write it with `rdbcompression yes` or `no`.
    case compressedEnvelope
    /// A version that is not known.
    case unsupportedVersion(dialect: RDBDialect, version: Int)
    /// A type of value that can't be decoded or skipped: what it is, and whose it is.
    case unsupportedType(number: UInt8, name: String, key: [UInt8], offset: UInt64)
    /// A record that can't be decoded or skipped.
    case unsupportedRecord(number: UInt8, name: String, offset: UInt64)
    /// The bytes make no sense.
    case corrupt(RDBFault, offset: UInt64)
    /// Longer than `RDBLimits.maxElementBytes`.
    case elementTooLarge(sizeBytes: UInt64, limitBytes: Int, offset: UInt64)
    /// The checksum at the end is not that of the bytes.
    case checksumMismatch(expected: UInt64, actual: UInt64)
}

/// What stands before a key's value.
public struct RDBKey: Sendable, Equatable {
    /// The database selected last.
    public var database: UInt64
    /// The key's name.
    public var name: [UInt8]
    /// What it holds.
    public var kind: RDBKind
    /// The number of the value's encoding in the file.
    public var encoding: UInt8
    /// When the key expires, in milliseconds since 1970; may be in the past, even negative.
    public var deadlineMilliseconds: Int64?
    /// Seconds since the last use, if the file says so.
    public var idleSeconds: UInt64?
    /// Redis's logarithmic counter of uses, if the file says so.
    public var frequency: UInt8?
    /// The nine letters of a module's type.
    public var moduleName: String?
    /// A hash that may have deadlines of single fields: `RDBChunk.deadlines` is filled.
    public var hasFieldDeadlines: Bool
}

/// What the end of a file says about its checksum.
public enum RDBChecksum: Sendable, Equatable {
    /// It is that of the bytes.
    case verified
    /// Zero: the writer did not compute it.
    case absent
    /// Version 4 and older have none.
    case unknownToVersion
    /// The decoder was told not to compute it.
    case unchecked
}

/// One step through a file.
public enum RDBEvent: Sendable, Equatable {
    /// The file's first nine bytes.
    case header(dialect: RDBDialect, version: Int)
    /// A note of the writer: `redis-ver`, `repl-stream-db`, `lua`…
    case auxiliary(name: [UInt8], value: [UInt8])
    /// The keys that follow are in this database.
    case selectDatabase(UInt64)
    /// How many keys, and keys with a deadline, the database has: hints.
    case resizeDatabase(keys: UInt64, expiring: UInt64)
    /// How many keys, and keys with a deadline, a cluster's slot has: hints.
    case slotInfo(slot: UInt64, keys: UInt64, expiring: UInt64)
    /// A key begins; `elements` follow, then `keyEnd`.
    case keyStart(RDBKey)
    /// `RDBDecoder.chunk` holds the next elements of the key, until the next call of `next`.
    case elements
    /// The key is complete: `RDBDecoder.resumePoint()` is behind it.
    case keyEnd
    /// The source of a library of functions.
    case function(source: [UInt8])
    /// State of a module beside the keys; skipped.
    case moduleAuxiliary(name: String)
    /// A slot that was being imported into a Valkey; skipped.
    case slotImport
    /// The end; bytes behind it are the caller's.
    case end(RDBChecksum)
}

/// Where a decoder can go on: always between two keys.
public struct RDBResumePoint: Sendable, Equatable {
    /// How many bytes of the file are behind it.
    public var offset: UInt64
    /// The file's dialect.
    public var dialect: RDBDialect
    /// The file's version.
    public var version: Int
    /// The database selected last.
    public var database: UInt64
    /// The checksum of the bytes before `offset`.
    public var checksum: UInt64

    /// A point from its parts, as it was kept.
    public init(
        offset: UInt64, dialect: RDBDialect, version: Int, database: UInt64, checksum: UInt64
    ) {
        self.offset = offset
        self.dialect = dialect
        self.version = version
        self.database = database
        self.checksum = checksum
    }
}
