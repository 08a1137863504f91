/// Turns a key's value, as a snapshot or a refresh brings it, into commands.
///
///     var writer = ValueWriter(target, policy)
///     try writer.begin(head, key: name, replaces: true, now: time, into: &buffer)
///     try writer.append(chunk, into: &buffer)    // any number
///     try writer.end(into: &buffer)
///
/// Elements go in batches as the chunks bring them, not one a command. A long string is never held
/// as a whole: a Redis gets it by `SET` and `APPEND`; where `APPEND` writes the whole value again
/// (Pika, ours) it goes as one command whose last argument comes piece by piece.
public struct ValueWriter: Sendable {
    private let target: TargetCapabilities
    private let policy: PlanPolicy
    private var head = KeyHead(database: 0, name: [], kind: .string)
    private var key: [UInt8] = []
    private var replaces = false
    /// The name holds other types as well, written before: they stay.
    private var isBeside = false
    private var deadline = Deadline.Verdict.none
    private var chunks = 0
    private var text = ContiguousArray<UInt8>()
    /// Bytes of the string that were sent already, by `SET` and `APPEND`.
    private var sentBytes = 0
    /// Bytes of the open argument that are still to come; nil = none is open.
    private var missingBytes: UInt64?
    private var isSkipped = false
    /// Things left out or changed since the last `takeNotes`.
    private var notes: [PlanNote] = []

    /// HyperLogLogs of Redis begin with it.
    public static let hyperLogLogMark = Array("HYLL".utf8)
    /// Room that a request's frame needs beside the value, in bytes.
    private static let frameBytes = 1_024
    /// A longer string goes in pieces of this size where `APPEND` costs only what it adds, in bytes.
    static let pieceBytes = 1 << 20

    /// A writer for a target.
    public init(_ target: TargetCapabilities, _ policy: PlanPolicy) {
        self.target = target
        self.policy = policy
    }

    /// What was noted, and forgets it.
    public mutating func takeNotes() -> [PlanNote] {
        defer { self.notes = [] }
        return self.notes
    }

    /// Begins a key.
    ///
    /// - Parameters:
    ///   - key: Its name in the target.
    ///   - replaces: Something may be there under that name.
    ///   - now: A deadline before this is past: nothing is written but the removal of what is there.
    public mutating func begin(
        _ head: KeyHead, key: [UInt8], replaces: Bool, now: Int64, into buffer: inout CommandBuffer
    ) throws(PlanRefusal) {
        self.head = head
        self.key = key
        self.replaces = replaces
        self.isBeside = false
        self.chunks = 0
        self.text.removeAll(keepingCapacity: true)
        self.sentBytes = 0
        self.missingBytes = nil
        self.isSkipped = false
        switch head.kind {
        case .stream: try self.skip("stream", self.policy.stream)
        case .module: try self.skip("module \(head.moduleName)", self.policy.module)
        default: break
        }
        if !head.earlierKinds.isEmpty { try self.beside(head) }
        guard !self.isSkipped else { return }
        self.deadline = try Deadline.fit(
            head.deadlineMilliseconds, now: now, self.target, self.policy, &self.notes)
        if self.deadline == .past {
            self.notes.append(PlanNote("expired"))
            self.isSkipped = true
            if replaces { self.clear(&buffer) }
        }
    }

    /// A name with several types: a Pika holds them all, a Redis the first at most.
    private mutating func beside(_ head: KeyHead) throws(PlanRefusal) {
        guard !self.target.keepsTypesApart else {
            self.isBeside = true
            return
        }
        guard self.policy.sameName == .first else {
            throw .severalTypes(head.earlierKinds + [head.kind], name: head.name)
        }
        self.notes.append(PlanNote("same-name"))
        self.isSkipped = true
    }

    private mutating func skip(_ what: String, _ choice: PlanPolicy.Choice) throws(PlanRefusal) {
        guard choice == .skip else {
            throw PlanRefusal("a \(what) can't be copied; [policy] can skip it")
        }
        self.notes.append(PlanNote(what))
        self.isSkipped = true
    }

    /// Adds elements.
    public mutating func append(
        _ chunk: ElementChunk, into buffer: inout CommandBuffer
    ) throws(PlanRefusal) {
        guard !self.isSkipped, chunk.textCount > 0 else { return }
        if self.head.kind == .string { return try self.string(chunk, &buffer) }
        if self.chunks == 0, self.replaces { self.clear(&buffer) }
        self.chunks += 1
        switch self.head.kind {
        case .list: Self.elements("RPUSH", self.key, chunk, &buffer)
        case .set: Self.elements("SADD", self.key, chunk, &buffer)
        case .hash:
            try self.noteFieldDeadlines(chunk)
            if chunk.textCount == 2 {
                Self.elements("HSET", self.key, chunk, &buffer)
            } else {
                Self.elements("HMSET", self.key, chunk, &buffer)
            }
        case .sortedSet: try self.members(chunk, &buffer)
        case .string, .stream, .module: break
        }
    }

    private mutating func string(
        _ chunk: ElementChunk, _ buffer: inout CommandBuffer
    ) throws(PlanRefusal) {
        if self.missingBytes != nil { return try self.pass(chunk, &buffer) }
        if self.text.isEmpty, let whole = chunk.wholeBytes, whole > UInt64(Self.pieceBytes),
            self.target.product != .redis
        {
            try self.checkSize(whole)
            guard try self.mayCopy(chunk.bytes) else {
                self.isSkipped = true
                return
            }
            self.open(Int(whole), &buffer)
            return try self.pass(chunk, &buffer)
        }
        self.text.append(contentsOf: chunk.bytes)
        try self.checkSize(UInt64(self.sentBytes + self.text.count))
        if self.target.product == .redis, self.text.count > Self.pieceBytes {
            self.sendPiece(&buffer)
        }
    }

    private func checkSize(_ valueBytes: UInt64) throws(PlanRefusal) {
        let target = self.target
        guard valueBytes <= UInt64(target.maxValueBytes),
            valueBytes + UInt64(self.key.count + Self.frameBytes) <= UInt64(target.maxRequestBytes)
        else {
            let limit = min(target.maxValueBytes, target.maxRequestBytes)
            throw PlanRefusal("a string of more than \(limit) bytes does not fit")
        }
    }

    /// Begins the command of a long string; its value follows in pieces.
    private mutating func open(_ valueBytes: Int, _ buffer: inout CommandBuffer) {
        if self.replaces, self.target.keepsTypesApart { self.clear(&buffer) }
        if case .seconds(let seconds) = self.deadline {
            buffer.begin(4)
            buffer.argument("PKSETEXAT")
            buffer.argument(self.key)
            buffer.argument(seconds)
        } else {
            buffer.begin(3)
            buffer.argument("SET")
            buffer.argument(self.key)
        }
        buffer.openArgument(valueBytes)
        self.missingBytes = UInt64(valueBytes)
    }

    /// Passes a piece of a long string on.
    private mutating func pass(
        _ chunk: ElementChunk, _ buffer: inout CommandBuffer
    ) throws(PlanRefusal) {
        let count = UInt64(chunk.bytes.count)
        guard let missing = self.missingBytes, count <= missing else {
            throw PlanRefusal("a string is longer than the source said")
        }
        buffer.piece(chunk.bytes, key: self.key)
        self.missingBytes = missing - count
    }

    private static func elements(
        _ name: StaticString, _ key: [UInt8], _ chunk: ElementChunk, _ buffer: inout CommandBuffer
    ) {
        buffer.begin(2 + chunk.textCount)
        buffer.argument(name)
        buffer.argument(key)
        for index in 0..<chunk.textCount { buffer.argument(chunk.bytes[chunk.range(index)]) }
    }

    private mutating func members(
        _ chunk: ElementChunk, _ buffer: inout CommandBuffer
    ) throws(PlanRefusal) {
        let kept = chunk.scores.indices.filter { !chunk.scores[$0].isNaN }
        if kept.count < chunk.scores.count {
            guard self.policy.nanScore == .skip else {
                throw PlanRefusal("a sorted set has a score that is no number (nan-score)")
            }
            self.notes.append(PlanNote("nan-score"))
        }
        guard !kept.isEmpty else { return }
        buffer.begin(2 + 2 * kept.count)
        buffer.argument("ZADD")
        buffer.argument(self.key)
        for index in kept {
            buffer.argument(score: chunk.scores[index])
            buffer.argument(chunk.bytes[chunk.range(index)])
        }
    }

    private mutating func noteFieldDeadlines(_ chunk: ElementChunk) throws(PlanRefusal) {
        guard chunk.fieldDeadlines.contains(where: { $0 != 0 }) else { return }
        guard self.policy.fieldDeadline == .drop else {
            throw PlanRefusal("a hash has fields with deadlines (field-deadline)")
        }
        self.notes.append(PlanNote("field-deadline"))
    }

    /// Ends the key.
    public mutating func end(into buffer: inout CommandBuffer) throws(PlanRefusal) {
        guard !self.isSkipped else { return }
        if self.head.kind == .string {
            try self.finishString(&buffer)
        } else if self.chunks > 0 {
            self.expire(&buffer)
        }
        self.text.removeAll(keepingCapacity: self.text.count < ElementChunk.maxBytes)
    }

    /// Sends what there is of a long string, so that it is never held as a whole.
    private mutating func sendPiece(_ buffer: inout CommandBuffer) {
        buffer.begin(3)
        buffer.argument(self.sentBytes == 0 ? "SET" : "APPEND")
        buffer.argument(self.key)
        buffer.argument(self.text)
        self.sentBytes += self.text.count
        self.text.removeAll(keepingCapacity: true)
    }

    /// Whether a string that begins like this is copied; false if it is one that is left out.
    private mutating func mayCopy(_ text: ContiguousArray<UInt8>) throws(PlanRefusal) -> Bool {
        guard !self.target.hasRedisHyperLogLog, text.starts(with: Self.hyperLogLogMark) else {
            return true
        }
        switch self.policy.hyperLogLog {
        case .fail:
            throw PlanRefusal(
                "a HyperLogLog of Redis can't be read by \(self.target.description), the hashes"
                    + " differ; [policy] hyperloglog can be raw or skip")
        case .skip:
            self.notes.append(PlanNote("hyperloglog"))
            return false
        case .raw:
            self.notes.append(PlanNote("hyperloglog-raw"))
            return true
        }
    }

    private mutating func finishString(_ buffer: inout CommandBuffer) throws(PlanRefusal) {
        if let missing = self.missingBytes {
            guard missing == 0 else {
                throw PlanRefusal("a string is shorter than the source said")
            }
            buffer.closeArgument(key: self.key)
            // `PKSETEXAT` has said it.
            if case .milliseconds = self.deadline { self.expire(&buffer) }
            return
        }
        guard try self.mayCopy(self.text) else { return }
        if self.sentBytes > 0 {
            if !self.text.isEmpty { self.sendPiece(&buffer) }
            return self.expire(&buffer)
        }
        if self.replaces, self.target.keepsTypesApart { self.clear(&buffer) }
        switch self.deadline {
        case .seconds(let seconds):
            buffer.begin(4)
            buffer.argument("PKSETEXAT")
            buffer.argument(self.key)
            buffer.argument(seconds)
            buffer.argument(self.text)
        case .milliseconds(let milliseconds) where self.target.hasModernSet:
            buffer.begin(5)
            buffer.argument("SET")
            buffer.argument(self.key)
            buffer.argument(self.text)
            buffer.argument("PXAT")
            buffer.argument(milliseconds)
        default:
            buffer.begin(3)
            buffer.argument("SET")
            buffer.argument(self.key)
            buffer.argument(self.text)
            self.expire(&buffer)
        }
    }

    private func expire(_ buffer: inout CommandBuffer) {
        switch self.deadline {
        case .none, .past: break
        case .seconds(let seconds):
            buffer.begin(3)
            buffer.argument("EXPIREAT")
            buffer.argument(self.key)
            buffer.argument(seconds)
        case .milliseconds(let milliseconds):
            buffer.begin(3)
            buffer.argument("PEXPIREAT")
            buffer.argument(self.key)
            buffer.argument(milliseconds)
        }
    }

    /// Removes what may be there under the name.
    ///
    /// Beside other types nothing older than this copy can be there, as the first of them has removed
    /// all: only a part of the same elements, which does harm in a list alone.
    private func clear(_ buffer: inout CommandBuffer) {
        guard self.isBeside else {
            buffer.begin(2)
            buffer.argument("DEL")
            buffer.argument(self.key)
            return
        }
        guard self.head.kind == .list else { return }
        buffer.begin(4)
        buffer.argument("LTRIM")
        buffer.argument(self.key)
        buffer.argument(1)
        buffer.argument(0)
    }
}
