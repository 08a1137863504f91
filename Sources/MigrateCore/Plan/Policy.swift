/// What is done with what does not fit, chosen before the start.
public struct PlanPolicy: Sendable, Equatable {
    /// For things that are left out or end the run.
    public enum Choice: String, Sendable, Equatable, CaseIterable {
        /// The run ends, with a reason.
        case fail
        /// Left out and counted.
        case skip
    }
    /// For HyperLogLogs between Redis and Pika.
    public enum HyperLogLog: String, Sendable, Equatable, CaseIterable {
        /// The run ends, with a reason.
        case fail
        /// The bytes are copied as a string; `PFCOUNT` of them makes no sense there.
        case raw
        /// Left out and counted.
        case skip
    }
    /// For deadlines that a target can't hold.
    public enum FarDeadline: String, Sendable, Equatable, CaseIterable {
        /// The last second that it can hold.
        case clamp
        /// No deadline.
        case drop
        /// The run ends, with a reason.
        case fail
    }
    /// For deadlines of a hash's fields.
    public enum FieldDeadline: String, Sendable, Equatable, CaseIterable {
        /// The run ends, with a reason.
        case fail
        /// Fields live on.
        case drop
    }

    /// For names that hold several types, where a target holds one.
    public enum SameName: String, Sendable, Equatable, CaseIterable {
        /// The run ends, with a reason.
        case fail
        /// The first counts, in the order string, hash, list, zset, set; the others are counted.
        case first
    }

    /// Commands that nobody knows.
    public var unknownCommand = Choice.fail
    /// HyperLogLogs.
    public var hyperLogLog = HyperLogLog.fail
    /// Streams.
    public var stream = Choice.fail
    /// Values of modules.
    public var module = Choice.fail
    /// Deadlines of fields.
    public var fieldDeadline = FieldDeadline.fail
    /// Deadlines behind 2038.
    public var farDeadline = FarDeadline.clamp
    /// Scores that are no number.
    public var nanScore = Choice.fail
    /// Scripts and functions.
    public var program = Choice.skip
    /// Names with several types.
    public var sameName = SameName.fail
    /// The target has keys that are not the source's, and keeps them.
    public var keepsForeignKeys = false
    /// A name of the source may hold several types: what overwrites one leaves the others.
    public var sourceKeepsTypesApart = false
    /// The source can be asked for a key.
    public var canRead = true

    /// The defaults.
    public init() {}
}

/// Something left out or changed on the way, to be counted by name.
public struct PlanNote: Sendable, Hashable {
    /// The name.
    public var name: String

    /// A note.
    public init(_ name: String) { self.name = name }
}

/// Why a plan can't be made; the run ends.
public struct PlanRefusal: Error, Sendable, Equatable {
    /// For the operator; without values.
    public var reason: String

    /// A refusal.
    public init(_ reason: String) { self.reason = reason }

    /// The longest part of a name that is told, in bytes.
    private static let nameBytes = 64

    /// A name with several types for a target that holds one.
    public static func severalTypes(_ kinds: [KeyKind], name: [UInt8]) -> PlanRefusal {
        let text = name.prefix(Self.nameBytes).map { byte in
            (0x20..<0x7f).contains(byte) && byte != UInt8(ascii: "\\")
                ? String(UnicodeScalar(byte)) : "\\x" + String(byte, radix: 16)
        }.joined()
        return PlanRefusal(
            "the name \(text) holds \(kinds.map { "\($0)" }.joined(separator: " and ")) at the source, and"
                + " the target holds one type a name; [policy] same-name = \"first\" takes the first"
        )
    }
}

/// Deadlines that a target can hold.
enum Deadline {
    /// The last second of a signed 32-bit clock before its end.
    static let lastSecond: Int64 = 2_147_483_646

    enum Verdict: Equatable {
        case none
        case past
        case seconds(Int64)
        case milliseconds(Int64)
    }

    /// - Parameter now: The source's time of the command or the start of the copy.
    static func fit(
        _ milliseconds: Int64?, now: Int64, _ target: TargetCapabilities, _ policy: PlanPolicy,
        _ notes: inout [PlanNote]
    ) throws(PlanRefusal) -> Verdict {
        guard let milliseconds else { return .none }
        guard milliseconds > now, milliseconds > 0 else { return .past }
        guard target.hasSecondDeadlines else { return .milliseconds(milliseconds) }
        // Up: a key must not vanish before its time.
        let seconds = milliseconds / 1_000 + (milliseconds % 1_000 > 0 ? 1 : 0)
        guard seconds > Self.lastSecond else { return .seconds(seconds) }
        notes.append(PlanNote("deadline-behind-2038"))
        switch policy.farDeadline {
        case .clamp: return .seconds(Self.lastSecond)
        case .drop: return .none
        case .fail:
            throw PlanRefusal("a deadline behind 2038-01-19 does not fit the target (far-deadline)")
        }
    }
}
