// MARK: - Commands with keys

extension Planner {
    /// A command whose keys are looked at, each for itself.
    ///
    /// | its keys | what is done |
    /// |---|---|
    /// | none is copied | nothing |
    /// | all are copied | it is sent, with the target's names |
    /// | some, of `DEL`, `UNLINK`, `MSET` | it is split: the copied ones are sent |
    /// | some, of any other command | the copied ones are read from the source: what they became |
    func keyed(
        _ command: SourceCommand, _ name: String, _ entry: CommandEntry, _ time: Int64,
        _ notes: inout [PlanNote]
    ) throws(PlanRefusal) -> Step {
        guard let places = CommandKeys.positions(command.arguments, entry.places) else {
            throw PlanRefusal("the source sent \(name.uppercased()) with arguments without sense")
        }
        if let other = Self.otherDatabase(command, name) {
            let keys = other.filter { self.filter.target($0) != nil }
            return keys.isEmpty ? .nothing : .refresh(keys)
        }
        var arguments = command.arguments
        var sources: [DatabaseKey] = []
        var targets: [DatabaseKey] = []
        var taken: [Int] = []
        for place in places {
            let source = DatabaseKey(command.database, arguments[place])
            guard let key = self.filter.target(source) else { continue }
            sources.append(source)
            targets.append(key)
            taken.append(place)
            arguments[place] = key.key
        }
        guard let database = targets.first?.database else { return .nothing }
        if sources.count < places.count {
            switch name {
            case "del", "unlink": arguments = [Words.del] + targets.map(\.key)
            case "mset": arguments = [arguments[0]] + taken.flatMap { arguments[$0...$0 + 1] }
            default: return .refresh(sources)
            }
        }
        // Whether the key is of a type that is copied can only be seen.
        if !self.filter.kinds.isEmpty, entry.kind == nil, entry.role == .derived {
            return .refresh(sources)
        }
        switch try self.rewrite(arguments, name, entry, time, &notes) {
        case .none: return .refresh(sources)
        case .some(let commands) where commands.isEmpty: return .nothing
        case .some(let commands): return .commands(commands, sources, database)
        }
    }

    /// A command of a type that is not copied may have put it in the place of one that is.
    func otherKind(_ command: SourceCommand, _ name: String, _ entry: CommandEntry) -> Step {
        guard let places = CommandKeys.positions(command.arguments, entry.places) else {
            return .nothing
        }
        let replaced: [Int]
        switch entry.role {
        case .overwrite: replaced = places
        case .derived where name == "bitop" || name.hasSuffix("store"):
            replaced = Array(places.prefix(1))
        default: return .nothing
        }
        let sources = replaced.map { DatabaseKey(command.database, command.arguments[$0]) }
            .filter { self.filter.target($0) != nil }
        let targets = sources.compactMap { self.filter.target($0) }
        guard let database = targets.first?.database else { return .nothing }
        return .commands([[Words.del] + targets.map(\.key)], sources, database)
    }

    /// Both keys of a command that writes into another database; nil = it does not.
    private static func otherDatabase(
        _ command: SourceCommand, _ name: String
    ) -> [DatabaseKey]? {
        let arguments = command.arguments
        let source = DatabaseKey(command.database, arguments[1])
        switch name {
        case "move":
            guard arguments.count > 2, let database = Words.number(arguments[2]) else { return nil }
            return [source, DatabaseKey(Int(clamping: database), arguments[1])]
        case "copy":
            var database = Int64(command.database)
            for (index, word) in arguments.enumerated().dropFirst(3)
            where word.elementsEqual("db".utf8, by: { $0 | 0x20 == $1 }) {
                guard index + 1 < arguments.count else { return nil }
                database = Words.number(arguments[index + 1]) ?? database
            }
            return [source, DatabaseKey(Int(clamping: database), arguments[2])]
        default: return nil
        }
    }
}
