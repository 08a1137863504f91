import ReplicationCore
import SyncProtocol

/// A master, two replicas and a replica of a replica; faults by chance; then peace, in which all
/// must become equal.
struct Storm {
    static let steps = 30
    static let peaceSeconds = 200

    private(set) var script: Script
    private var history: [String] = []

    init(seed: UInt64) { script = Script(seed: seed) }

    private var world: World { script.world }

    private func chance(_ range: ClosedRange<Int>) -> Int {
        Int.random(in: range, using: &world.random)
    }

    private mutating func act(_ line: String) {
        history.append("\(world.seconds) \(line)")
        do {
            try script.run(line)
        } catch {
            world.fault("\(line): \(error)")
        }
    }

    mutating func run() {
        for line in ["node m", "m write 200", "node a slaveof m", "node b slaveof m"] { act(line) }
        act("node c slaveof \(world.random.oneIn(2) ? "a" : "m")")
        if world.random.oneIn(3) { act("corrupt \(chance(20...200))") }
        for _ in 0..<Self.steps {
            fault()
            act("load m \(chance(20...1_500))")
            if !world.faults.isEmpty { break }
        }
        makePeace()
        if !world.faults.isEmpty { world.fault("after\n\(history.joined(separator: "\n"))") }
    }

    private mutating func fault() {
        let name = ["m", "a", "b", "c"][chance(0...3)]
        switch chance(0...13) {
        case 0: act("\(name) kill")
        case 1: act("\(name) power-loss")
        case 2, 3, 4: for node in world.nodes where !node.isUp { act("\(node.name) start") }
        case 5: act("\(name) cut")
        case 6: act("\(name) cut half-open")
        case 7: act("\(name) isolate")
        case 8: for node in world.nodes where node.isIsolated { act("\(node.name) heal") }
        case 9: act("m purge")
        case 10: if world.random.oneIn(3) { act("m drop-snapshots") }
        case 11:
            if name != "m" { act("\(name) \(["detach", "attach", "copy"][chance(0...2)]) db0") }
        case 12: act("run \(chance(100...30_000))")
        default: act("m write 20 groups of \(chance(1...40))")
        }
    }

    private mutating func makePeace() {
        act("corrupt 0")
        for node in world.nodes {
            act("\(node.name) heal")
            act("\(node.name) start")
        }
        act("run 1000")
        for node in world.nodes where node.isReplica {
            for database in World.databases { act("\(node.name) attach \(database)") }
        }
        act("m write 20")
        for _ in 0..<Self.peaceSeconds {
            world.run(for: .seconds(1))
            if isAllEqual || !world.faults.isEmpty { return }
        }
        for line in script.status() { world.fault("not equal: \(line)") }
        for node in world.nodes {
            for report in node.replica?.reports.suffix(8) ?? [] {
                world.fault("\(node.name) says \(report)")
            }
        }
    }

    private var isAllEqual: Bool {
        guard let master = world.node("m") else { return false }
        return world.nodes.allSatisfy { node in
            World.databases.allSatisfy { database in
                node.disk(database).log.end == master.disk(database).log.end
                    && node.disk(database).log.state == master.disk(database).log.state
            }
        }
    }
}
