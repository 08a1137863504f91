import PikaStorage
import RESP

/// Properties of a command that the command path and COMMAND INFO need.
public struct CommandFlags: OptionSet, Sendable, Hashable {
    /// The bits.
    public let rawValue: UInt32
    /// Makes a set from its bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Changes data: refused on a replica, takes key locks, is logged.
    public static let write = CommandFlags(rawValue: 1 << 0)
    /// Reads data.
    public static let readonly = CommandFlags(rawValue: 1 << 1)
    /// Always runs on the slow pool.
    public static let slow = CommandFlags(rawValue: 1 << 2)
    /// Allowed before authentication.
    public static let noauth = CommandFlags(rawValue: 1 << 3)
    /// Administration.
    public static let admin = CommandFlags(rawValue: 1 << 4)
    /// Constant or logarithmic time (COMMAND INFO's "fast").
    public static let fast = CommandFlags(rawValue: 1 << 5)
    /// May make data grow ("denyoom").
    public static let growsData = CommandFlags(rawValue: 1 << 6)
    /// Only for the server itself: clients get "unknown command".
    public static let hidden = CommandFlags(rawValue: 1 << 7)
    /// Several keys.
    public static let multi = CommandFlags(rawValue: 1 << 8)
    /// Uncommitted writes of the burst must be committed before it runs.
    public static let commitsFirst = CommandFlags(rawValue: 1 << 9)
    /// The positions of its keys depend on other arguments.
    public static let movableKeys = CommandFlags(rawValue: 1 << 10)
    /// Has subcommands.
    public static let container = CommandFlags(rawValue: 1 << 11)
    /// The whole database or server is its subject: no key locks, a gate of its own.
    public static let suspend = CommandFlags(rawValue: 1 << 12)
    /// Takes key locks although it writes nothing.
    public static let locksKeys = CommandFlags(rawValue: 1 << 13)
    /// Not allowed between MULTI and EXEC.
    public static let noMulti = CommandFlags(rawValue: 1 << 14)
    /// May wait for elements.
    public static let blocking = CommandFlags(rawValue: 1 << 15)
    /// Allowed to a connection of RESP2 that listens to channels.
    public static let subscribed = CommandFlags(rawValue: 1 << 16)
    /// Waits with the writes when those are paused (CLIENT PAUSE WRITE).
    public static let pausedWithWrites = CommandFlags(rawValue: 1 << 18)
    /// Carries a password: neither MONITOR nor the slow log shows it.
    public static let secret = CommandFlags(rawValue: 1 << 17)
    /// Writes keys without a look at what was there: of many keys on the pool the locks are taken
    /// behind the writes (`Execution.locksLate`), by the handler.
    public static let locksLate = CommandFlags(rawValue: 1 << 21)
    /// Deletes many keys in slices, each with locks and a group of its own.
    public static let sliced = CommandFlags(rawValue: 1 << 20)
    /// Writes only when it names a destination: without one a replica runs it too.
    public static let readsUnlessStored = CommandFlags(rawValue: 1 << 19)
}

/// Positions of the keys among the arguments, the command word being 0.
public struct KeyPositions: Sendable, Equatable {
    /// First key; 0 when there is none.
    public var first: Int
    /// Last key; negative counts from the end.
    public var last: Int
    /// Distance of two keys.
    public var step: Int
    /// Index of the word that tells how many keys follow it; 0 when there is none.
    public var countAt: Int32 = 0
    /// Index of the first word that may be STORE or STOREDIST, with a key behind it; 0 when there
    /// is none.
    public var storeFrom: Int32 = 0

    /// Names the positions.
    public init(_ first: Int, _ last: Int, _ step: Int) {
        self.first = first
        self.last = last
        self.step = step
    }

    /// A number of keys at `index` and the keys behind it, besides a leading key when there is one.
    public static func counted(at index: Int32, behindKey: Bool = false) -> KeyPositions {
        var keys = behindKey ? KeyPositions.one : .none
        keys.countAt = index
        return keys
    }

    /// These keys, and the one behind STORE or STOREDIST among the arguments from `index` on.
    public func andStored(from index: Int32) -> KeyPositions {
        var keys = self
        keys.storeFrom = index
        return keys
    }

    /// True when the positions depend on other arguments.
    @inline(__always)
    public var isMovable: Bool { self.countAt | self.storeFrom != 0 }

    /// No keys.
    public static let none = KeyPositions(0, 0, 0)
    /// The first argument.
    public static let one = KeyPositions(1, 1, 1)
    /// The first two arguments.
    public static let two = KeyPositions(1, 2, 1)
    /// All arguments.
    public static let all = KeyPositions(1, -1, 1)
    /// Every other argument, from the first.
    public static let pairs = KeyPositions(1, -1, 2)
}

extension KeyPositions {
    /// The keys' indexes among the arguments of a request; of a broken one those that can be told.
    func indexes(in arguments: UnsafeBufferPointer<Bytes>) -> [Int] {
        var indexes: [Int] = []
        if self.first > 0 {
            let last = self.last < 0 ? arguments.count + self.last : self.last
            for index in stride(from: self.first, through: last, by: self.step)
            where index < arguments.count { indexes.append(index) }
        }
        let counter = Int(self.countAt)
        if counter > 0, counter < arguments.count,
            let number = Decimal.parseInteger(arguments[counter]), number > 0,
            number <= Int64(arguments.count - counter - 1)
        {
            indexes += counter + 1...counter + Int(number)
        }
        if let index = self.destinationIndex(in: arguments) { indexes.append(index) }
        return indexes
    }

    /// The keys of a request; of a broken one those that can be told.
    func list(in arguments: UnsafeBufferPointer<Bytes>) -> [Bytes] {
        self.indexes(in: arguments).map { arguments[$0] }
    }

    /// Index of the key behind the last STORE or STOREDIST.
    func destinationIndex(in arguments: UnsafeBufferPointer<Bytes>) -> Int? {
        guard self.storeFrom > 0 else { return nil }
        var found: Int?
        var index = Int(self.storeFrom)
        while index < arguments.count {
            let word = arguments[index]
            if word.isWord("limit") {
                index += 2
            } else if word.isWord("by") || word.isWord("get") || word.isWord("count") {
                index += 1
            } else if word.isWord("store") || word.isWord("storedist"),
                index + 1 < arguments.count
            {
                found = index + 1
                index += 1
            }
            index += 1
        }
        return found
    }
}

/// Family of a command, as COMMAND DOCS and ACL categories name it.
public enum CommandGroup: String, Sendable, CaseIterable {
    /// Keys of any type.
    case generic
    /// Strings.
    case string
    /// Hashes.
    case hash
    /// Lists.
    case list
    /// Sets.
    case set
    /// Sorted sets.
    case sortedSet = "sorted-set"
    /// Sorted sets of places.
    case geo
    /// Connections.
    case connection
    /// The server and its databases.
    case server
    /// MULTI and EXEC.
    case transactions
    /// Publishing and subscribing.
    case pubsub
    /// Scripts, of which there are none.
    case scripting
}

/// One row of the command table.
public struct CommandRow: Sendable {
    /// What runs the command; replies through the execution.
    public typealias Handler = @Sendable (inout Execution) throws -> Void

    /// Lower-case name.
    public let name: StaticString
    /// Number of arguments with the command word; negative = at least.
    public let arity: Int
    /// What the command path must know.
    public let flags: CommandFlags
    /// Where its keys are.
    public let keys: KeyPositions
    /// Family.
    public let group: CommandGroup
    /// Version of Redis, or of Pika for its own commands, that brought it.
    public let since: StaticString
    /// One line for COMMAND DOCS.
    public let summary: StaticString
    /// Runs the command.
    public let handler: Handler

    /// Describes a command.
    public init(
        _ name: StaticString, arity: Int, flags: CommandFlags, keys: KeyPositions,
        group: CommandGroup, since: StaticString, summary: StaticString, handler: @escaping Handler
    ) {
        self.name = name
        self.arity = arity
        self.flags = flags
        self.keys = keys
        self.group = group
        self.since = since
        self.summary = summary
        self.handler = handler
    }
}
