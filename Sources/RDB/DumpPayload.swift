/// What a DUMP payload holds, decoded.
public enum DumpValue: Sendable, Equatable {
    /// The string's bytes.
    case string([UInt8])
    /// Elements, head first.
    case list([[UInt8]])
    /// Members, in the payload's order.
    case set([[UInt8]])
    /// Members and scores, in the payload's order; NaN is possible.
    case sortedSet([DumpScore])
    /// Fields and values, in the payload's order.
    case hash([DumpField])
}

/// A member of a sorted set.
public struct DumpScore: Sendable, Equatable {
    /// The member.
    public var member: [UInt8]
    /// Its score.
    public var score: Double

    /// A member with its score.
    public init(member: [UInt8], score: Double) {
        self.member = member
        self.score = score
    }
}

/// A field of a hash.
public struct DumpField: Sendable, Equatable {
    /// The field.
    public var field: [UInt8]
    /// Its value.
    public var value: [UInt8]
    /// When it alone expires, in milliseconds since 1970.
    public var deadlineMilliseconds: Int64?

    /// A field with its value.
    public init(field: [UInt8], value: [UInt8], deadlineMilliseconds: Int64? = nil) {
        self.field = field
        self.value = value
        self.deadlineMilliseconds = deadlineMilliseconds
    }
}

/// Why a DUMP payload is refused.
///
/// Redis answers the first three with
/// `ERR DUMP payload version or checksum are wrong`, the others with `ERR Bad data format`.
public enum DumpError: Error, Sendable, Equatable {
    /// Shorter than type and footer.
    case tooShort(sizeBytes: Int)
    /// Written by a newer server.
    case unsupportedVersion(Int)
    /// The checksum is not that of the bytes; zero is no exception here.
    case checksumMismatch(expected: UInt64, actual: UInt64)
    /// A type of value that is not supported: its name.
    case unsupportedType(number: UInt8, name: String)
    /// The value's bytes make no sense, or are too large.
    case invalid(RDBError)
}

/// DUMP and RESTORE payloads: `type(1) value version(2) checksum(8)`, lowest byte first.
///
///     let payload = DumpPayload.string(bytes)
///     var writer = DumpPayloadWriter(kind: .hash, elementCount: 2)
///     writer.append(field: f, value: v); writer.append(field: g, value: w)
///     let payload = writer.finish()
///
///     let value = try DumpPayload.decode(payload)              // everything in memory
///     let kind = try DumpPayload.decode(payload, limits: …) { kind, chunk in … }   // by chunks
public enum DumpPayload {
    /// The version that is written by default: Redis 4.0 and all later servers accept it.
    public static let defaultVersion: UInt16 = 8
    /// The newest version that is accepted.
    public static let maxVersion: UInt16 = 14
    static let footerBytes = 10

    /// The payload of a string.
    public static func string(
        _ value: UnsafeRawBufferPointer, version: UInt16 = Self.defaultVersion
    ) -> [UInt8] {
        var writer = DumpPayloadWriter(kind: .string, elementCount: 1, version: version)
        writer.append(value)
        return writer.finish()
    }

    /// The payload of a string.
    public static func string(_ value: [UInt8], version: UInt16 = Self.defaultVersion) -> [UInt8] {
        value.withUnsafeBytes { Self.string($0, version: version) }
    }

    /// Decodes a payload; `body` gets the kind and one chunk of elements after the other.
    ///
    /// Checksum and version are checked before `body` is called. A string comes as one slice per
    /// chunk: more than one chunk if it is long. An empty collection gives no chunk. If decoding
    /// fails half way `body` has seen the elements before the damage.
    @discardableResult
    public static func decode(
        _ payload: UnsafeRawBufferPointer, limits: RDBLimits = RDBLimits(),
        _ body: (RDBKind, RDBChunk) -> Void
    ) throws(DumpError) -> RDBKind {
        let encoding = try Self.checkedEncoding(payload)
        do throws(RDBError) {
            var decoder = try RDBDecoder(valueOf: encoding, limits: limits)
            let kind = decoder.valueKind
            guard let kind, kind != .stream, kind != .module else {
                throw .unsupportedType(
                    number: encoding, name: kind == .module ? "module" : "stream", key: [],
                    offset: 0)
            }
            let value = payload[1..<(payload.count - Self.footerBytes)]
            decoder.feed(UnsafeRawBufferPointer(rebasing: value))
            while let event = try decoder.next() {
                if case .elements = event { body(kind, decoder.chunk) }
                guard case .keyEnd = event else { continue }
                guard decoder.unreadCount == 0 else {
                    throw .corrupt(.trailingBytes, offset: decoder.offset)
                }
                return kind
            }
            throw .truncated(offset: UInt64(value.count))
        } catch {
            if case .unsupportedType(let number, let name, _, _) = error {
                throw .unsupportedType(number: number, name: name)
            }
            throw .invalid(error)
        }
    }

    /// Decodes a payload into arrays.
    public static func decode(
        _ payload: UnsafeRawBufferPointer, limits: RDBLimits = RDBLimits()
    ) throws(DumpError) -> DumpValue {
        var text: [UInt8] = []
        var texts: [[UInt8]] = []
        var scores: [DumpScore] = []
        var fields: [DumpField] = []
        let kind = try Self.decode(payload, limits: limits) { (kind: RDBKind, chunk: RDBChunk) in
            switch kind {
            case .string: text += chunk.text(0)
            case .list, .set: texts += chunk.slices.indices.map(chunk.text)
            case .sortedSet:
                scores += chunk.slices.indices.map {
                    DumpScore(member: chunk.text($0), score: chunk.scores[$0])
                }
            case .hash: fields += Self.fields(of: chunk)
            case .stream, .module: break
            }
        }
        switch kind {
        case .string: return .string(text)
        case .list: return .list(texts)
        case .set: return .set(texts)
        case .sortedSet: return .sortedSet(scores)
        case .hash: return .hash(fields)
        case .stream, .module: throw .unsupportedType(number: 0, name: "\(kind)")
        }
    }

    /// Decodes a payload into arrays.
    public static func decode(
        _ payload: [UInt8], limits: RDBLimits = RDBLimits()
    ) throws(DumpError) -> DumpValue {
        try payload.withUnsafeBufferPointer { bytes throws(DumpError) in
            try Self.decode(UnsafeRawBufferPointer(bytes), limits: limits)
        }
    }

    private static func fields(of chunk: RDBChunk) -> [DumpField] {
        (0..<chunk.elementCount).map { index in
            let deadline = chunk.deadlines.isEmpty ? 0 : chunk.deadlines[index]
            return DumpField(
                field: chunk.text(2 * index), value: chunk.text(2 * index + 1),
                deadlineMilliseconds: deadline == 0 ? nil : deadline)
        }
    }

    /// The value's encoding, after the footer has been checked.
    private static func checkedEncoding(
        _ payload: UnsafeRawBufferPointer
    ) throws(DumpError) -> UInt8 {
        guard payload.count > Self.footerBytes else {
            throw .tooShort(sizeBytes: payload.count)
        }
        let footer = payload.count - Self.footerBytes
        let version = UInt16(
            littleEndian: payload.loadUnaligned(fromByteOffset: footer, as: UInt16.self))
        // 80 is Valkey 9's.
        guard version <= Self.maxVersion || version == 80 else {
            throw .unsupportedVersion(Int(version))
        }
        let expected = UInt64(
            littleEndian: payload.loadUnaligned(fromByteOffset: footer + 2, as: UInt64.self))
        var crc = CRC64()
        crc.update(UnsafeRawBufferPointer(rebasing: payload[..<(footer + 2)]))
        guard crc.value == expected else {
            throw .checksumMismatch(expected: expected, actual: crc.value)
        }
        return payload[0]
    }
}

extension RDBDecoder {
    /// What the value that is being decoded is.
    var valueKind: RDBKind? {
        if case .value(let value) = self.state { value.kind } else { nil }
    }
}

/// Writes the payload of one value, element by element.
public struct DumpPayloadWriter: Sendable {
    private var bytes: ContiguousArray<UInt8>
    private let version: UInt16

    /// A writer of a value of `elementCount` elements (fields and members count once, a string is
    /// one): exactly so many must be appended.
    ///
    /// Streams and modules can't be written: that is the caller's mistake.
    public init(
        kind: RDBKind, elementCount: Int, version: UInt16 = DumpPayload.defaultVersion
    ) {
        guard let encoding = RDBEncoding.number(of: kind) else {
            preconditionFailure("no payload of a \(kind) is written")
        }
        self.bytes = [encoding]
        self.version = version
        if kind != .string {
            RDBEncoding.append(length: UInt64(elementCount), to: &self.bytes)
        }
    }

    /// Adds the string, an element of a list or a member of a set.
    public mutating func append(_ text: UnsafeRawBufferPointer) {
        RDBEncoding.append(text: text, to: &self.bytes)
    }

    /// Adds the string, an element of a list or a member of a set.
    public mutating func append(_ text: [UInt8]) {
        text.withUnsafeBytes { self.append($0) }
    }

    /// Adds a field of a hash.
    public mutating func append(
        field: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer
    ) {
        self.append(field)
        self.append(value)
    }

    /// Adds a field of a hash.
    public mutating func append(field: [UInt8], value: [UInt8]) {
        self.append(field)
        self.append(value)
    }

    /// Adds a member of a sorted set.
    public mutating func append(member: UnsafeRawBufferPointer, score: Double) {
        self.append(member)
        RDBEncoding.appendLittle(score.bitPattern, to: &self.bytes)
    }

    /// Adds a member of a sorted set.
    public mutating func append(member: [UInt8], score: Double) {
        member.withUnsafeBytes { self.append(member: $0, score: score) }
    }

    /// The payload, with version and checksum.
    public consuming func finish() -> [UInt8] {
        RDBEncoding.appendLittle(self.version, to: &self.bytes)
        RDBEncoding.appendLittle(CRC64.checksum(self.bytes), to: &self.bytes)
        return Array(self.bytes)
    }
}
