/// When keys of a database will die: deadlines that were set while somebody wants to hear of them.
///
/// Decides without I/O: time is an argument, and whether a key that is due really died is for its
/// owner to look up, since a deadline may have been moved or removed in ways not told here.
public struct DeadlineQueue: Sendable {
    /// Keys that are remembered at most.
    public static let keyLimit = 1_000_000
    /// Bytes of their names at most, all together.
    public static let byteLimit = 64 << 20

    /// A key whose deadline has passed.
    public struct Due: Equatable, Sendable {
        /// The name.
        public var key: [UInt8]
        /// The deadline in Unix seconds; the key lived through that second.
        public var deadline: Int64
    }

    private struct Place {
        var deadline: Int64
        /// The second whose keys it is among: the deadline, unless that was over when it was set.
        var second: Int64
    }

    private let keyLimit: Int
    private let byteLimit: Int
    private var places: [[UInt8]: Place] = [:]
    private var seconds: [Int64: Set<[UInt8]>] = [:]
    /// The first second whose keys have not all been taken.
    private var next: Int64
    private var byteCount = 0
    /// Keys that found no room, and of whose end nobody will hear.
    public private(set) var missedCount: UInt64 = 0

    /// Remembers nothing yet.
    ///
    /// - Parameters:
    ///   - now: Unix seconds.
    ///   - keyLimit: keys that are remembered at most.
    ///   - byteLimit: bytes of their names at most.
    public init(
        now: Int64, keyLimit: Int = DeadlineQueue.keyLimit,
        byteLimit: Int = DeadlineQueue.byteLimit
    ) {
        self.next = now
        self.keyLimit = keyLimit
        self.byteLimit = byteLimit
    }

    /// Keys that are remembered.
    public var count: Int { places.count }

    /// Remembers a key's deadline in place of an earlier one.
    public mutating func set(_ key: [UInt8], deadline: Int64) {
        remove(key)
        guard places.count < keyLimit, byteCount + key.count <= byteLimit else {
            missedCount += 1
            return
        }
        byteCount += key.count
        let second = max(deadline, next)
        places[key] = Place(deadline: deadline, second: second)
        seconds[second, default: []].insert(key)
    }

    /// Forgets a key: it is gone, or has no deadline any more.
    public mutating func remove(_ key: [UInt8]) {
        guard let place = places.removeValue(forKey: key) else { return }
        byteCount -= key.count
        seconds[place.second]?.remove(key)
        if seconds[place.second]?.isEmpty == true { seconds[place.second] = nil }
    }

    /// Forgets all keys.
    public mutating func removeAll() {
        places = [:]
        seconds = [:]
        byteCount = 0
    }

    /// Takes out keys whose deadlines lie before `now`, `limit` of them at most.
    public mutating func takeDue(now: Int64, limit: Int) -> [Due] {
        var due: [Due] = []
        while next < now, due.count < limit {
            guard let keys = seconds[next] else {
                skip(to: now)
                continue
            }
            for key in keys.prefix(limit - due.count) {
                guard let place = places[key] else { continue }
                due.append(Due(key: key, deadline: place.deadline))
                remove(key)
            }
        }
        return due
    }

    /// Takes out a key if its deadline lies before `now`.
    public mutating func takeDue(_ key: [UInt8], now: Int64) -> Due? {
        guard let place = places[key], place.deadline < now else { return nil }
        remove(key)
        return Due(key: key, deadline: place.deadline)
    }

    /// Seconds that are stepped over one by one; beyond that the earliest one is looked for.
    private static let stepLimit: Int64 = 64

    /// Goes on behind a second without keys.
    private mutating func skip(to now: Int64) {
        next += 1
        guard now - next > Self.stepLimit else { return }
        next = min(now, seconds.keys.min() ?? now)
    }
}
