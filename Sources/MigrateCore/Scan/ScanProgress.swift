/// A copy made by cursor while the source goes on writing, beside the stream of what it writes.
///
/// Nothing of the stream is applied meanwhile: the keys that it touches are remembered and read again
/// behind the cursor's end, in passes that get shorter. The last pass is read behind a place P of the
/// stream up to which everything is in those keys; what it has read may be newer, up to a horizon H.
/// So the stream is applied from P on, and up to H its keys are read instead of replayed.
public struct ScanProgress: Sendable, Equatable {
    /// The stream's commands run in a database that is not known yet: no `SELECT` has come.
    public static let unknownDatabase = 1 << 20
    /// Most keys that are remembered; the stream waits in the spool then.
    public static let maxDirty = 1_000_000
    /// A pass with so few keys may be the last one.
    public static let smallPass = 10_000
    /// At the latest the last one.
    public static let maxPasses = 8
    /// Keys that are read at once.
    public static let pageKeys = 128

    /// What is to be done next.
    public enum Step: Sendable, Equatable {
        /// Ask for the names behind a cursor.
        case scan(database: Int, cursor: UInt64)
        /// Read these keys again.
        case reread([DatabaseKey])
        /// Take more of the stream, until its place is behind what was read.
        case catchUp
        /// The copy is complete.
        case finish
    }

    /// Where in the cursor's way.
    public struct Place: Sendable, Equatable {
        /// The database.
        public var database: Int
        /// The cursor in it.
        public var cursor: UInt64

        /// A place.
        public init(database: Int, cursor: UInt64) {
            self.database = database
            self.cursor = cursor
        }
    }

    /// All databases that were ever seen to have keys.
    public private(set) var databases: Set<Int>
    /// Where the cursor is; nil = at its end.
    public private(set) var place: Place?
    private var rest: [Int]
    private var dirty: Set<DatabaseKey> = []
    private var pending: [DatabaseKey] = []
    private var passes = 0
    private var isLast = false
    /// The stream's place: units up to it were taken.
    public private(set) var taken: UInt64
    /// The place of the last pass: what lies before it is in the copy.
    public private(set) var fence: UInt64 = 0
    /// The highest place of the stream that anything was read at.
    public private(set) var horizon: UInt64 = 0

    /// A copy that begins, or goes on at a place.
    public init(databases: Set<Int>, from offset: UInt64, at place: Place? = nil) {
        self.databases = databases
        self.taken = offset
        let order = databases.sorted()
        let first = place ?? order.first.map { Place(database: $0, cursor: 0) }
        self.place = first
        self.rest = order.filter { $0 > first?.database ?? -1 }
    }

    /// A unit may be taken from the stream.
    public var takesUnits: Bool { self.dirty.count < Self.maxDirty && !self.isLast }

    /// What is to be done next.
    public mutating func step() -> Step {
        if let place = self.place {
            return .scan(database: place.database, cursor: place.cursor)
        }
        if !self.pending.isEmpty {
            let page = Array(self.pending.suffix(Self.pageKeys))
            self.pending.removeLast(page.count)
            return .reread(page)
        }
        if self.isLast { return .finish }
        // What was read before this pass lies before its fence.
        guard self.taken >= self.horizon else { return .catchUp }
        self.passes += 1
        self.isLast = self.dirty.count <= Self.smallPass || self.passes >= Self.maxPasses
        self.fence = self.taken
        self.pending = Array(self.dirty)
        self.dirty = []
        return self.step()
    }

    /// The cursor's answer.
    public mutating func scanned(next cursor: UInt64) {
        guard let place = self.place else { return }
        if cursor != 0 {
            self.place = Place(database: place.database, cursor: cursor)
        } else {
            self.place =
                self.rest.isEmpty
                ? nil : Place(database: self.rest.removeFirst(), cursor: 0)
        }
    }

    /// Cursors mean nothing any more: from the beginning; what was remembered stays so.
    public mutating func rescan() {
        guard self.place != nil else { return }
        let order = self.databases.sorted()
        self.place = order.first.map { Place(database: $0, cursor: 0) }
        self.rest = Array(order.dropFirst())
    }

    /// Keys were read at a place of the stream.
    public mutating func read(at offset: UInt64) { self.horizon = max(self.horizon, offset) }

    /// Databases that have keys now.
    public mutating func saw(_ databases: Set<Int>) { self.databases.formUnion(databases) }

    /// The stream is known up to here.
    public mutating func advance(to offset: UInt64) { self.taken = max(self.taken, offset) }

    /// Takes a unit of the stream; false if the whole copy has to be made anew.
    public mutating func take(_ unit: SourceUnit) -> Bool {
        for command in unit.commands where !command.arguments.isEmpty {
            switch CommandKeys.role(CommandKeys.name(command)) {
            case .flushAll?, .flushDatabase?, .swapDatabases?: return false
            default: self.dirty.formUnion(Self.keys(command, self.databases))
            }
        }
        if case .redis(let position) = unit.end { self.advance(to: position.offset) }
        return true
    }

    /// The keys of a command: in each database if it is not known in which.
    private static func keys(_ command: SourceCommand, _ known: Set<Int>) -> [DatabaseKey] {
        guard let entry = CommandKeys.entry(CommandKeys.name(command)),
            let places = CommandKeys.positions(command.arguments, entry.places)
        else { return [] }
        let isKnown = command.database != Self.unknownDatabase
        return places.flatMap { place in
            (isKnown ? [command.database] : Array(known)).map {
                DatabaseKey($0, command.arguments[place])
            }
        }
    }

    /// A unit behind the copy: its keys are read instead if they may have it already, or if it is
    /// not known where they are.
    public static func following(
        _ unit: SourceUnit, horizon: UInt64, databases: Set<Int>
    ) -> SourceUnit {
        var unit = unit
        if case .redis(let end) = unit.end, end.offset <= horizon { unit.mustRead = true }
        guard unit.commands.contains(where: { $0.database == Self.unknownDatabase }) else {
            return unit
        }
        unit.mustRead = true
        unit.commands = unit.commands.flatMap { command in
            guard command.database == Self.unknownDatabase else { return [command] }
            return databases.sorted().map {
                SourceCommand(database: $0, arguments: command.arguments)
            }
        }
        return unit
    }
}
