/// What can go wrong in a store.
public enum StorageError: Error, Equatable, Sendable {
    /// RocksDB refused.
    case engine(EngineFault)
    /// A row does not parse: `length` bytes where `expected` were needed.
    case corruptRow(kind: StoreKind, family: Family, expected: Int, length: Int)
    /// The reserved row holds something that is not an applied position.
    case corruptAppliedRow(AppliedRowFault)
    /// The key name is the reserved one.
    case reservedName
    /// A stored or given text is not a 64-bit integer.
    case notAnInteger
    /// A stored or given text is not a number.
    case notAFloat
    /// The result does not fit into 64 bits.
    case integerOverflow
    /// The result would be NaN.
    case resultIsNaN
    /// LSET behind either end.
    case indexOutOfRange
    /// LSET on a key that does not exist.
    case noSuchKey
    /// A bit or byte offset beyond `limit`.
    case offsetOutOfRange(limit: Int, offset: Int64)
    /// A value longer than `limit`.
    case valueTooLong(limit: Int, length: Int)
    /// More elements than a count can say.
    case countOverflow
    /// A longitude or latitude outside of the indexable area.
    case invalidCoordinates
    /// An odd number of words where pairs are needed.
    case unpairedArguments(count: Int)
    /// Another process has the directory open.
    case locked(path: String)
    /// The store has been closed.
    case closed
    /// A flush answered success but memtables are left: RocksDB's background work is stopped.
    case flushIncomplete(memtables: Int)
    /// The directory is not a store of this kind.
    case notAStore(path: String, reason: String)
}

/// An error that RocksDB returned.
public struct EngineFault: Error, Equatable, Sendable {
    /// RocksDB's status code.
    public enum Code: UInt8, Sendable {
        case notFound = 1
        case corruption = 2
        case notSupported = 3
        case invalidArgument = 4
        case ioError = 5
        case mergeInProgress = 6
        case incomplete = 7
        case shutdownInProgress = 8
        case timedOut = 9
        case aborted = 10
        case busy = 11
        case expired = 12
        case tryAgain = 13
        case compactionTooLarge = 14
        case columnFamilyDropped = 15
        case unknown = 255
    }

    /// The status code.
    public var code: Code
    /// Whether the cause is a full disk.
    public var isNoSpace: Bool
    /// RocksDB's text.
    public var message: String

    /// Makes a fault.
    public init(code: Code, isNoSpace: Bool, message: String) {
        self.code = code
        self.isNoSpace = isNoSpace
        self.message = message
    }
}

/// Why a reserved row was not accepted.
public enum AppliedRowFault: Error, Equatable, Sendable {
    case length(expected: Int, actual: Int)
    case formatVersion(expected: UInt32, actual: UInt32)
    case checksum(expected: UInt64, actual: UInt64)
    case frame
}
