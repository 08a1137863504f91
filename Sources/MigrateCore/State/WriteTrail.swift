/// Tells whether a Redis that lost its last writes has lost any that nobody has elsewhere; no I/O.
///
/// In a two-way sync, much of what a source says was brought there by the other job. A source that is
/// set back, by a restart from its file or a failover, gets that again: the other job finds its own
/// mark set back, too. Only what the source's own clients wrote is in the target alone. So a loss
/// behind the last of that is none: the stream goes on where the source left our history.
///
/// What was before the place that a run begins with counts as the clients' own.
public struct WriteTrail: Sendable {
    /// What a source has lost of what it gave out.
    public enum Loss: Sendable, Equatable {
        /// Writes of its clients are in the target alone, or may be.
        case own
        /// Nothing but what the other job brought, behind this place.
        case echoes(RedisPosition)
    }

    /// Most histories that are known to have been left.
    public static let maxHistories = 16

    private let origin: OriginFilter
    /// Where histories were left, the oldest first.
    private var left: [(id: String, end: UInt64)] = []
    /// Up to here the source's clients may have written.
    private var ownEnd: UInt64

    /// A trail that begins at a place; without a two-way sync everything is the clients' own.
    public init(origin: OriginFilter = OriginFilter(), at offset: UInt64 = .max) {
        self.origin = origin
        self.ownEnd = origin.isActive ? offset : .max
    }

    /// The same trail, from another place on.
    public mutating func restart(at offset: UInt64) {
        self = WriteTrail(origin: self.origin, at: offset)
    }

    /// A unit was given out.
    public mutating func gave(_ unit: SourceUnit) {
        guard self.origin.isActive, case .redis(let end) = unit.end,
            !self.origin.isForeign(unit), unit.commands.contains(where: Self.isOfClients)
        else { return }
        self.ownEnd = end.offset
    }

    /// The tool's own names are nobody's data.
    private static func isOfClients(_ command: SourceCommand) -> Bool {
        let words = command.arguments
        guard words.count > 1, words[1].starts(with: KeyFilter.reservedPrefix) else { return true }
        return CommandKeys.name(command) == "del"
            && words[2...].contains { !$0.starts(with: KeyFilter.reservedPrefix) }
    }

    /// The source goes on under another id.
    public mutating func renamed(_ change: IdentityChange) {
        guard case .redis(let old) = change.old, case .redis(let new) = change.new else { return }
        self.left.append((old.replicationID, new.offset))
        if self.left.count > Self.maxHistories { self.left.removeFirst() }
    }

    /// What the source has lost if it left a history at an offset; nil = nothing, or not known.
    ///
    /// - Parameter given: What was given out last.
    public func loss(left id: String, at end: UInt64, given: RedisPosition) -> Loss? {
        let isOurs =
            id == given.replicationID || self.left.contains { $0.id == id && $0.end >= end }
        guard isOurs, !id.isEmpty, end < given.offset else { return nil }
        guard self.ownEnd <= end else { return .own }
        return .echoes(RedisPosition(replicationID: id, offset: end, database: given.database))
    }
}
