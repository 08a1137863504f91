/// Bounds on one command of a replication stream or AOF.
public struct CommandLimits: Sendable, Equatable {
    /// Most arguments, the command's name included.
    public var maxArguments: Int
    /// Longest command, in bytes, its protocol included.
    public var maxCommandBytes: Int

    /// Redis's count of arguments, and commands of 64 MiB.
    public init(maxArguments: Int = 1_048_576, maxCommandBytes: Int = 64 * 1024 * 1024) {
        self.maxArguments = maxArguments
        self.maxCommandBytes = maxCommandBytes
    }
}

/// Why bytes are no stream of commands; offsets are those of the command's first byte.
public enum CommandStreamError: Error, Sendable, Equatable {
    /// Not an array of bulk strings.
    case malformed(offset: UInt64)
    /// A length or count above its limit.
    case tooLarge(offset: UInt64)
    /// `EXEC` or `DISCARD` without `MULTI`, or `MULTI` within one.
    case misplacedTransaction(offset: UInt64)
    /// A `SELECT` without a database's number.
    case badSelect(offset: UInt64)
}

/// What a command is to the stream.
public enum StreamCommandKind: Sendable, Equatable {
    /// One to apply.
    case write
    /// `SELECT`: the cutter's `database` has changed.
    case select
    /// `PING`: only the offset moves.
    case ping
    /// `REPLCONF GETACK`: an acknowledgement is wanted at once.
    case acknowledgementRequest
    /// `MULTI`: the offset of the transaction's end comes with its `EXEC`.
    case multi
    /// `EXEC`: the transaction is complete.
    case exec
}

/// One command of the stream.
public struct StreamCommand: Sendable, Equatable {
    /// What it is.
    public let kind: StreamCommandKind
    /// The database that it runs in.
    public let database: UInt64
    /// It stands between `MULTI` and `EXEC`.
    public let isInTransaction: Bool
    /// Offset of the byte behind it: what is applied once it (and its transaction) is.
    public let endOffset: UInt64
    /// Name and arguments, as slices of `CommandStreamCutter.buffer`.
    public let arguments: ContiguousArray<Range<Int>>
}

/// Cuts a replication stream or AOF into commands with exact offsets.
///
///     var cutter = CommandStreamCutter(offset: 1234, database: 3)   // the next byte's offset
///     cutter.feed(bytes)
///     while let command = try cutter.next() {
///         let name = cutter.argument(command, 0)                    // until the next `feed`
///         …
///         if !command.isInTransaction { keep(cutter.unitEnd) }      // a place to go on from
///     }
///
/// A unit is one command outside of a transaction, or all from `MULTI` to `EXEC`; `unitEnd` is
/// behind the last complete one. Bare line ends between commands keep a link alive: they are not
/// counted in a stream.
public struct CommandStreamCutter: Sendable {
    /// Bytes that were fed; the slices of commands index it, until the next `feed`.
    public private(set) var buffer = ContiguousArray<UInt8>()
    /// The database that the next command runs in.
    public private(set) var database: UInt64
    /// Offset of the next byte to be cut.
    public private(set) var offset: UInt64
    /// Offset behind the last complete unit.
    public private(set) var unitEnd: UInt64
    /// The database at `unitEnd`.
    public private(set) var unitDatabase: UInt64
    /// `MULTI` was seen, `EXEC` not yet.
    public private(set) var isInTransaction = false

    private var consumed = 0
    private let limits: CommandLimits

    /// A cutter whose next byte is at `offset`, in `database`, outside of a transaction.
    public init(offset: UInt64, database: UInt64 = 0, limits: CommandLimits = CommandLimits()) {
        self.offset = offset
        self.unitEnd = offset
        self.database = database
        self.unitDatabase = database
        self.limits = limits
    }

    /// Adds bytes; they are copied.
    ///
    /// Slices of earlier commands lose their meaning.
    public mutating func feed(_ bytes: UnsafeRawBufferPointer) {
        self.dropConsumed()
        self.buffer.append(contentsOf: bytes)
    }

    /// Adds bytes; they are copied.
    ///
    /// Slices of earlier commands lose their meaning.
    public mutating func feed(_ bytes: some Collection<UInt8>) {
        self.dropConsumed()
        self.buffer.append(contentsOf: bytes)
    }

    /// Counts bytes between two commands that are not fed: annotations of an AOF.
    public mutating func skip(_ count: UInt64) {
        self.offset += count
        if !self.isInTransaction { self.unitEnd += count }
    }

    /// Bytes that were fed and belong to no complete command yet.
    public var unreadCount: Int { self.buffer.count - self.consumed }

    /// A copy of one argument; 0 is the name.
    public func argument(_ command: StreamCommand, _ index: Int) -> [UInt8] {
        Array(self.buffer[command.arguments[index]])
    }

    /// The next command; nil if more bytes are needed.
    public mutating func next() throws(CommandStreamError) -> StreamCommand? {
        let buffer = self.buffer
        while self.consumed < buffer.count, buffer[self.consumed] == UInt8(ascii: "\n") {
            self.consumed += 1
        }
        let found = try buffer.withUnsafeBufferPointer {
            bytes throws(CommandStreamError) -> (ContiguousArray<Range<Int>>, Int)? in
            try self.cut(bytes, from: self.consumed)
        }
        guard let (arguments, end) = found else { return nil }
        let start = self.offset
        self.offset += UInt64(end - self.consumed)
        self.consumed = end
        let isWithin = self.isInTransaction
        let kind = try self.classify(arguments, start)
        if !self.isInTransaction {
            self.unitEnd = self.offset
            self.unitDatabase = self.database
        }
        return StreamCommand(
            kind: kind, database: self.database, isInTransaction: isWithin && kind != .exec,
            endOffset: self.offset, arguments: arguments)
    }

    private mutating func dropConsumed() {
        guard self.consumed > 0 else { return }
        self.buffer.removeFirst(self.consumed)
        self.consumed = 0
    }

    // MARK: - Cutting

    private func cut(
        _ bytes: UnsafeBufferPointer<UInt8>, from start: Int
    ) throws(CommandStreamError) -> (ContiguousArray<Range<Int>>, Int)? {
        var at = start
        guard let count = try self.number(bytes, &at, UInt8(ascii: "*")) else { return nil }
        guard count > 0 else { throw .malformed(offset: self.offset) }
        guard count <= self.limits.maxArguments else { throw .tooLarge(offset: self.offset) }
        var arguments = ContiguousArray<Range<Int>>()
        arguments.reserveCapacity(min(count, 64))
        for _ in 0..<count {
            guard let size = try self.number(bytes, &at, UInt8(ascii: "$")) else { return nil }
            guard size <= self.limits.maxCommandBytes - (at - start) else {
                throw .tooLarge(offset: self.offset)
            }
            guard bytes.count - at >= size + 2 else { return nil }
            guard bytes[at + size] == 13, bytes[at + size + 1] == 10 else {
                throw .malformed(offset: self.offset)
            }
            arguments.append(at..<(at + size))
            at += size + 2
        }
        return (arguments, at)
    }

    /// `mark`, digits, line end; nil if it is not all there.
    private func number(
        _ bytes: UnsafeBufferPointer<UInt8>, _ at: inout Int, _ mark: UInt8
    ) throws(CommandStreamError) -> Int? {
        guard at < bytes.count else { return nil }
        guard bytes[at] == mark else { throw .malformed(offset: self.offset) }
        var value = 0
        var index = at + 1
        while index < bytes.count {
            let byte = bytes[index]
            if byte == 13 {
                guard index > at + 1 else { throw .malformed(offset: self.offset) }
                guard index + 1 < bytes.count else { return nil }
                guard bytes[index + 1] == 10 else { throw .malformed(offset: self.offset) }
                at = index + 2
                return value
            }
            let digit = byte &- UInt8(ascii: "0")
            guard digit <= 9 else { throw .malformed(offset: self.offset) }
            value = value * 10 + Int(digit)
            guard value <= Int(UInt32.max) else { throw .tooLarge(offset: self.offset) }
            index += 1
        }
        return nil
    }

    // MARK: - Meaning

    private mutating func classify(
        _ arguments: ContiguousArray<Range<Int>>, _ start: UInt64
    ) throws(CommandStreamError) -> StreamCommandKind {
        let name = arguments[0]
        switch name.count {
        case 4:
            if self.isWord(name, "PING") { return .ping }
            guard self.isWord(name, "EXEC") else { return .write }
            guard self.isInTransaction else { throw .misplacedTransaction(offset: start) }
            self.isInTransaction = false
            return .exec
        case 5:
            guard self.isWord(name, "MULTI") else { return .write }
            guard !self.isInTransaction else { throw .misplacedTransaction(offset: start) }
            self.isInTransaction = true
            return .multi
        case 6:
            guard self.isWord(name, "SELECT") else { return .write }
            guard arguments.count == 2, let database = self.integer(arguments[1]) else {
                throw .badSelect(offset: start)
            }
            self.database = database
            return .select
        case 8:
            guard self.isWord(name, "REPLCONF"), arguments.count > 1,
                self.isWord(arguments[1], "GETACK")
            else { return .write }
            return .acknowledgementRequest
        default: return .write
        }
    }

    private func isWord(_ range: Range<Int>, _ word: StaticString) -> Bool {
        guard range.count == word.utf8CodeUnitCount else { return false }
        for index in 0..<range.count
        where self.buffer[range.lowerBound + index] & 0xdf != word.utf8Start[index] {
            return false
        }
        return true
    }

    private func integer(_ range: Range<Int>) -> UInt64? {
        guard !range.isEmpty, range.count < 10 else { return nil }
        var value: UInt64 = 0
        for byte in self.buffer[range] {
            guard (0x30...0x39).contains(byte) else { return nil }
            value = value * 10 + UInt64(byte - 0x30)
        }
        return value
    }
}
