import ReplicationCore
import SyncProtocol

/// Runs a script: one command a line; `#` begins a comment.
///
/// ```
/// node m                     a new, running server
/// node r slaveof m           a new replica
/// m write 100 [groups of 3]  groups of items, half to each database
/// r slaveof m [force]        | r slaveof no one
/// r detach db0 | r attach db0 | r copy db0
/// r kill | r power-loss | r start
/// r isolate | r heal         its network stalls, moves again
/// r cut [half-open]          its connections break
/// m purge | m drop-snapshots
/// corrupt 10                 one in ten chunks arrives damaged; 0 = none
/// run 500                    milliseconds
/// load m 5000                writes for that many milliseconds
/// status                     what everybody is doing
/// ```
struct Script {
    let world: World
    private(set) var output: [String] = []

    init(seed: UInt64) { world = World(seed: seed) }

    struct Mistake: Error { var text: String }

    mutating func run(_ line: String) throws {
        let words = line.split(separator: " ").map(String.init)
        guard let first = words.first, !first.hasPrefix("#") else { return }
        switch first {
        case "node":
            let node = world.addNode(try word(words, 1))
            if words.count == 4 { node.masterName = words[3] }
            node.start()
        case "run": world.run(for: .milliseconds(try number(words, 1)))
        case "load": load(try node(try word(words, 1)), milliseconds: try number(words, 2))
        case "corrupt": world.corruptsOneIn = try number(words, 1)
        case "status": output += status()
        default: try run(try node(first), words)
        }
    }

    private func word(_ words: [String], _ index: Int) throws -> String {
        guard words.indices.contains(index) else {
            throw Mistake(text: "\(words): a word is missing")
        }
        return words[index]
    }

    private func number(_ words: [String], _ index: Int) throws -> Int {
        guard let number = Int(try word(words, index)) else {
            throw Mistake(text: "\(words): not a number")
        }
        return number
    }

    private func node(_ name: String) throws -> Node {
        guard let node = world.node(name) else { throw Mistake(text: "no node \(name)") }
        return node
    }

    private func run(_ node: Node, _ words: [String]) throws {
        switch try word(words, 1) {
        case "write":
            let groups = words.count == 6 ? try number(words, 5) : 1
            for index in 0..<(try number(words, 2)) {
                node.write(World.databases[index % 2], items: groups)
            }
        case "slaveof":
            if words.suffix(2) == ["no", "one"] {
                node.promote()
            } else {
                node.follow(try word(words, 2), force: words.last == "force")
            }
        case "detach": node.replica?.act(try word(words, 2), .detach)
        case "attach": node.replica?.act(try word(words, 2), .attach)
        case "copy": node.replica?.act(try word(words, 2), .copyAnew)
        case "kill": node.crash(isPowerLoss: false)
        case "power-loss": node.crash(isPowerLoss: true)
        case "start": node.start()
        case "isolate": node.setIsolated(true)
        case "heal": node.setIsolated(false)
        case "cut": for link in node.links { link.cut(halfOpen: words.last == "half-open") }
        case "purge": _ = node.master?.purge()
        case "drop-snapshots": node.master?.dropSnapshots()
        default: throw Mistake(text: "\(words): unknown verb")
        }
    }

    private func load(_ node: Node, milliseconds: Int) {
        var rest = milliseconds
        while rest > 0 {
            for database in World.databases {
                node.write(database, items: Int.random(in: 1...4, using: &world.random))
            }
            world.run(for: .milliseconds(min(rest, 20)))
            rest -= 20
        }
    }

    /// A line for each node and database; no numbers that depend on chance.
    func status() -> [String] {
        var lines: [String] = []
        for node in world.nodes {
            guard node.isUp else {
                lines.append("\(node.name): down")
                continue
            }
            guard let replica = node.replica else {
                lines.append("\(node.name): master")
                continue
            }
            for database in World.databases {
                let disk = node.disk(database)
                let equal =
                    disk.log.end == replica.master.disk(database).log.end
                    && disk.log.state == replica.master.disk(database).log.state
                let state = replica.machine.state(of: database).map(describe) ?? "?"
                lines.append(
                    "\(node.name) \(database): \(state), \(equal ? "equal" : "behind")"
                        + ", \(disk.copies) copies")
            }
        }
        return lines
    }

    private func describe(_ state: ReplicaSession.DatabaseState) -> String {
        guard case .broken(let reason) = state else { return "\(state)" }
        // Positions depend on chance: `N` stands for a number.
        var text = ""
        for character in "\(reason)" {
            if !character.isNumber {
                text.append(character)
            } else if text.last != "N" {
                text.append("N")
            }
        }
        return "broken: \(text)"
    }
}
