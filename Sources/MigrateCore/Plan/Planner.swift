/// What of a unit goes to one database of the target.
public struct UnitPart: Sendable, Equatable {
    /// The target's database.
    public var database: Int
    /// The commands.
    public var commands: CommandBuffer
    /// The target's keys that they touch; of one slot if the target is sharded.
    public var keys: [DatabaseKey]
    /// The source's names of these keys.
    public var sources: [DatabaseKey]

    /// A part from its parts.
    public init(
        database: Int, commands: CommandBuffer, keys: [DatabaseKey], sources: [DatabaseKey]
    ) {
        self.database = database
        self.commands = commands
        self.keys = keys
        self.sources = sources
    }
}

/// What a unit becomes.
public enum UnitAction: Sendable, Equatable {
    /// Commands, by database; none = nothing is to be done.
    case execute([UnitPart])
    /// All keys are read from the source anew.
    case refresh
    /// The target's databases that are emptied, alone: before it all else is done, after it all else
    /// begins.
    case flush([Int])
}

/// A planned unit.
public struct UnitPlan: Sendable, Equatable {
    /// The source's keys that it touches and that are copied.
    public var keys: [DatabaseKey]
    /// What to do.
    public var action: UnitAction
    /// What was left out or changed.
    public var notes: [PlanNote]
}

/// Turns the source's units into the target's commands.
public struct Planner: Sendable {
    /// What the target can do.
    public let target: TargetCapabilities
    /// Which keys go where.
    public let filter: KeyFilter
    /// What is done with what does not fit.
    public let policy: PlanPolicy

    /// A planner for a target.
    public init(target: TargetCapabilities, filter: KeyFilter, policy: PlanPolicy) {
        self.target = target
        self.filter = filter
        self.policy = policy
    }

    /// Plans a unit.
    public func plan(_ unit: SourceUnit) throws(PlanRefusal) -> UnitPlan {
        var plan = UnitPlan(keys: [], action: .execute([]), notes: [])
        guard !self.filter.origin.isForeign(unit) else {
            plan.notes.append(PlanNote("echo"))
            return plan
        }
        var parts: [UnitPart] = []
        var needsRefresh = unit.mustRead
        for command in unit.commands where !command.arguments.isEmpty {
            for step in try self.plan(command, unit.sourceTimeMilliseconds, &plan.notes) {
                switch step {
                case .flush(let databases):
                    guard unit.commands.count == 1 else {
                        throw PlanRefusal(
                            "a transaction that empties a database can't be carried over")
                    }
                    plan.action = .flush(databases)
                    return plan
                case .refresh(let keys):
                    needsRefresh = true
                    plan.keys += keys
                case .commands(let part):
                    plan.keys += part.sources
                    self.add(part, to: &parts)
                }
            }
        }
        plan.action = needsRefresh ? .refresh : .execute(parts)
        return plan
    }

    /// Joins what may be executed as one.
    private func add(_ part: UnitPart, to parts: inout [UnitPart]) {
        let index = parts.firstIndex {
            $0.database == part.database && self.shard($0) == self.shard(part)
        }
        guard let index else { return parts.append(part) }
        // Behind all that came before.
        parts.append(parts.remove(at: index))
        let last = parts.count - 1
        parts[last].commands.append(part.commands)
        parts[last].keys += part.keys
        parts[last].sources += part.sources
    }

    /// What of a target executes a part.
    private func shard(_ part: UnitPart) -> Int {
        self.target.isSharded ? part.keys.first.map { KeyHash.slot($0.key) } ?? 0 : 0
    }

    enum Step {
        case refresh([DatabaseKey])
        case flush([Int])
        case commands(UnitPart)
    }

    private func plan(
        _ command: SourceCommand, _ time: Int64, _ notes: inout [PlanNote]
    ) throws(PlanRefusal) -> [Step] {
        let name = CommandKeys.name(command)
        guard let entry = CommandKeys.entry(name) else {
            guard self.policy.unknownCommand == .skip else {
                throw PlanRefusal("the source sent \(name.uppercased()), which is not known")
            }
            notes.append(PlanNote("unknown-command \(name)"))
            return []
        }
        guard entry.role != .ignored else { return [] }
        guard self.filter.takes(command: name) else {
            notes.append(PlanNote("denied \(name)"))
            return []
        }
        switch entry.role {
        case .publish:
            notes.append(PlanNote("publish"))
            return []
        case .program:
            guard self.policy.program == .skip else {
                throw PlanRefusal("the source sent \(name.uppercased()); [policy] program is fail")
            }
            notes.append(PlanNote(name))
            return []
        case .flushDatabase, .flushAll: return try self.flush(command, entry.role)
        case .swapDatabases:
            throw PlanRefusal("the source sent SWAPDB, which can't be carried over")
        default: break
        }
        if let kind = entry.kind, !self.filter.takes(kind) {
            return self.otherKind(command, name, entry)
        }
        return try self.keyed(command, name, entry, time, &notes)
    }

    private func flush(
        _ command: SourceCommand, _ role: CommandRole
    ) throws(PlanRefusal) -> [Step] {
        guard !self.filter.origin.isActive else {
            throw PlanRefusal(
                "one end of a two-way sync emptied a database: what the other end wrote meanwhile"
                    + " would be lost; [map] commands-deny with flushdb and flushall leaves it out"
            )
        }
        guard !self.policy.keepsForeignKeys else {
            throw PlanRefusal(
                "the source emptied a database, and the target's has keys that are not the source's"
                    + " (on-nonempty = merge), which would go as well; [map] commands-deny with flushdb"
                    + " and flushall leaves it out: what it removed stays in the target then")
        }
        guard !self.filter.selectsKeys, !self.filter.renaming.sharesTarget,
            !self.filter.joinsDatabases
        else {
            throw PlanRefusal(
                "the source emptied a database while only some of its keys are copied, or the target's"
                    + " database has other keys as well")
        }
        if role == .flushDatabase {
            return self.filter.target(database: command.database).map { [.flush([$0])] } ?? []
        }
        let databases =
            self.filter.databases.isEmpty
            ? Array(0..<self.target.databases) : Array(Set(self.filter.databases.values)).sorted()
        return [.flush(databases)]
    }
}
