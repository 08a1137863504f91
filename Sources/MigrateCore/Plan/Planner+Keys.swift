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
    ) throws(PlanRefusal) -> [Step] {
        guard let places = CommandKeys.positions(command.arguments, entry.places) else {
            throw PlanRefusal("the source sent \(name.uppercased()) with arguments without sense")
        }
        if let other = Self.otherDatabase(command, name) {
            let keys = other.filter { self.filter.target($0) != nil }
            return keys.isEmpty ? [] : [.refresh(keys)]
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
        guard let database = targets.first?.database else { return [] }
        if sources.count < places.count {
            switch name {
            case "del", "unlink": arguments = [Words.del] + targets.map(\.key)
            case "mset": arguments = [arguments[0]] + taken.flatMap { arguments[$0...$0 + 1] }
            default: return [.refresh(sources)]
            }
        }
        // Whether the key is of a type that is copied can only be seen.
        if !self.filter.kinds.isEmpty, entry.kind == nil, entry.role == .derived {
            return [.refresh(sources)]
        }
        if self.target.isSharded, Set(targets.map { KeyHash.slot($0.key) }).count > 1 {
            return try self.split(arguments, name, entry, time, sources, targets, &notes)
        }
        // A proxy sends it to the first key's slot, but for what it splits itself.
        if self.target.product == .codis, targets.count > 1,
            !["del", "unlink", "mset"].contains(name)
        {
            return [.refresh(sources)]
        }
        guard let commands = try self.rewrite(arguments, name, entry, time, &notes) else {
            return [.refresh(sources)]
        }
        return commands.isEmpty ? [] : [Self.step(commands, database, sources, targets)]
    }

    private static func step(
        _ commands: [[[UInt8]]], _ database: Int, _ sources: [DatabaseKey],
        _ targets: [DatabaseKey]
    ) -> Step {
        var buffer = CommandBuffer()
        for command in commands { buffer.append(command) }
        return .commands(
            UnitPart(database: database, commands: buffer, keys: targets, sources: sources))
    }

    /// A command with keys in several slots: in pieces where each key has a part of its own, read
    /// from the source otherwise.
    private func split(
        _ arguments: [[UInt8]], _ name: String, _ entry: CommandEntry, _ time: Int64,
        _ sources: [DatabaseKey], _ targets: [DatabaseKey], _ notes: inout [PlanNote]
    ) throws(PlanRefusal) -> [Step] {
        let width: Int
        switch name {
        case "del", "unlink": width = 1
        case "mset": width = 2
        default: return [.refresh(sources)]
        }
        guard arguments.count == 1 + width * targets.count else { return [.refresh(sources)] }
        var order: [Int] = []
        var slots: [Int: [Int]] = [:]
        for index in targets.indices {
            let slot = KeyHash.slot(targets[index].key)
            if slots[slot] == nil { order.append(slot) }
            slots[slot, default: []].append(index)
        }
        var steps: [Step] = []
        for indices in order.compactMap({ slots[$0] }) {
            let words = indices.flatMap { index in
                (0..<width).map { arguments[1 + index * width + $0] }
            }
            let commands = try self.rewrite([arguments[0]] + words, name, entry, time, &notes)
            guard let commands, let first = indices.first else { return [.refresh(sources)] }
            steps.append(
                Self.step(
                    commands, targets[first].database, indices.map { sources[$0] },
                    indices.map { targets[$0] }))
        }
        return steps
    }

    /// A command of a type that is not copied may have put it in the place of one that is.
    func otherKind(_ command: SourceCommand, _ name: String, _ entry: CommandEntry) -> [Step] {
        guard let places = CommandKeys.positions(command.arguments, entry.places) else {
            return []
        }
        let replaced: [Int]
        switch entry.role {
        case .overwrite: replaced = places
        case .derived where name == "bitop" || name.hasSuffix("store"):
            replaced = Array(places.prefix(1))
        default: return []
        }
        let sources = replaced.map { DatabaseKey(command.database, command.arguments[$0]) }
            .filter { self.filter.target($0) != nil }
        let targets = sources.compactMap { self.filter.target($0) }
        guard let database = targets.first?.database else { return [] }
        guard self.target.isSharded else {
            return [Self.step([[Words.del] + targets.map(\.key)], database, sources, targets)]
        }
        return zip(sources, targets).map { source, target in
            Self.step([[Words.del, target.key]], target.database, [source], [target])
        }
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
