import NIOCore
import ReplicationCore
import SyncProtocol

/// A small generator: the same numbers for the same seed, everywhere.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }

    mutating func milliseconds(_ range: ClosedRange<Int>) -> Duration {
        .milliseconds(Int.random(in: range, using: &self))
    }

    /// True once in `count` times.
    mutating func oneIn(_ count: Int) -> Bool { Int.random(in: 0..<count, using: &self) == 0 }
}

/// Time, chance, nodes and the network between them: one thread, one seed, no clock.
final class World {
    static let databases = ["db0", "db1"]
    /// What one event may take of simulated time when it repeats itself for ever.
    static let maxEvents = 3_000_000

    private(set) var now = MonotonicInstant(nanoseconds: 1_000_000_000)
    var random: SplitMix
    private(set) var nodes: [Node] = []
    /// Broken promises; empty at the end of a good run.
    private(set) var faults: [String] = []
    /// State of the stores after the log whose running digest is the key: what a master made of it.
    var reference: [UInt64: UInt64] = [:]
    /// One in so many chunks of files arrives with a wrong bit; 0 = none.
    var corruptsOneIn = 0
    private var queue = EventQueue()
    private(set) var eventCount = 0
    private var nextLinkID = 0

    init(seed: UInt64) { random = SplitMix(state: seed) }

    func addNode(_ name: String) -> Node {
        let node = Node(name: name, index: nodes.count, world: self)
        nodes.append(node)
        return node
    }

    func node(_ name: String) -> Node? { nodes.first { $0.name == name } }

    func node(at address: ReplicaAddress) -> Node? { nodes.first { $0.address == address } }

    func fault(_ text: String) {
        if faults.count < 60 { faults.append("\(seconds): \(text)") }
    }

    /// Seconds since the start, for texts.
    var seconds: String {
        let tenths = (now.nanoseconds - 1_000_000_000) / 100_000_000
        return "\(tenths / 10).\(tenths % 10)"
    }

    func after(_ delay: Duration, _ action: @escaping () -> Void) {
        queue.push(at: now + delay, action)
    }

    func run(for duration: Duration) {
        let end = now + duration
        while let next = queue.nextTime, next <= end {
            guard let (time, action) = queue.pop() else { break }
            now = max(now, time)
            eventCount += 1
            if eventCount > Self.maxEvents {
                fault("more than \(Self.maxEvents) events: somebody repeats himself")
                return
            }
            action()
        }
        now = max(now, end)
    }

    /// Connects; the answer comes later: the link, or nil.
    func connect(
        from client: Node, to server: Node?, service: Service,
        _ answer: @escaping (Link?) -> Void
    ) {
        let generation = client.generation
        after(random.milliseconds(1...20)) { [self] in
            guard client.generation == generation else { return }
            guard let server, server.isUp, !server.isIsolated, !client.isIsolated else {
                after(random.milliseconds(10...1_000)) {
                    if client.generation == generation { answer(nil) }
                }
                return
            }
            nextLinkID += 1
            let link = Link(id: nextLinkID, world: self, client: client, server: server)
            client.links.append(link)
            server.links.append(link)
            server.accept(link, service)
            answer(link)
        }
    }
}

/// What a connection is for.
enum Service {
    case replication
    case files
}

/// Events by time, then by order of arrival.
struct EventQueue {
    private struct Entry {
        var time: MonotonicInstant
        var sequence: UInt64
        var action: () -> Void

        static func < (left: Entry, right: Entry) -> Bool {
            left.time != right.time ? left.time < right.time : left.sequence < right.sequence
        }
    }

    private var heap: [Entry] = []
    private var sequence: UInt64 = 0

    var nextTime: MonotonicInstant? { heap.first?.time }

    mutating func push(at time: MonotonicInstant, _ action: @escaping () -> Void) {
        sequence += 1
        heap.append(Entry(time: time, sequence: sequence, action: action))
        var child = heap.count - 1
        while child > 0, heap[child] < heap[(child - 1) / 2] {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func pop() -> (MonotonicInstant, () -> Void)? {
        guard let first = heap.first, let last = heap.popLast() else { return nil }
        guard !heap.isEmpty else { return (first.time, first.action) }
        heap[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < heap.count && heap[child] < heap[least] {
                least = child
            }
            guard least != parent else { break }
            heap.swapAt(least, parent)
            parent = least
        }
        return (first.time, first.action)
    }
}
