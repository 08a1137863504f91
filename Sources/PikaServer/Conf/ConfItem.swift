/// One row of the settings table: everything that is known about an item.
///
/// Parser, CONFIG GET/SET/REWRITE and the checks of the shipped file all read this row; nothing
/// about an item is written down anywhere else.
public struct ConfItem: Sendable {
    /// Where an item comes from.
    public enum Origin: String, Sendable {
        /// Known to Pika 3.5.0.
        case pika350 = "3.5.0"
        /// Added by Pika 3.5.5.
        case pika355 = "3.5.5"
        /// Ours; a real Pika ignores and keeps it.
        case ours
    }

    /// What happens to a number outside of its range when the file is read.
    public enum Repair: Sendable, Equatable {
        /// The start fails: another value would not be what the operator meant, or unsafe.
        case refuse
        /// The number is replaced, with a warning (as 3.5.0 does silently).
        case replace(with: Int)
    }

    /// The name in the file and in CONFIG GET.
    public let name: String
    /// Other spellings that real Pikas read or print.
    public let aliases: [String]
    /// Type, range, default and the place in ``Settings``.
    public let type: ConfType
    /// Unit of the value, empty where there is none.
    public let unit: String
    /// Where the item comes from.
    public let origin: Origin
    /// Whether CONFIG SET changes it while the server runs.
    public let live: Bool
    /// Whether the item changes anything in this server.
    public let used: Bool
    /// Whether the shipped file carries it as a comment only.
    public let commented: Bool
    /// What the operator must know, one or more sentences.
    public let doc: String

    init(
        _ name: String, _ type: ConfType, unit: String = "", aliases: [String] = [],
        from origin: Origin = .pika350, live: Bool = false, used: Bool = true,
        commented: Bool = false, _ doc: String
    ) {
        self.name = name
        self.aliases = aliases
        self.type = type
        self.unit = unit
        self.origin = origin
        self.live = live
        self.used = used
        self.commented = commented
        self.doc = doc
    }
}

/// Type, range, default and place of an item's value.
public enum ConfType: @unchecked Sendable {
    // SAFETY: the key paths are literals without captured values, hence immutable.
    /// A whole number; `allowed` are single values outside of the range (such as -1).
    case integer(
        Int, ClosedRange<Int>, below: ConfItem.Repair = .refuse, above: ConfItem.Repair = .refuse,
        allowed: [Int] = [], into: WritableKeyPath<Settings, Int>? = nil)
    /// A size in bytes; the suffixes K, M and G (powers of 1024) are accepted.
    case bytes(
        Int, ClosedRange<Int>, below: ConfItem.Repair = .refuse, above: ConfItem.Repair = .refuse,
        into: WritableKeyPath<Settings, Int>? = nil)
    /// A decimal fraction.
    case decimal(Double, ClosedRange<Double>, into: WritableKeyPath<Settings, Double>? = nil)
    /// `yes` or `no`; the words true, false, 1 and 0 are understood, too.
    case flag(Bool, into: WritableKeyPath<Settings, Bool>? = nil)
    /// One of a few words.
    case choice(String, [String], into: WritableKeyPath<Settings, String>? = nil)
    /// Text of a given form.
    case text(String, TextForm = .any, into: WritableKeyPath<Settings, String>? = nil)
}

/// The forms that a text item may have.
public enum TextForm: Sendable {
    case any
    /// A file name.
    case file
    /// A directory; a trailing slash is added.
    case directory
    /// So many hexadecimal digits, or nothing.
    case hexDigits(count: Int)
    /// `host:port`, or nothing.
    case address
    /// `[week/]start-end/ratio`, or nothing.
    case compactCron
    /// `hours/ratio`, or nothing.
    case compactInterval
    /// Words separated by commas, or nothing.
    case words
    /// Letters of `notify-keyspace-events`.
    case eventClasses
    /// `pubsub hard soft seconds`, kept with its blanks.
    case outputLimits
    /// A line that may occur several times, kept with its blanks.
    case repeated
}
