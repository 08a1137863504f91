internal import MigrateCore
internal import RedisSync
internal import Synchronization

/// The markers' values as this run left them, by slot; each slot has one worker that writes it.
final class SlotLedger: Sendable {
    private let state: Mutex<(base: [UInt8], others: [Int: [UInt8]])>
    private let horizons = Mutex<[Int: SourcePosition]>([:])

    init() { self.state = Mutex(([], [:])) }

    subscript(_ slot: Int) -> [UInt8] {
        get { self.state.withLock { $0.others[slot] ?? $0.base } }
        set { self.state.withLock { $0.others[slot] = newValue } }
    }

    /// All slots have this value.
    func reset(to base: [UInt8]) {
        self.state.withLock { $0 = (base, [:]) }
        self.horizons.withLock { $0 = [:] }
    }

    /// Up to where keys of a slot were read from the source, until its units are past that.
    func horizon(_ unit: SlotUnits) -> SourcePosition? {
        self.horizons.withLock { horizons in
            if let horizon = unit.horizon {
                horizons[unit.slot] = horizon
            } else if let horizon = horizons[unit.slot], unit.end.coversAll(horizon) {
                horizons[unit.slot] = nil
            }
            return horizons[unit.slot]
        }
    }

    /// Slots with a value of their own.
    var slots: [Int] { self.state.withLock { $0.others.keys.sorted() } }
}

/// What the tool keeps in a Redis Cluster: a lock, a marker in every slot, and in a slot of every
/// master the last checkpoint.
struct ClusterMemory: TargetMemory {
    /// Names in one call of a script.
    private static let namesPerCall = 1_024
    /// How often a pass over all nodes is begun again because slots moved.
    private static let maxPasses = 100

    let server: TargetServer
    let client: ClusterClient
    let ledger: SlotLedger
    var epoch: UInt64 = 0

    private var job: String { self.server.job }

    /// Writes each marker anew with this run's number, and answers with what it was.
    private static let takeOver = """
        local out = {}
        for i = 2, #ARGV do
          local old = redis.call('GET', ARGV[i]) or ''
          redis.call('SET', ARGV[i], ARGV[1] .. string.sub(old, 10))
          out[#out + 1] = old
        end
        return out
        """
    /// Answers with the values of names.
    private static let readAll = """
        local out = {}
        for i = 1, #ARGV do out[#out + 1] = redis.call('GET', ARGV[i]) or '' end
        return out
        """
    /// Empties a node; pairs of names and values are there behind it.
    private static let flush = """
        for i = 1, #ARGV, 2 do
          local tagged = string.find(ARGV[i], '{', 1, true)
          if tagged and type(redis.pcall('EXISTS', ARGV[i] .. '?')) == 'table' then
            return redis.error_reply('TRYAGAIN a slot is on the move')
          end
        end
        redis.call('FLUSHDB')
        for i = 1, #ARGV, 2 do redis.call('SET', ARGV[i], ARGV[i + 1]) end
        return 1
        """

    // MARK: - Lock

    func lockEpoch() async throws(RunError) -> UInt64? {
        let key = Marker.lockKey(job: self.job)
        let reply = try await self.client.send(
            slot: KeyHash.slot(key), [Array("GET".utf8), key])
        if case .null = reply { return nil }
        guard let text = reply.text else { throw TargetServer.error(reply, "GET") }
        return UInt64(text)
    }

    func lock(epoch: UInt64) async throws(RunError) {
        let key = Marker.lockKey(job: self.job)
        try await self.set(KeyHash.slot(key), key, Array("\(epoch)".utf8))
        let fence = SlotMarker.fence(epoch: epoch)
        let old = try await self.everySlot(Self.takeOver, before: [fence]) {
            SlotMarker.key(job: self.job, slot: $0)
        }
        self.ledger.reset(to: fence)
        for (slot, value) in old where value.count > SlotMarker.fenceBytes {
            self.ledger[slot] = SlotMarker.fenced(value, epoch: epoch)
        }
    }

    private func set(_ slot: Int, _ key: [UInt8], _ value: [UInt8]) async throws(RunError) {
        let reply = try await self.client.send(slot: slot, [Array("SET".utf8), key, value])
        if reply.failure != nil { throw TargetServer.error(reply, "SET") }
    }

    /// Calls a script with a name for each slot on the node that serves it.
    private func everySlot(
        _ script: String, before: [[UInt8]], _ name: (Int) -> [UInt8]
    ) async throws(RunError) -> [Int: [UInt8]] {
        var found: [Int: [UInt8]] = [:]
        var missing = Array(0..<SlotTags.slotCount)
        let head = [Array("EVAL".utf8), Array(script.utf8), Array("0".utf8)] + before
        for _ in 0..<Self.maxPasses {
            let topology = self.client.topology
            var again: [Int] = []
            for (id, slots) in Dictionary(grouping: missing, by: { topology.owner($0)?.id }) {
                guard let node = id.flatMap({ topology.node($0) }) else {
                    again += slots
                    continue
                }
                for start in stride(from: 0, to: slots.count, by: Self.namesPerCall) {
                    let part = slots[start..<min(slots.count, start + Self.namesPerCall)]
                    let reply = try await self.client.send(node, [head + part.map(name)]).first
                    guard let values = reply?.elements, values.count == part.count else {
                        try Self.check(reply ?? .null)
                        again += part
                        continue
                    }
                    for (slot, value) in zip(part, values) { found[slot] = value.bytes ?? [] }
                }
            }
            if again.isEmpty { return found }
            missing = again
            await ClusterClient.pause()
            if Task.isCancelled { throw .stopped }
            try await self.client.refresh()
        }
        throw .targetLost("\(missing.count) slots of the cluster do not come to rest")
    }

    /// Passes errors by that moving slots bring.
    private static func check(_ reply: RedisReply) throws(RunError) {
        guard let failure = reply.failure else { return }
        if ClusterClient.isPassing(failure) || failure.contains("non local key") { return }
        throw TargetServer.error(reply, "EVAL")
    }

    // MARK: - Markers

    func markers(
        workers: Int, databases: [Int]
    ) async throws(RunError) -> [Int: [Int: Marker]] {
        var found: [Int: Marker] = [:]
        for slot in self.ledger.slots {
            do throws(StateCodecError) {
                found[slot] = try SlotMarker.marker(self.ledger[slot])
            } catch { throw .history("the target's marker of slot \(slot) is damaged") }
        }
        return found.isEmpty ? [:] : [0: found]
    }

    func removeMarkers(workers: Int, databases: [Int]) async throws(RunError) {
        let fence = SlotMarker.fence(epoch: self.epoch)
        for slot in self.ledger.slots {
            try await self.set(slot, SlotMarker.key(job: self.job, slot: slot), fence)
        }
        self.ledger.reset(to: fence)
    }

    func keepLow(_ position: SourcePosition, epoch: UInt64) async throws(RunError) {
        let value = Marker(epoch: epoch, position: position, horizon: nil).encode()
        for node in self.client.topology.masters {
            guard let slot = node.slots.first?.lowerBound else { continue }
            try await self.set(slot, SlotMarker.lowKey(job: self.job, slot: slot), value)
        }
    }

    /// The oldest of what the masters have: one that lost its last writes has an older one.
    func low() async throws(RunError) -> SourcePosition? {
        let values = try await self.everySlot(Self.readAll, before: []) {
            SlotMarker.lowKey(job: self.job, slot: $0)
        }
        var newest: [String: SourcePosition] = [:]
        for (slot, value) in values where !value.isEmpty {
            guard let node = self.client.topology.owner(slot),
                let position = (try? Marker(decoding: value))?.position
            else { continue }
            if newest[node.id]?.reaches(position) != true { newest[node.id] = position }
        }
        var low: SourcePosition?
        for position in newest.values where low?.reaches(position) ?? true { low = position }
        return low
    }

    // MARK: - Keys

    /// No two-way job writes a cluster.
    func hasCopyMark() async throws(RunError) -> Bool { false }

    func scan(
        database: Int, _ body: ([[UInt8]]) async throws(RunError) -> Bool
    ) async throws(RunError) {
        for node in self.client.topology.masters {
            let client = self.client
            let wantsMore = try await TargetServer.scan(body) { words async throws(RunError) in
                try await client.send(node, [words]).first ?? .null
            }
            guard wantsMore else { return }
        }
    }

    func flush(database: Int) async throws(RunError) {
        for node in self.client.topology.masters {
            let reply = try await self.client.send(node, [[Array("FLUSHDB".utf8)]]).first ?? .null
            if reply.failure != nil { throw TargetServer.error(reply, "FLUSHDB") }
        }
    }

    /// Each node is emptied and has its markers again at once; all of them are not.
    func empty(database: Int, workers: Int, end: SourcePosition) async throws(RunError) {
        let marker = Marker(epoch: self.epoch, position: end, horizon: nil).encode()
        let lock = Marker.lockKey(job: self.job)
        try await self.client.waitUntilServed()
        for node in self.client.topology.masters {
            var words = [Array("EVAL".utf8), Array(Self.flush.utf8), Array("0".utf8)]
            for slot in node.slots.joined() {
                words += [SlotMarker.key(job: self.job, slot: slot), marker]
                if slot == KeyHash.slot(lock) { words += [lock, Array("\(self.epoch)".utf8)] }
            }
            if let slot = node.slots.first?.lowerBound {
                words += [SlotMarker.lowKey(job: self.job, slot: slot), marker]
            }
            let reply = try await self.client.send(node, [words]).first ?? .null
            if let failure = reply.failure {
                // Not all of it is done: the next try begins with the units before it.
                throw .targetLost("a node of the cluster could not be emptied: \(failure)")
            }
        }
        self.ledger.reset(to: marker)
    }
}
