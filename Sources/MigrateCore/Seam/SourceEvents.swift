/// What a key holds.
public enum KeyKind: UInt8, Sendable, Equatable, CaseIterable {
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
    /// Named and counted: no elements come.
    case stream
    /// Named and counted: no elements come.
    case module
}

/// What stands before a key's value.
public struct KeyHead: Sendable, Equatable {
    /// The source's database.
    public var database: Int
    /// The key.
    public var name: [UInt8]
    /// What it holds.
    public var kind: KeyKind
    /// When it expires, in Unix milliseconds; may be past: then an older value must go.
    public var deadlineMilliseconds: Int64?
    /// A module's type by name; empty otherwise.
    public var moduleName: String
    /// What else the name holds, and was given before: a Pika may hold several types under one name.
    public var earlierKinds: [KeyKind] = []

    /// A head from its parts.
    public init(
        database: Int, name: [UInt8], kind: KeyKind, deadlineMilliseconds: Int64? = nil,
        moduleName: String = ""
    ) {
        self.database = database
        self.name = name
        self.kind = kind
        self.deadlineMilliseconds = deadlineMilliseconds
        self.moduleName = moduleName
    }
}

/// Some elements of one key: texts behind each other in one buffer.
///
/// | kind | texts | scores | field deadlines |
/// |---|---|---|---|
/// | string | one: the next piece of the value | - | - |
/// | list, set | one an element | - | - |
/// | sorted set | one a member | one a member | - |
/// | hash | two an element: field, value | - | none, or one an element (0 = none) |
public struct ElementChunk: Sendable, Equatable {
    /// Most elements in one chunk, which becomes one command: as many as our server executes on an
    /// event loop, in a millisecond or two.
    ///
    /// It looks for none of a new set's members within the command that makes it.
    public static let maxElements = 1_000
    /// A chunk is closed once it holds this many bytes (or one longer element), in bytes.
    public static let maxBytes = 256 * 1024

    /// All texts, one behind the other.
    public var bytes: ContiguousArray<UInt8>
    /// End of each text in `bytes`.
    public var ends: ContiguousArray<Int>
    /// Scores of a sorted set.
    public var scores: ContiguousArray<Double>
    /// Deadlines of a hash's fields in Unix milliseconds; 0 = none.
    public var fieldDeadlines: ContiguousArray<Int64>
    /// Length of the string that this is a piece of, in bytes; nil if it is not known.
    public var wholeBytes: UInt64?

    /// An empty chunk.
    public init() {
        self.bytes = []
        self.ends = []
        self.scores = []
        self.fieldDeadlines = []
    }

    /// Number of texts.
    public var textCount: Int { self.ends.count }

    /// Where the text at `index` lies in `bytes`.
    public func range(_ index: Int) -> Range<Int> {
        (index == 0 ? 0 : self.ends[index - 1])..<self.ends[index]
    }

    /// Copies the text at `index`.
    public func text(_ index: Int) -> [UInt8] { Array(self.bytes[self.range(index)]) }

    /// Adds a text.
    public mutating func append(_ text: some Collection<UInt8>) {
        self.bytes.append(contentsOf: text)
        self.ends.append(self.bytes.count)
    }
}

/// One command of the stream: name, then arguments.
public struct SourceCommand: Sendable, Equatable {
    /// The source's database that it runs in.
    public var database: Int
    /// Name and arguments; never empty.
    public var arguments: [[UInt8]]

    /// A command from its parts.
    public init(database: Int, arguments: [[UInt8]]) {
        self.database = database
        self.arguments = arguments
    }
}

/// What is applied as a whole: one command, or a transaction's.
public struct SourceUnit: Sendable, Equatable {
    /// The commands, without `MULTI` and `EXEC`.
    public var commands: [SourceCommand]
    /// They ran as one transaction at the source.
    public var isTransaction: Bool
    /// Where the unit begins: the end of the one before.
    public var start: SourcePosition
    /// Where it ends.
    public var end: SourcePosition
    /// When the source ran it, as near as is known, in Unix milliseconds.
    public var sourceTimeMilliseconds: Int64
    /// What its keys have become can't be told from it: they are read from the source.
    public var mustRead = false
    /// It empties these hash slots, not the whole database: a part of a Redis Cluster ran it.
    public var emptiedSlots: Set<Int>?

    /// A unit from its parts.
    public init(
        commands: [SourceCommand], isTransaction: Bool, start: SourcePosition, end: SourcePosition,
        sourceTimeMilliseconds: Int64
    ) {
        self.commands = commands
        self.isTransaction = isTransaction
        self.start = start
        self.end = end
        self.sourceTimeMilliseconds = sourceTimeMilliseconds
    }
}

/// Why a snapshot is taken.
public enum SnapshotReason: UInt8, Sendable, Equatable {
    /// The first copy of a job.
    case firstCopy
    /// The source no longer has the history from where we were: the target holds older data, and what
    /// the source deleted since must be deleted there.
    case historyGap
    /// The source lost writes that were applied, and the operator has chosen to follow it.
    case lostWrites
    /// A part of the source has joined it: its keys come beside those that are there.
    case newShard
}

/// What a source says when its snapshot begins.
public struct SnapshotStart: Sendable, Equatable {
    /// Why.
    public var reason: SnapshotReason
    /// Position of the stream that the snapshot belongs to.
    public var position: SourcePosition
    /// The whole snapshot in bytes, 0 if not known.
    public var totalBytes: UInt64
    /// The source goes on inside of the snapshot, from the point given to `start`.
    public var isResumed: Bool
    /// A key may come more than once; the last one counts.
    public var mayRepeat = false
    /// It is of one shard of a cluster; the streams of the others go on behind it.
    public var isPart = false

    /// A start from its parts.
    public init(
        reason: SnapshotReason, position: SourcePosition, totalBytes: UInt64, isResumed: Bool
    ) {
        self.reason = reason
        self.position = position
        self.totalBytes = totalBytes
        self.isResumed = isResumed
    }
}

/// A change of the source's identity; nothing is lost of the history that is not elsewhere.
public struct IdentityChange: Sendable, Equatable {
    /// What is different, by name.
    public var what: String
    /// The position as the old identity counted it.
    public var old: SourcePosition
    /// The same place as the new identity counts it; MUST be durable before anything behind it is
    /// applied.
    public var new: SourcePosition

    /// A change from its parts.
    public init(what: String, old: SourcePosition, new: SourcePosition) {
        self.what = what
        self.old = old
        self.new = new
    }

    /// The source lost what follows the new place, and nothing of it was its own: it comes again.
    public var goesBack: Bool {
        guard let old = self.old.stream?.place, let new = self.new.stream?.place else {
            return false
        }
        return new.offset < old.offset
    }
}

/// Something that a source names and does not carry over: a library of functions, a module's state.
public struct SourceNotice: Sendable, Equatable {
    /// A short name to count by.
    public var kind: String
    /// One line for the operator.
    public var text: String

    /// A notice from its parts.
    public init(kind: String, text: String) {
        self.kind = kind
        self.text = text
    }
}

/// One step of a source, in order.
///
///     (snapshotStart (keyStart elements* keyEnd | strings | notice | snapshotPoint)* snapshotEnd)?
///     (unit | idle | identityChange | notice | snapshotStart … snapshotEnd)* end?
public enum SourceEvent: Sendable, Equatable {
    /// The link's state changed; for the status only.
    case phase(SourcePhase)
    /// A snapshot begins.
    case snapshotStart(SnapshotStart)
    /// A key of the snapshot begins; its elements follow, then its end.
    case keyStart(KeyHead)
    /// Elements of the key that began last.
    case elements(ElementChunk)
    /// The key is complete.
    case keyEnd
    /// Whole keys of the snapshot, none of which has begun by `keyStart`.
    case strings(StringBatch)
    /// All keys before this point are complete: a run may go on from here.
    case snapshotPoint(SnapshotPoint, readBytes: UInt64)
    /// The snapshot is complete; units behind its position follow.
    case snapshotEnd(SourcePosition)
    /// A unit of the stream.
    case unit(SourceUnit)
    /// Nothing more is there up to this position, at this time of the source (Unix milliseconds).
    case idle(SourcePosition, sourceTimeMilliseconds: Int64)
    /// The source has a new name.
    case identityChange(IdentityChange)
    /// Something was named and left out.
    case notice(SourceNotice)
    /// A file is at its end: nothing follows.
    case end(SourcePosition)
}

/// What a source is doing.
public enum SourcePhase: String, Sendable, Equatable, CaseIterable {
    /// Looking for the server, shaking hands.
    case connecting
    /// The server prepares a snapshot.
    case waitingSnapshot = "waiting-snapshot"
    /// A snapshot is being received.
    case spooling
    /// Keys are read by cursor.
    case scanning
    /// Following the stream.
    case streaming
    /// The link is lost; tries go on.
    case reconnecting
}
