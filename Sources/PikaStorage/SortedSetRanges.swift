/// One end of a range of scores.
public struct ScoreBound: Equatable, Sendable {
    /// The score.
    public var value: Double
    /// Whether the score itself lies outside.
    public var isExclusive: Bool

    /// Makes a bound.
    @inlinable
    public init(_ value: Double, isExclusive: Bool = false) {
        self.value = value
        self.isExclusive = isExclusive
    }
}

/// A range of scores.
public struct ScoreRange: Equatable, Sendable {
    /// The lower end.
    public var minimum: ScoreBound
    /// The upper end.
    public var maximum: ScoreBound

    /// Makes a range.
    @inlinable
    public init(minimum: ScoreBound, maximum: ScoreBound) {
        self.minimum = minimum
        self.maximum = maximum
    }

    /// All scores, infinities included.
    public static let all = ScoreRange(
        minimum: ScoreBound(-.infinity), maximum: ScoreBound(.infinity))

    /// Whether `score` lies inside.
    @inlinable
    public func contains(_ score: Double) -> Bool {
        (minimum.isExclusive ? score > minimum.value : score >= minimum.value)
            && (maximum.isExclusive ? score < maximum.value : score <= maximum.value)
    }
}

/// One end of a range of members.
public enum LexBound {
    /// `-`
    case lowest
    /// `+`
    case highest
    /// `[member`
    case inclusive(Bytes)
    /// `(member`
    case exclusive(Bytes)

    /// The member from which a visit may start; nil at the end of the key.
    var member: Bytes? {
        switch self {
        case .lowest, .highest: nil
        case .inclusive(let member), .exclusive(let member): member
        }
    }

    /// Whether this lower bound lets `member` in.
    func isAtOrBelow(_ member: Bytes) -> Bool {
        switch self {
        case .lowest: true
        case .highest: false
        case .inclusive(let bound): !member.isBefore(bound)
        case .exclusive(let bound): bound.isBefore(member)
        }
    }

    /// Whether this upper bound lets `member` in.
    func isAtOrAbove(_ member: Bytes) -> Bool {
        switch self {
        case .lowest: false
        case .highest: true
        case .inclusive(let bound): !bound.isBefore(member)
        case .exclusive(let bound): member.isBefore(bound)
        }
    }
}

/// A range of members; the bytes must outlive it.
public struct LexRange {
    /// The lower end.
    public var minimum: LexBound
    /// The upper end.
    public var maximum: LexBound

    /// Makes a range.
    @inlinable
    public init(minimum: LexBound, maximum: LexBound) {
        self.minimum = minimum
        self.maximum = maximum
    }
}
