/// Whose writes are not sent on: in a two-way sync each direction leaves out what the other brought.
///
/// Whatever a job writes into its target stands in one transaction with a write of a name of its own
/// (``Marker``), and comes out of the target's stream as one unit: that name tells where it is from.
/// Nothing is remembered, so kills and restarts of either job change nothing.
public struct OriginFilter: Sendable, Equatable {
    /// Stands for every job: for full meshes of more than two servers.
    public static let anyJob = "*"

    /// The job of the other direction, or ``anyJob``; empty = everything is sent on.
    public let partner: String
    private let prefix: [UInt8]

    /// A filter for the writes of a job.
    public init(partner: String = "") {
        self.partner = partner
        self.prefix =
            KeyFilter.reservedPrefix
            + (partner == Self.anyJob ? [] : Array("\(partner):".utf8))
    }

    /// Some writes are left out.
    public var isActive: Bool { !self.partner.isEmpty }

    /// Whether the partner wrote a unit.
    public func isForeign(_ unit: SourceUnit) -> Bool {
        guard self.isActive else { return false }
        // The marker is the last of its batch.
        return unit.commands.reversed().contains { self.isMark($0.arguments) }
    }

    private func isMark(_ arguments: [[UInt8]]) -> Bool {
        guard arguments.count >= 3, arguments[0].count == 3 else { return false }
        return arguments[1].starts(with: self.prefix)
            && arguments[0].elementsEqual("set".utf8) { $0 | 0x20 == $1 }
    }
}
