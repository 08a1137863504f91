/// What an error of a target means for the run.
public enum FaultClass: String, Sendable, Equatable, CaseIterable {
    /// Passes by waiting: try again.
    case transient
    /// No right or wrong password.
    case permission
    /// No room in the target: wait, with an alarm.
    case capacity
    /// Another server has the key now.
    case topology
    /// The command or the value does not fit.
    case data

    /// By the first word of an error.
    private static let words: [String: FaultClass] = [
        "LOADING": .transient, "BUSY": .transient, "TRYAGAIN": .transient,
        "MASTERDOWN": .transient, "CLUSTERDOWN": .transient, "NOMASTERLINK": .transient,
        "NOREPLICAS": .transient, "READONLY": .topology, "MOVED": .topology, "ASK": .topology,
        "OOM": .capacity, "MISCONF": .capacity, "NOAUTH": .permission, "WRONGPASS": .permission,
        "NOPERM": .permission,
    ]
    /// By a part of the text, where the first word is `ERR`.
    private static let parts: [(String, FaultClass)] = [
        ("operation not permitted", .permission), ("invalid password", .permission),
        ("No space left", .capacity), ("Write stall", .transient), ("bgsave", .transient),
        ("READONLY", .topology), ("read-only", .topology), ("readonly", .topology),
    ]

    /// The class of an error's text.
    public static func of(_ text: String) -> FaultClass {
        let word = text.prefix { $0 != " " }
        if let known = Self.words[String(word)] { return known }
        return Self.parts.first { text.contains($0.0) }?.1 ?? .data
    }
}
