/// How far the decoder is within a value.
struct ValueState: Sendable {
    /// What comes as the next part of the value.
    enum Layout: Sendable {
        /// One string.
        case string
        /// So many strings, pairs…
        case plain(PackedShape, scores: ScoreForm)
        /// One packed string.
        case packed(PackedFormat, PackedShape)
        /// So many packed strings, each behind the number of its kind if `isTagged`.
        case nodes(PackedFormat, isTagged: Bool)
        /// So many fields with deadlines.
        case fields(DeadlineForm)
    }

    /// How plain sorted sets write scores.
    enum ScoreForm: Sendable { case text, binary }

    /// How hashes with deadlines write them.
    enum DeadlineForm: Sendable {
        /// Before the field, relative to the value's minimum, plus one; 0 = none.
        case relative
        /// Before the field, as it is; 0 = none.
        case absolute
        /// Behind the value, eight bytes; -1 = none.
        case behind
    }

    let kind: RDBKind
    let layout: Layout
    let hasFieldDeadlines: Bool
    /// Parts that are still to come; nil before the count is read.
    var left: UInt64?
    var minimumDeadline: Int64 = 0
    var needsMinimum: Bool
    var packed: PackedReader?
    /// Rest of a long plain string.
    var plainLeft: UInt64?
    /// All of a string that comes in pieces, unpacked.
    var wholeBytes: UInt64?
    var unpacking: LZFStream?
    /// All elements have been handed out.
    var isDone = false

    init(
        encoding: UInt8, dialect: RDBDialect, key: [UInt8], offset: UInt64
    ) throws(RDBError) {
        self.needsMinimum = encoding == 24 || encoding == 25
        self.hasFieldDeadlines = (22...25).contains(encoding)
        switch encoding {
        case 0: (self.kind, self.layout) = (.string, .string)
        case 1: (self.kind, self.layout) = (.list, .plain(.single, scores: .text))
        case 2: (self.kind, self.layout) = (.set, .plain(.single, scores: .text))
        case 3: (self.kind, self.layout) = (.sortedSet, .plain(.scored, scores: .text))
        case 4: (self.kind, self.layout) = (.hash, .plain(.pair, scores: .text))
        case 5: (self.kind, self.layout) = (.sortedSet, .plain(.scored, scores: .binary))
        case 9: (self.kind, self.layout) = (.hash, .packed(.zipmap, .pair))
        case 10: (self.kind, self.layout) = (.list, .packed(.ziplist, .single))
        case 11: (self.kind, self.layout) = (.set, .packed(.intset, .single))
        case 12: (self.kind, self.layout) = (.sortedSet, .packed(.ziplist, .scored))
        case 13: (self.kind, self.layout) = (.hash, .packed(.ziplist, .pair))
        case 14: (self.kind, self.layout) = (.list, .nodes(.ziplist, isTagged: false))
        case 16: (self.kind, self.layout) = (.hash, .packed(.listpack, .pair))
        case 17: (self.kind, self.layout) = (.sortedSet, .packed(.listpack, .scored))
        case 18: (self.kind, self.layout) = (.list, .nodes(.listpack, isTagged: true))
        case 20: (self.kind, self.layout) = (.set, .packed(.listpack, .single))
        case 22:
            let form: DeadlineForm = dialect == .valkey ? .behind : .absolute
            (self.kind, self.layout) = (.hash, .fields(form))
        case 23, 25: (self.kind, self.layout) = (.hash, .packed(.listpack, .withDeadline))
        case 24: (self.kind, self.layout) = (.hash, .fields(.relative))
        // Only walked past, so their layout is never looked at.
        case 15, 19, 21, 26, 27: (self.kind, self.layout) = (.stream, .string)
        case 7: (self.kind, self.layout) = (.module, .string)
        default:
            throw .unsupportedType(
                number: encoding, name: RDBNames.type(encoding), key: key, offset: offset)
        }
    }
}

extension RDBDecoder {
    /// Fills a chunk, or ends the key.
    mutating func readValue(_ cursor: inout ByteCursor) throws(RDBError) -> RDBEvent? {
        guard case .value(var value) = self.state else { return nil }
        // So that `value` is the only owner of its buffers while it changes.
        self.state = .record
        if value.isDone { return .keyEnd }
        if self.isChunkHandedOut {
            self.chunk.removeAll()
            self.isChunkHandedOut = false
        }
        do throws(RDBError) {
            value.isDone = try self.fill(&value, &cursor)
        } catch {
            self.consumed = cursor.at
            self.state = .value(value)
            throw error
        }
        self.state = .value(value)
        guard self.chunk.elementCount > 0 else { return nil }
        self.isChunkHandedOut = true
        return .elements
    }

    private var isChunkFull: Bool {
        self.chunk.elementCount >= self.limits.maxChunkElements
            || self.chunk.bytes.count >= self.limits.maxChunkBytes
    }

    /// Fills the chunk; true once the value is complete.
    ///
    /// On an error `cursor` is behind the last
    /// complete part, and the chunk holds just the complete elements.
    private mutating func fill(
        _ value: inout ValueState, _ cursor: inout ByteCursor
    ) throws(RDBError) -> Bool {
        if case .string = value.layout { return try self.fillString(&value, &cursor) }
        try self.readPrologue(&value, &cursor)
        while true {
            if var packed = value.packed {
                value.packed = nil
                let isDrained = try packed.drain(into: &self.chunk, self.limits)
                if !isDrained {
                    value.packed = packed
                    return false
                }
            }
            guard let left = value.left, left > 0 else { return true }
            if self.isChunkFull { return false }
            let start = cursor.at
            let bytes = self.chunk.bytes.count
            let slices = self.chunk.slices.count
            do throws(RDBError) {
                try self.readPart(&value, &cursor)
            } catch {
                cursor.at = start
                self.chunk.truncate(toBytes: bytes, slices: slices)
                throw error
            }
            value.left = left - 1
        }
    }

    private func readPrologue(
        _ value: inout ValueState, _ cursor: inout ByteCursor
    ) throws(RDBError) {
        if value.needsMinimum {
            value.minimumDeadline = try cursor.little(Int64.self)
            value.needsMinimum = false
        }
        guard value.left == nil else { return }
        if case .packed = value.layout {
            value.left = 1
        } else {
            let start = cursor.at
            do throws(RDBError) { value.left = try cursor.length() } catch {
                cursor.at = start
                throw error
            }
        }
    }

    /// One plain element, or one packed string.
    private mutating func readPart(
        _ value: inout ValueState, _ cursor: inout ByteCursor
    ) throws(RDBError) {
        switch value.layout {
        case .string: return
        case .plain(let shape, let form):
            try self.readText(&cursor)
            if shape == .pair { try self.readText(&cursor) }
            if shape == .scored {
                let score = try Self.score(form, &cursor)
                self.chunk.scores.append(score)
            }
            self.chunk.elementCount += 1
        case .packed(let format, let shape):
            value.packed = try self.readPacked(format, shape, &cursor)
        case .nodes(let format, let isTagged):
            let tag = isTagged ? try cursor.length() : 2
            switch tag {
            case 1:
                try self.readText(&cursor)
                self.chunk.elementCount += 1
            case 2: value.packed = try self.readPacked(format, .single, &cursor)
            default: throw .corrupt(.listNode, offset: cursor.offset)
            }
        case .fields(let form):
            let deadline = try self.readField(form, value.minimumDeadline, &cursor)
            self.chunk.deadlines.append(deadline)
            self.chunk.elementCount += 1
        }
    }

    private mutating func readText(_ cursor: inout ByteCursor) throws(RDBError) {
        let start = self.chunk.bytes.count
        try cursor.string(into: &self.chunk.bytes, limit: self.limits.maxElementBytes)
        self.chunk.closeSlice(from: start)
    }

    private func readPacked(
        _ format: PackedFormat, _ shape: PackedShape, _ cursor: inout ByteCursor
    ) throws(RDBError) -> PackedReader {
        let offset = cursor.offset
        var bytes = ContiguousArray<UInt8>()
        try cursor.string(into: &bytes, limit: self.limits.maxElementBytes)
        return PackedReader(bytes: bytes, format: format, shape: shape, offset: offset)
    }

    private mutating func readField(
        _ form: ValueState.DeadlineForm, _ minimum: Int64, _ cursor: inout ByteCursor
    ) throws(RDBError) -> Int64 {
        var deadline: Int64 = 0
        if form != .behind {
            let raw = Int64(truncatingIfNeeded: try cursor.length())
            deadline = raw == 0 || form == .absolute ? raw : minimum &+ raw &- 1
        }
        try self.readText(&cursor)
        try self.readText(&cursor)
        if form == .behind { deadline = max(0, try cursor.little(Int64.self)) }
        return deadline
    }

    private static func score(
        _ form: ValueState.ScoreForm, _ cursor: inout ByteCursor
    ) throws(RDBError) -> Double {
        if form == .binary { return Double(bitPattern: try cursor.little(UInt64.self)) }
        let offset = cursor.offset
        let count = try cursor.byte()
        switch count {
        case 253: return .nan
        case 254: return .infinity
        case 255: return -.infinity
        default:
            try cursor.need(Int(count))
            let text = UnsafeBufferPointer(start: cursor.base + cursor.at, count: Int(count))
            guard let score = ScoreText.parse(text) else { throw .corrupt(.score, offset: offset) }
            cursor.at += Int(count)
            return score
        }
    }

    // MARK: - Strings

    /// The next piece of a string; short ones come whole.
    private mutating func fillString(
        _ value: inout ValueState, _ cursor: inout ByteCursor
    ) throws(RDBError) -> Bool {
        if value.plainLeft != nil { return try self.fillPlain(&value, &cursor) }
        if value.unpacking != nil { return try self.fillUnpacked(&value, &cursor) }
        let start = cursor.at
        let pieceBytes = UInt64(self.limits.maxChunkBytes)
        do throws(RDBError) {
            switch try cursor.stringForm() {
            case .plain(let count) where count > pieceBytes:
                value.plainLeft = count
                value.wholeBytes = count
                return try self.fillPlain(&value, &cursor)
            case .compressed(let packed, let unpacked) where unpacked > pieceBytes:
                value.unpacking = LZFStream(packed: packed, unpacked: unpacked)
                value.wholeBytes = unpacked
                return try self.fillUnpacked(&value, &cursor)
            default:
                cursor.at = start
                try self.readText(&cursor)
                self.chunk.elementCount = 1
                return true
            }
        } catch {
            // The head of a long string stays consumed.
            if value.plainLeft == nil, value.unpacking == nil { cursor.at = start }
            throw error
        }
    }

    private mutating func fillPlain(
        _ value: inout ValueState, _ cursor: inout ByteCursor
    ) throws(RDBError) -> Bool {
        let left = value.plainLeft ?? 0
        let count = Int(min(left, UInt64(self.limits.maxChunkBytes)))
        try cursor.need(count)
        self.chunk.append(UnsafeBufferPointer(start: cursor.base + cursor.at, count: count))
        self.chunk.elementCount = 1
        self.chunk.wholeBytes = value.wholeBytes
        cursor.at += count
        value.plainLeft = left - UInt64(count)
        return left == UInt64(count)
    }

    private mutating func fillUnpacked(
        _ value: inout ValueState, _ cursor: inout ByteCursor
    ) throws(RDBError) -> Bool {
        guard var stream = value.unpacking else { return true }
        value.unpacking = nil
        defer { value.unpacking = stream }
        while stream.pieceCount < self.limits.maxChunkBytes, stream.packedLeft > 0 {
            let start = cursor.at
            do throws(RDBError) { try stream.step(&cursor) } catch {
                cursor.at = start
                throw error
            }
        }
        let isDone = stream.packedLeft == 0
        guard !isDone || stream.unpackedLeft == 0 else {
            throw .corrupt(.compressedString, offset: cursor.offset)
        }
        let start = self.chunk.bytes.count
        stream.takePiece(into: &self.chunk.bytes)
        self.chunk.closeSlice(from: start)
        self.chunk.elementCount = 1
        self.chunk.wholeBytes = value.wholeBytes
        return isDone
    }
}
