public import FileIO
public import SyncProtocol

/// What is wrong with bytes of a log file.
public enum BinlogDamage: Sendable, Equatable {
    /// A record says that it is longer than its block has room for.
    case recordTooLong(bytes: Int, roomInBlock: Int)

    /// A record type that does not exist or cannot stand here.
    case unexpectedRecordType(UInt8)

    /// The file ends inside a record or an item.
    case truncated(expectedBytes: UInt64, actualBytes: UInt64)

    /// The records of an item do not hold an item.
    case item(BinlogItemError)

    /// An item larger than the limit.
    case itemTooLong(bytes: Int, limit: Int)

    /// The data of a finished 64 KiB block do not have the checksum that the sidecar names.
    case blockChecksum(block: UInt32, expected: UInt64, actual: UInt64)

    /// Zeros where an item is expected.
    case zeros
}

/// Why a log refuses something; cases carry what was expected and what is there.
public enum BinlogError: Error, Sendable, Equatable {
    /// The operating system refused.
    case file(FileError)

    /// Bytes at `offset` of the file cannot be right. Nothing was changed.
    case damaged(path: String, offset: UInt64, BinlogDamage)

    /// The log up to `position` does not have the digest that its sidecar names. Nothing was
    /// changed.
    case digestMismatch(position: BinlogPosition, expected: UInt64, actual: UInt64)

    /// The log must reach `expected` (its sidecar, its manifest or a store says so), but ends at
    /// `actual`. Nothing was changed.
    case endsTooEarly(expected: BinlogPosition, actual: BinlogPosition, source: BinlogEvidence)

    /// A sidecar file that is there but cannot be used.
    case sidecarDamaged(path: String, SidecarDamage)

    /// The manifest names a file that is missing; `newest` is the newest one that is there.
    case manifestNamesMissingFile(path: String, named: UInt32, newest: UInt32?)

    /// The position is not (or no longer, or not yet) one of this log.
    case position(BinlogPosition, PositionVerdict)

    /// Where a received item ends here is not where it ends in the master's log.
    case receivedPosition(expected: BinlogPosition, actual: BinlogPosition)

    /// A received item that is not one.
    case receivedItem(end: BinlogPosition, BinlogItemError)

    /// An item larger than the limit.
    case itemTooLarge(bytes: Int, limit: Int)

    /// More items in an atomic group than the limit.
    case groupTooLarge(items: Int, limit: Int)

    /// The log was emptied or cut while this cursor read it.
    case cursorOvertaken(BinlogPosition)

    /// An earlier failure left the log in doubt: it takes nothing until it is opened again.
    case closedByFailure(FileError)

    /// Too many files in the directory.
    case tooManyFiles(count: Int, limit: Int)
}

/// Who says how far a log must reach.
public enum BinlogEvidence: String, Sendable, Equatable {
    case sidecar
    case manifest
    case store
}

/// What is wrong with a sidecar.
public enum SidecarDamage: Sendable, Equatable {
    case missing
    case wrongKind
    case headerChecksum(expected: UInt64, actual: UInt64)
    case wrongFileNumber(expected: UInt32, actual: UInt32)
    case unknownVersion(newestKnown: UInt32, actual: UInt32)
    case truncated(expectedBytes: Int, actualBytes: Int)
    case startRecord
    case tooLong(bytes: UInt64, limit: Int)
}

extension BinlogError: CustomStringConvertible {
    /// Text for an operator.
    public var description: String {
        switch self {
        case .file(let error):
            error.description
        case .damaged(let path, let offset, let damage):
            "binlog \(path) is damaged at offset \(offset): \(damage)"
        case .digestMismatch(let position, let expected, let actual):
            "binlog does not have the digest of its sidecar at \(position): expected "
                + "\(String(expected, radix: 16)), its items give \(String(actual, radix: 16))"
        case .endsTooEarly(let expected, let actual, let source):
            "binlog ends at \(actual), but its \(source.rawValue) says that it reached \(expected)"
        case .sidecarDamaged(let path, let damage):
            "binlog sidecar \(path) is damaged: \(damage)"
        case .manifestNamesMissingFile(let path, let named, let newest):
            "\(path) names write2file\(named), but the newest file is "
                + (newest.map { "write2file\($0)" } ?? "none")
        case .position(let position, let verdict):
            "position \(position) of the binlog: \(verdict.rawValue)"
        case .receivedPosition(let expected, let actual):
            "received item ends at \(actual) here and at \(expected) on the master"
        case .receivedItem(let end, let error):
            "received item that ends at \(end) is not an item: \(error)"
        case .itemTooLarge(let bytes, let limit):
            "binlog item of \(bytes) bytes, the limit is \(limit)"
        case .groupTooLarge(let items, let limit):
            "atomic group of \(items) items, the limit is \(limit)"
        case .cursorOvertaken(let position):
            "binlog was cut or emptied while it was read at \(position)"
        case .closedByFailure(let error):
            "binlog takes no writes since: \(error)"
        case .tooManyFiles(let count, let limit):
            "\(count) binlog files, the limit is \(limit)"
        }
    }
}
