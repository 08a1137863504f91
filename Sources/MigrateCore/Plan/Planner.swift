/// What of a unit goes to one database of the target.
public struct UnitPart: Sendable, Equatable {
    /// The target's database.
    public var database: Int
    /// The commands.
    public var commands: CommandBuffer
    /// The source's keys that they touch.
    public var sources: [DatabaseKey]
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
        var needsRefresh = false
        for command in unit.commands where !command.arguments.isEmpty {
            let step = try self.plan(command, unit.sourceTimeMilliseconds, &plan.notes)
            switch step {
            case .nothing: break
            case .flush(let databases):
                guard unit.commands.count == 1 else {
                    throw PlanRefusal("a transaction that empties a database can't be carried over")
                }
                plan.action = .flush(databases)
                return plan
            case .refresh(let keys):
                needsRefresh = true
                plan.keys += keys
            case .commands(let commands, let sourceKeys, let database):
                plan.keys += sourceKeys
                if parts.last?.database != database {
                    if let index = parts.firstIndex(where: { $0.database == database }) {
                        parts.append(parts.remove(at: index))
                    } else {
                        parts.append(
                            UnitPart(database: database, commands: CommandBuffer(), sources: []))
                    }
                }
                for one in commands { parts[parts.count - 1].commands.append(one) }
                parts[parts.count - 1].sources += sourceKeys
            }
        }
        plan.action = needsRefresh ? .refresh : .execute(parts)
        return plan
    }

    enum Step {
        case nothing
        case refresh([DatabaseKey])
        case flush([Int])
        case commands([[[UInt8]]], [DatabaseKey], Int)
    }

    private func plan(
        _ command: SourceCommand, _ time: Int64, _ notes: inout [PlanNote]
    ) throws(PlanRefusal) -> Step {
        let name = CommandKeys.name(command)
        guard let entry = CommandKeys.entry(name) else {
            guard self.policy.unknownCommand == .skip else {
                throw PlanRefusal("the source sent \(name.uppercased()), which is not known")
            }
            notes.append(PlanNote("unknown-command \(name)"))
            return .nothing
        }
        guard entry.role != .ignored else { return .nothing }
        guard self.filter.takes(command: name) else {
            notes.append(PlanNote("denied \(name)"))
            return .nothing
        }
        switch entry.role {
        case .publish:
            notes.append(PlanNote("publish"))
            return .nothing
        case .program:
            guard self.policy.program == .skip else {
                throw PlanRefusal("the source sent \(name.uppercased()); [policy] program is fail")
            }
            notes.append(PlanNote(name))
            return .nothing
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
    ) throws(PlanRefusal) -> Step {
        guard !self.filter.origin.isActive else {
            throw PlanRefusal(
                "one end of a two-way sync emptied a database: what the other end wrote meanwhile"
                    + " would be lost; [map] commands-deny with flushdb and flushall leaves it out"
            )
        }
        guard !self.filter.selectsKeys, !self.filter.renaming.sharesTarget,
            !self.filter.joinsDatabases
        else {
            throw PlanRefusal(
                "the source emptied a database while only some of its keys are copied, or the target's"
                    + " database has other keys as well")
        }
        if role == .flushDatabase {
            return self.filter.target(database: command.database).map { .flush([$0]) } ?? .nothing
        }
        let databases =
            self.filter.databases.isEmpty
            ? Array(0..<self.target.databases) : Array(Set(self.filter.databases.values)).sorted()
        return .flush(databases)
    }
}
