/// Decodes an RDB file of any size from pieces of any size, in bounded memory.
///
/// Versions 1-12 of Redis and what is known of 13 and 14, Valkey's 80. Usage:
///
///     var decoder = RDBDecoder()
///     reading: while let piece = source.read() {
///         decoder.feed(piece)
///         while let event = try decoder.next() {
///             switch event {
///             case .keyStart(let key): …            // name, kind, deadline
///             case .elements: use(decoder.chunk)     // valid until the next call of `next`
///             case .keyEnd: keep(decoder.resumePoint())
///             case .end: break reading               // `decoder.unreadBytes` are not the file's
///             default: …
///             }
///         }
///     }
///     try decoder.finish()                           // throws `truncated` without an `.end`
///
/// `next` returns nil when it needs more bytes. After an error every later call throws it again.
/// A chunk that is kept over the next call is copied then: a cost, not a danger.
/// Keys of streams and modules come as `keyStart`, `keyEnd` without elements.
public struct RDBDecoder: Sendable {
    /// The elements of the last `.elements`.
    public internal(set) var chunk = RDBChunk()
    /// The bounds that were given.
    public let limits: RDBLimits

    var input = ContiguousArray<UInt8>()
    /// What of `input` is consumed.
    var consumed = 0
    /// The file's offset of `input`'s first byte.
    var origin: UInt64 = 0
    var crc = CRC64()
    /// What of `input` is in `crc`.
    private var summed = 0
    let verifiesChecksum: Bool

    var dialect = RDBDialect.redis
    var version = 0
    var database: UInt64 = 0
    var state = State.header
    var deadline: Int64?
    var idle: UInt64?
    var frequency: UInt8?
    /// The chunk's elements have been given to the caller.
    var isChunkHandedOut = false
    var failure: RDBError?

    enum State: Sendable {
        case header
        case record
        case value(ValueState)
        case skip(SkipProgram, then: RDBEvent)
        case checksum
        case done
    }

    /// A decoder of a whole file.
    ///
    /// - Parameter verifiesChecksum: false if someone else does: about a tenth faster.
    public init(limits: RDBLimits = RDBLimits(), verifiesChecksum: Bool = true) {
        self.limits = limits
        self.verifiesChecksum = verifiesChecksum
    }

    /// A decoder that is fed from `point.offset` on; the first event is that of the next record.
    public init(
        resumingAt point: RDBResumePoint, limits: RDBLimits = RDBLimits(),
        verifiesChecksum: Bool = true
    ) {
        self.init(limits: limits, verifiesChecksum: verifiesChecksum)
        self.origin = point.offset
        self.dialect = point.dialect
        self.version = point.version
        self.database = point.database
        self.crc = CRC64(value: point.checksum)
        self.state = .record
    }

    /// A decoder of one value without name, header and end: that of a DUMP payload.
    init(valueOf encoding: UInt8, limits: RDBLimits) throws(RDBError) {
        self.init(limits: limits, verifiesChecksum: false)
        self.version = limits.maxRedisVersion
        self.state = .value(try ValueState(encoding: encoding, dialect: .redis, key: [], offset: 0))
    }

    /// Adds bytes; they are copied.
    public mutating func feed(_ bytes: UnsafeRawBufferPointer) {
        self.dropConsumed()
        self.input.append(contentsOf: bytes)
    }

    /// Adds bytes; they are copied.
    public mutating func feed(_ bytes: some Collection<UInt8>) {
        self.dropConsumed()
        self.input.append(contentsOf: bytes)
    }

    /// Offset of the next byte that is to be decoded.
    public var offset: UInt64 { self.origin + UInt64(self.consumed) }

    /// How many of the bytes that were fed are not consumed: after `.end`, those behind the file.
    public var unreadCount: Int { self.input.count - self.consumed }

    /// The bytes that were fed and not consumed.
    public var unreadBytes: ArraySlice<UInt8> { ArraySlice(self.input[self.consumed...]) }

    /// Where one can go on later; nil while a key or what belongs to it is incomplete.
    public mutating func resumePoint() -> RDBResumePoint? {
        guard case .record = self.state, self.version > 0, self.deadline == nil,
            self.idle == nil, self.frequency == nil
        else { return nil }
        self.sumConsumed()
        return RDBResumePoint(
            offset: self.offset, dialect: self.dialect, version: self.version,
            database: self.database, checksum: self.crc.value)
    }

    /// The next event; nil if more bytes are needed, and after the end.
    public mutating func next() throws(RDBError) -> RDBEvent? {
        if let failure { throw failure }
        if case .done = self.state { return nil }
        do throws(RDBError) {
            let input = self.input
            return try input.withUnsafeBufferPointer { buffer throws(RDBError) -> RDBEvent? in
                guard let base = buffer.baseAddress else { return nil }
                var cursor = ByteCursor(base: base, count: buffer.count, origin: self.origin)
                cursor.at = self.consumed
                return try self.advance(&cursor)
            }
        } catch .truncated {
            return nil
        } catch {
            self.failure = error
            throw error
        }
    }

    /// To be called when no more bytes will come.
    public func finish() throws(RDBError) {
        if let failure { throw failure }
        guard case .done = self.state else {
            throw .truncated(offset: self.origin + UInt64(self.input.count))
        }
    }

    /// Goes on until there is an event; throws `truncated` with `consumed` behind the last
    /// complete part.
    private mutating func advance(_ cursor: inout ByteCursor) throws(RDBError) -> RDBEvent? {
        while true {
            var event: RDBEvent?
            switch self.state {
            case .header: event = try self.readHeader(&cursor)
            case .record: event = try self.readRecord(&cursor)
            case .value: event = try self.readValue(&cursor)
            case .skip(var program, let then):
                self.state = .record
                defer { self.consumed = cursor.at }
                do throws(RDBError) {
                    try program.run(&cursor, limit: self.limits.maxElementBytes)
                } catch {
                    self.state = .skip(program, then: then)
                    throw error
                }
                event = then
            case .checksum: event = try self.readChecksum(&cursor)
            case .done: return nil
            }
            self.consumed = cursor.at
            if let event { return event }
        }
    }

    private mutating func sumConsumed() {
        guard self.verifiesChecksum, self.summed < self.consumed else { return }
        self.input.withUnsafeBytes { bytes in
            self.crc.update(UnsafeRawBufferPointer(rebasing: bytes[self.summed..<self.consumed]))
        }
        self.summed = self.consumed
    }

    private mutating func dropConsumed() {
        guard self.consumed > 0 else { return }
        self.sumConsumed()
        self.origin += UInt64(self.consumed)
        self.input.removeFirst(self.consumed)
        self.consumed = 0
        self.summed = 0
    }

    /// The eight bytes behind the end record.
    private mutating func readChecksum(_ cursor: inout ByteCursor) throws(RDBError) -> RDBEvent? {
        guard self.version >= 5 else {
            self.state = .done
            return .end(.unknownToVersion)
        }
        self.sumConsumed()
        let expected = try cursor.little(UInt64.self)
        self.state = .done
        guard expected != 0 else { return .end(.absent) }
        guard self.verifiesChecksum else { return .end(.unchecked) }
        guard expected == self.crc.value else {
            throw .checksumMismatch(expected: expected, actual: self.crc.value)
        }
        return .end(.verified)
    }
}
