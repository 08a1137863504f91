/// One of the five stores of a database, in the order in which SCAN and the directories name them.
public enum StoreKind: UInt8, CaseIterable, Sendable {
    case strings, hashes, lists, sets, zsets

    /// The name of the store's directory.
    public var directoryName: String {
        switch self {
        case .strings: "strings"
        case .hashes: "hashes"
        case .lists: "lists"
        case .sets: "sets"
        case .zsets: "zsets"
        }
    }

    /// What TYPE answers.
    public var typeName: String {
        switch self {
        case .strings: "string"
        case .hashes: "hash"
        case .lists: "list"
        case .sets: "set"
        case .zsets: "zset"
        }
    }

    /// The order in which TYPE and TTL look for a key.
    public static let precedence: [StoreKind] = [.strings, .hashes, .lists, .zsets, .sets]

    /// Whether writers ask for single elements without wanting their values.
    var hasElementsToRemember: Bool { self == .hashes || self == .sets }

    /// Number of column families.
    @inlinable
    public var familyCount: Int {
        switch self {
        case .strings: 1
        case .hashes, .lists, .sets: 2
        case .zsets: 3
        }
    }
}

/// A set of store kinds.
public struct StoreKinds: OptionSet, Hashable, Sendable {
    /// One bit per `StoreKind.rawValue`.
    public var rawValue: UInt8

    /// Makes the set from its bits.
    @inlinable
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Makes the set of one kind.
    @inlinable
    public init(_ kind: StoreKind) { rawValue = 1 << kind.rawValue }

    /// Only the strings.
    public static let strings = StoreKinds(.strings)
    /// Only the hashes.
    public static let hashes = StoreKinds(.hashes)
    /// Only the lists.
    public static let lists = StoreKinds(.lists)
    /// Only the sets.
    public static let sets = StoreKinds(.sets)
    /// Only the sorted sets.
    public static let zsets = StoreKinds(.zsets)
    /// All five.
    public static let all = StoreKinds(rawValue: 0b1_1111)

    /// How many kinds the set holds.
    @inlinable
    public var count: Int { rawValue.nonzeroBitCount }

    /// Whether the set holds `kind`.
    @inlinable
    public func has(_ kind: StoreKind) -> Bool { rawValue & (1 << kind.rawValue) != 0 }
}

/// A column family of a store.
public enum Family: UInt8, Sendable {
    /// `default`: one row per key.
    case meta = 0
    /// `data_cf` (hashes, lists, zsets) or `member_cf` (sets).
    case data = 1
    /// `score_cf` of zsets.
    case score = 2
}
