/// Where a source is to begin.
public enum SourceStart: Sendable, Equatable {
    /// With a snapshot.
    case fresh
    /// Inside of a snapshot that is still spooled; with a new one if it isn't.
    case snapshot(SnapshotPoint)
    /// Behind this position.
    case stream(SourcePosition)
}

/// What a source is when it was started.
public struct SourceOpening: Sendable, Equatable {
    /// Product and version as it says itself: `redis 7.0.15`, `pika 3.5.0`.
    public var description: String
    /// Names the source across restarts and failovers as far as that is known; for the lock's text.
    public var identity: String
    /// ``Source/refresh(database:key:)`` works.
    public var canRefresh: Bool
    /// A name may hold several types, as in a Pika: what overwrites one leaves the others.
    public var keepsTypesApart = false

    /// An opening from its parts.
    public init(description: String, identity: String, canRefresh: Bool) {
        self.description = description
        self.identity = identity
        self.canRefresh = canRefresh
    }
}

/// A key read from the source at one instant of its stream.
public struct RefreshedKey: Sendable, Equatable {
    /// All units that end at or before this position are in the value, none behind it are.
    public var position: SourcePosition
    /// What the key holds, nothing if it does not exist.
    ///
    /// A Pika may hold several types under one name: one value each.
    public var values: [RefreshedValue]

    /// A key from its parts.
    public init(position: SourcePosition, values: [RefreshedValue]) {
        self.position = position
        self.values = values
    }
}

/// One value of a key.
public struct RefreshedValue: Sendable, Equatable {
    /// Database, name, kind, deadline.
    public var head: KeyHead
    /// Its elements.
    public var chunks: [ElementChunk]

    /// A value from its parts.
    public init(head: KeyHead, chunks: [ElementChunk]) {
        self.head = head
        self.chunks = chunks
    }
}

/// Numbers of a source for the status.
public struct SourceStatus: Sendable, Equatable {
    /// What it is doing.
    public var phase: SourcePhase = .connecting
    /// Bytes received from the source, of snapshot and stream.
    public var receivedBytes: UInt64 = 0
    /// Received and not yet handed out by `next`, in bytes of the stream.
    public var backlogBytes: UInt64 = 0
    /// What the spool occupies, in bytes.
    public var spoolBytes: UInt64 = 0
    /// The snapshot's size in bytes, 0 if not known.
    public var snapshotBytes: UInt64 = 0
    /// Snapshot bytes received.
    public var snapshotReceivedBytes: UInt64 = 0
    /// Connections made after the first.
    public var reconnects: UInt64 = 0
    /// The last trouble of the link, empty if none.
    public var lastTrouble: String = ""

    /// All zero.
    public init() {}
}

/// Why a source can't go on by itself; whatever passes by waiting is not thrown.
public enum SourceError: Error, Sendable, Equatable {
    /// Wrong password, no right: exit code 3.
    case refused(String)
    /// Not possible with this source or setting: exit code 4.
    case unsupported(String)
    /// Bytes that make no sense: exit code 5.
    case corrupt(String)
    /// The source has less than was applied: exit code 6 unless the operator chose.
    case lostWrites(applied: SourcePosition, source: String)
    /// Not the source that this job belongs to: exit code 6.
    case stranger(String)
    /// The spool is full, or its disk: exit code 9.
    case outOfSpace(String)
    /// Files can't be read or written: exit code 10.
    case io(String)
    /// A server can't be asked for now: tried again from the checkpoint.
    case unreachable(String)
    /// A refresh of a key that is larger than the limit.
    case keyTooLarge(database: Int, key: [UInt8], limitBytes: Int)
    /// `stop` was called.
    case stopped
}

/// Something that data comes from: a server's snapshot and stream, or files.
///
/// It is pulled: what is not asked for stays in the spool or unread. A source reconnects by itself
/// and never gives up on what passes by waiting. `next` is called by one task at a time; the others
/// may be called beside it.
public protocol Source: Sendable {
    /// Opens the source; returns once it is known that it can begin there.
    func start(_ from: SourceStart) async throws(SourceError) -> SourceOpening
    /// The next events, at least one; waits for them. About ``ElementChunk/maxBytes`` at once at most
    /// (or one larger event).
    ///
    /// Behind `.end` nothing may be asked for.
    func next() async throws(SourceError) -> [SourceEvent]
    /// All units up to here are in the target and will not be asked for again: spool that is older
    /// may go, servers may be told.
    func acknowledge(_ position: SourcePosition) async
    /// Reads a key at one instant.
    func refresh(database: Int, key: [UInt8]) async throws(SourceError) -> RefreshedKey
    /// Numbers for the status.
    func status() async -> SourceStatus
    /// Ends reading: a waiting `next` throws `.stopped`. What was spooled stays.
    func stop() async
    /// Goes on being received while nobody reads: a lost target must not make the source wait, or
    /// keep what we have not taken.
    var canRest: Bool { get }
    /// Begins to read anew, at a place in what was received, without another connection; nil = that
    /// place is not there, and the source is of no more use.
    ///
    /// No `next` may be under way.
    func restart(_ from: SourceStart) async throws(SourceError) -> SourceOpening?
}

extension Source {
    /// No.
    public var canRest: Bool { false }
    /// No place is there.
    public func restart(_ from: SourceStart) async throws(SourceError) -> SourceOpening? { nil }
}
