/// What is to be done about a unit, or about its part for one database of the target.
public enum UnitRoute: Sendable, Equatable {
    /// Nothing: all of it is in the target, or in values that were read from the source later.
    case done
    /// The executor carries it out while the other workers of its keys rest.
    case execute(executor: Int, workers: Set<Int>)
    /// These keys of the source are read anew, the executor's last: its marker says that all is done.
    case refresh([DatabaseKey], executor: Int, workers: Set<Int>)
}

/// Decides order and exactly-once for units of the stream, without I/O.
///
/// A key has one worker. A unit has one *executor*, the first of its keys' workers, the same in
/// every run. Two rules hold for whoever carries the decisions out:
///
/// - A worker's marker is behind a unit only if all that the unit does to this worker's keys is in
///   the target; the executor's marker only if that is so for all workers' keys.
/// - A key that was read at position M has everything up to M; its marker tells M as the *horizon*
///   until the worker is past it.
///
/// So the executor's marker alone tells that a unit is done. Where it does not, and another worker's
/// marker or horizon is behind the unit, parts of it may be in the target: its keys are read.
public struct UnitRouter: Sendable {
    /// Keys that were read ahead of the stream are looked through when there are this many.
    static let maxSkips = 10_000

    private let filter: KeyFilter
    /// Number of workers.
    public let workers: Int
    /// The target has a marker for each slot, not for each worker.
    public let isSharded: Bool
    /// The workers' markers as an earlier run left them, by the target's database and worker.
    public private(set) var markers: [Int: [Int: Marker]]
    /// How many units of each executor, the first behind its marker, may be in the target or not.
    private var doubts: [Int]
    /// Up to where keys were read from the source.
    private var skips: [DatabaseKey: SourcePosition] = [:]
    /// They are looked through when there are more.
    private var skipLimit = Self.maxSkips
    /// The history that a Redis's stream is in, by shard; 0 outside of a cluster.
    private var histories: [Int: String] = [:]
    /// Those that the streams have left; no two servers make the same id.
    private var leftHistories: Set<String> = []
    /// The highest of them by worker.
    private var horizons: [Int: SourcePosition] = [:]

    /// A router at a run's beginning.
    public init(
        filter: KeyFilter, workers: Int, markers: [Int: [Int: Marker]] = [:],
        doubtfulUnits: Int = 0, isSharded: Bool = false
    ) {
        self.isSharded = isSharded
        self.filter = filter
        self.workers = workers
        self.markers = markers
        let lanes = isSharded ? SlotTags.slotCount : workers
        self.doubts = Array(repeating: doubtfulUnits, count: lanes)
        for marker in markers.values.joined() {
            guard let horizon = marker.value.horizon else { continue }
            self.horizons[marker.key] = self.horizons[marker.key]?.merged(horizon) ?? horizon
        }
    }

    /// What has a marker of its own for a key of the target: a worker, or a slot of a sharded target.
    public func lane(_ key: DatabaseKey) -> Int {
        self.isSharded
            ? KeyHash.slot(key.key)
            : KeyHash.worker(database: key.database, key: key.key, workers: self.workers)
    }

    /// The worker of a lane.
    public func worker(lane: Int) -> Int { lane % self.workers }

    /// The worker of a key of the target.
    public func worker(_ key: DatabaseKey) -> Int { self.worker(lane: self.lane(key)) }

    /// Routes the part of a unit that goes to one database of the target.
    ///
    /// - Parameters:
    ///   - sources: The source's keys; those that the filter leaves out are left out.
    ///   - database: The source's database.
    ///   - mustRefresh: The unit can't be carried out as it is.
    public mutating func route(
        _ sources: [DatabaseKey], end: SourcePosition, database: Int, mustRefresh: Bool
    ) -> UnitRoute {
        var targets: [DatabaseKey] = []
        var uncovered: [DatabaseKey] = []
        self.enter(end)
        for source in sources {
            guard let target = self.filter.target(source) else { continue }
            targets.append(target)
            if !self.isCovered(source, end) { uncovered.append(source) }
        }
        guard let place = targets.first?.database else { return .done }
        let workers = Set(targets.map { self.lane($0) })
        let executor = workers.min() ?? 0
        if self.markers[place]?[executor]?.position.covers(end, database: database) == true {
            return .done
        }
        if uncovered.isEmpty, workers.count == 1 { return .done }
        var isSuspect = self.isSuspect(place, workers, end, database)
        // What was read in the earlier run and left out then is read or left out now: it does not
        // count among those that were sent.
        if !isSuspect, self.doubts[executor] > 0 {
            self.doubts[executor] -= 1
            isSuspect = true
        }
        if mustRefresh || isSuspect || uncovered.count < targets.count {
            return .refresh(uncovered, executor: executor, workers: workers)
        }
        return .execute(executor: executor, workers: workers)
    }

    private func isCovered(_ source: DatabaseKey, _ end: SourcePosition) -> Bool {
        guard !self.skips.isEmpty, let read = self.skips[source] else { return false }
        if let place = read.stream, let unit = end.stream, place.shard == unit.shard,
            !place.place.isHistory(of: unit.place)
        {
            // The source has gone over to a history that the stream has not reached: all that is left
            // of this one came before.
            return true
        }
        return read.covers(end, database: source.database)
    }

    /// Notes which history the stream is in.
    private mutating func enter(_ position: SourcePosition) {
        guard let (shard, place) = position.stream,
            self.histories[shard] != place.replicationID
        else { return }
        if let left = self.histories[shard], !left.isEmpty { self.leftHistories.insert(left) }
        self.histories[shard] = place.replicationID
        self.leftHistories.remove(place.replicationID)
    }

    /// Whether a part of a unit may be in the target: it was read, not carried out.
    private func isSuspect(
        _ place: Int, _ workers: Set<Int>, _ end: SourcePosition, _ database: Int
    ) -> Bool {
        guard !self.markers.isEmpty else { return false }
        return workers.contains { worker in
            if self.markers[place]?[worker]?.position.covers(end, database: database) == true {
                return true
            }
            return self.markers.values.contains { markers in
                markers[worker]?.horizon?.mayHold(end, database: database) ?? false
            }
        }
    }

    /// A key was read at a position, and goes to its worker now; returns the worker's horizon.
    public mutating func read(
        _ source: DatabaseKey, worker: Int, at position: SourcePosition
    ) -> SourcePosition {
        if let place = position.stream?.place, self.leftHistories.contains(place.replicationID) {
            // Of a server that is not followed any more: what comes in the stream must be carried out.
            self.skips[source] = nil
        } else {
            self.skips[source] = position
        }
        let horizon = self.horizons[worker]?.merged(position) ?? position
        self.horizons[worker] = horizon
        return horizon
    }

    /// What a lane's marker tells behind a unit: the unit's end, and of all other logs of the source
    /// what the earlier run's marker told.
    ///
    /// Each log goes on from the checkpoint for itself: at a unit of one, another may still be before
    /// what the lane has had of it. A marker that forgot that would have it carried out twice after
    /// the next kill.
    ///
    /// Of a history that this log has left it tells nothing, however high its offsets are.
    public func mark(_ end: SourcePosition, place: Int, lane: Int) -> SourcePosition {
        guard let known = self.markers[place]?[lane]?.position else { return end }
        guard let (shard, unit) = end.stream else { return end.merged(known) }
        switch known {
        case .redis(let read): return read.isHistory(of: unit) ? end.merged(known) : end
        case .cluster(var places):
            if places.shards[shard]?.isHistory(of: unit) == false { places.shards[shard] = nil }
            places.shard = shard
            return end.merged(.cluster(places))
        case .pika, .file: return end.merged(known)
        }
    }

    /// Forgets what the stream has passed.
    public mutating func passed(_ end: SourcePosition) {
        guard self.skips.count > self.skipLimit else { return }
        self.skips = self.skips.filter { key, read in !end.covers(read, database: key.database) }
        // Those that are far ahead are not looked through at each unit.
        self.skipLimit = max(Self.maxSkips, 2 * self.skips.count)
    }

    /// The stream goes on under another name.
    ///
    /// - Returns: Keys that were read under the old one behind the place where the new one begins: what
    ///   was read there is not a part of this history, so they are to be read anew.
    public mutating func renamed(_ change: IdentityChange) -> [DatabaseKey] {
        guard let (shard, old) = change.old.stream, let new = change.new.stream?.place,
            !old.isHistory(of: new)
        else { return [] }
        self.enter(change.old)
        self.enter(change.new)
        var lost: [DatabaseKey] = []
        self.skips = self.skips.filter { key, read in
            guard let read = read.stream, read.shard == shard, read.place.isHistory(of: old) else {
                return true
            }
            if read.place.offset > new.offset { lost.append(key) }
            return false
        }
        return lost
    }

    /// Whether an earlier run has emptied a database of the target for the unit that ends there.
    public func isEmptied(_ place: Int, end: SourcePosition, database: Int) -> Bool {
        guard let markers = self.markers[place], !markers.isEmpty,
            !self.isSharded || markers.count == SlotTags.slotCount
        else { return false }
        return markers.values.allSatisfy { $0.position.covers(end, database: database) }
    }

    /// Databases of the target were emptied, with all that was read into them.
    public mutating func emptied(_ places: [Int]) {
        for place in places { self.markers[place] = nil }
        let filter = self.filter
        self.skips = self.skips.filter { key, _ in
            filter.target(database: key.database).map { !places.contains($0) } ?? true
        }
    }

    /// A copy begins: what was known belongs to another history, or comes again with the copy.
    ///
    /// The copy of one shard of a cluster leaves alone what is known of the others: their streams go
    /// on, and what was read of their keys counts.
    public mutating func restart(_ position: SourcePosition) {
        self.enter(position)
        guard case .cluster(let place) = position else {
            let (histories, left) = (self.histories, self.leftHistories)
            self = UnitRouter(
                filter: self.filter, workers: self.workers, isSharded: self.isSharded)
            (self.histories, self.leftHistories) = (histories, left)
            return
        }
        func rest(_ known: SourcePosition) -> SourcePosition {
            guard case .cluster(var known) = known else { return known }
            known.shards[place.shard] = nil
            return .cluster(known)
        }
        self.skips = self.skips.filter {
            if case .cluster(let read) = $0.value { read.shard != place.shard } else { true }
        }
        self.horizons = self.horizons.mapValues(rest)
        self.markers = self.markers.mapValues { markers in
            markers.mapValues {
                Marker(epoch: $0.epoch, position: rest($0.position), horizon: $0.horizon.map(rest))
            }
        }
    }
}
