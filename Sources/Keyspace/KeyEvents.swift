public import PikaStorage
internal import Synchronization

/// A key that a transaction depends on (WATCH).
public final class WatchedKey: Sendable {
    /// Index of the database.
    public let database: Int
    /// The name.
    public let key: [UInt8]
    /// Whether the key was there, in any type, when the watch began.
    public let existed: Bool
    private let touched = Atomic<Bool>(false)
    private let events: KeyEvents

    init(_ events: KeyEvents, database: Int, key: [UInt8], existed: Bool) {
        self.events = events
        self.database = database
        self.key = key
        self.existed = existed
    }

    /// True once somebody wrote to the key; a write that failed afterwards counts, too.
    public var isTouched: Bool { touched.load(ordering: .acquiring) }

    /// Ends the watch.
    public func end() { events.remove(self) }

    /// True for the name of this key.
    public func isKey(_ name: Bytes) -> Bool { key.elementsEqual(name) }

    func touch() { touched.store(true, ordering: .releasing) }
}

/// A connection that waits until one of its keys gets elements (BLPOP and its kin).
///
/// It waits in the queue of each of its keys. A signal wakes the first waiter of a key, which tries
/// its command again; served or not, it tells so, and the next one gets its turn or everybody
/// goes on waiting.
public final class KeyWaiter: Sendable {
    /// Why a wait ended without elements.
    public enum Interruption: UInt8, Sendable {
        /// The time is over, or CLIENT UNBLOCK … TIMEOUT: the reply is null.
        case timeout = 1
        /// CLIENT UNBLOCK … ERROR: the reply is an error.
        case error = 2
    }

    private struct State {
        var wake: (@Sendable () -> Void)?
        var isWoken = false
        var interruption: Interruption?
    }

    /// The type whose elements it takes.
    public let kind: StoreKind
    /// Its keys.
    public let keys: [[UInt8]]
    /// How long it waits, from its making on; `nil` = for ever.
    public let timeoutNanoseconds: Int64?
    private let state = Mutex(State())
    private let events: KeyEvents

    init(_ events: KeyEvents, kind: StoreKind, keys: [[UInt8]], timeoutNanoseconds: Int64?) {
        self.events = events
        self.kind = kind
        self.keys = keys
        self.timeoutNanoseconds = timeoutNanoseconds
    }

    /// Calls `body` once, on any thread, when the command is to be tried again; at once if it is
    /// time already.
    public func whenWoken(_ body: @escaping @Sendable () -> Void) {
        let isDue = state.withLock { state -> Bool in
            guard !state.isWoken else {
                state.isWoken = false
                return true
            }
            state.wake = body
            return false
        }
        if isDue { body() }
    }

    /// Why the wait is over; `nil` while it is not.
    public var interruption: Interruption? { state.withLock { $0.interruption } }

    /// It waits no more; elements that are left are the next one's.
    public func end() { events.remove(self) }

    /// Has the command answer without elements.
    public func interrupt(_ reason: Interruption) {
        state.withLock { state in
            if state.interruption == nil { state.interruption = reason }
        }
        wake()
    }

    func wake() {
        let body = state.withLock { state -> (@Sendable () -> Void)? in
            defer { state.wake = nil }
            if state.wake == nil { state.isWoken = true }
            return state.wake
        }
        body?()
    }
}

/// Who wants to know about writes to single keys of a database: watches, waiters, and whoever is to
/// be told of keys whose time is over.
///
/// Costs the write path one load while there is nobody.
public final class KeyEvents: Sendable {
    private struct Waited: Hashable {
        var kind: StoreKind
        var key: [UInt8]
    }

    private struct Listeners {
        var watches: [[UInt8]: [WatchedKey]] = [:]
        var waiters: [Waited: [KeyWaiter]] = [:]
        var waiterCount = 0
        var watchCount = 0
        var remembersDeadlines = false
    }

    private let listeners = Mutex(Listeners())
    private let hasListeners = Atomic<Bool>(false)
    private let waiting = Atomic<Int>(0)
    private let deadlines = Mutex<DeadlineQueue?>(nil)
    private let hasDeadlines = Atomic<Bool>(false)
    private let itemObserver = Mutex<(@Sendable ([AppliedItem]) -> Void)?>(nil)
    private let hasItemObserver = Atomic<Bool>(false)

    /// True if a write has to be reported.
    @inline(__always) var isActive: Bool { hasListeners.load(ordering: .relaxed) }

    /// How many connections wait.
    public var waiterCount: Int { waiting.load(ordering: .relaxed) }

    private func update(_ listeners: Listeners) {
        waiting.store(listeners.waiterCount, ordering: .relaxed)
        hasListeners.store(
            listeners.waiterCount + listeners.watchCount > 0 || listeners.remembersDeadlines,
            ordering: .sequentiallyConsistent)
    }

    // MARK: Deadlines

    /// True while deadlines that are set are remembered.
    @inline(__always)
    public var remembersDeadlines: Bool { hasDeadlines.load(ordering: .relaxed) }

    /// Keys whose deadlines are remembered, and how many found no room.
    public var deadlineCounts: (remembered: Int, missed: UInt64) {
        deadlines.withLock { ($0?.count ?? 0, $0?.missedCount ?? 0) }
    }

    /// Begins to remember the deadlines that are set from now on, or forgets all.
    public func setRemembersDeadlines(_ remembers: Bool, now: Int64) {
        listeners.withLock { listeners in
            guard listeners.remembersDeadlines != remembers else { return }
            listeners.remembersDeadlines = remembers
            deadlines.withLock { $0 = remembers ? DeadlineQueue(now: now) : nil }
            hasDeadlines.store(remembers, ordering: .relaxed)
            update(listeners)
        }
    }

    /// Forgets all keys: the database is emptied.
    func forgetDeadlines() { deadlines.withLock { $0?.removeAll() } }

    /// Takes out remembered keys whose deadlines lie before `now`, `limit` of them at most.
    public func takeDue(now: Int64, limit: Int) -> [DeadlineQueue.Due] {
        deadlines.withLock { $0?.takeDue(now: now, limit: limit) } ?? []
    }

    /// Takes out a remembered key if its deadline lies before `now`.
    public func takeDue(_ key: Bytes, now: Int64) -> DeadlineQueue.Due? {
        deadlines.withLock { queue in
            guard queue != nil else { return nil }
            return queue?.takeDue(Array(key), now: now)
        }
    }

    func noteDeadline(
        _ effect: Effect, _ words: UnsafeBufferPointer<Bytes>, count: Int64
    ) {
        guard count > 0, words.count > 1 else { return }
        deadlines.withLock { queue in
            switch effect {
            case .pksetexat, .expireat:
                guard words.count > 2, let deadline = Numbers.integer(words[2]) else { return }
                if deadline > 0 {
                    queue?.set(Array(words[1]), deadline: deadline)
                } else {
                    queue?.remove(Array(words[1]))
                }
            case .set, .setnx, .getset, .delvx, .persist: queue?.remove(Array(words[1]))
            case .del, .unlink:
                for word in words.dropFirst() { queue?.remove(Array(word)) }
            default: break
            }
        }
    }

    // MARK: Items of a master

    /// True while somebody wants to hear of items that a replica applies.
    var reportsItems: Bool { hasItemObserver.load(ordering: .relaxed) }

    /// Names the closure that hears, on a replica, of the items that have been applied, in their
    /// order; nil = nobody.
    ///
    /// It is called under the commit lock, and must not wait.
    public func observeItems(_ observer: (@Sendable ([AppliedItem]) -> Void)?) {
        itemObserver.withLock { $0 = observer }
        hasItemObserver.store(observer != nil, ordering: .relaxed)
    }

    func report(_ items: [AppliedItem]) {
        let observer = itemObserver.withLock { $0 }
        observer?(items)
    }

    // MARK: Watches

    /// How many watches there are.
    public var watchedCount: Int { listeners.withLock { $0.watchCount } }

    func add(_ watch: WatchedKey) {
        listeners.withLock { listeners in
            listeners.watches[watch.key, default: []].append(watch)
            listeners.watchCount += 1
            update(listeners)
        }
    }

    func remove(_ watch: WatchedKey) {
        listeners.withLock { listeners in
            guard var list = listeners.watches[watch.key],
                let index = list.firstIndex(where: { $0 === watch })
            else { return }
            list.remove(at: index)
            listeners.watches[watch.key] = list.isEmpty ? nil : list
            listeners.watchCount -= 1
            update(listeners)
        }
    }

    /// All watched names.
    var watchedKeys: [[UInt8]] { listeners.withLock { Array($0.watches.keys) } }

    func touch(_ key: some Collection<UInt8>) {
        listeners.withLock { listeners in
            guard !listeners.watches.isEmpty else { return }
            for watch in listeners.watches[Array(key)] ?? [] { watch.touch() }
        }
    }

    /// Touches every watch: the whole content may be another.
    func touchAll() {
        listeners.withLock { listeners in
            for list in listeners.watches.values { for watch in list { watch.touch() } }
        }
    }

    // MARK: Waiters

    func add(_ waiter: KeyWaiter) {
        listeners.withLock { listeners in
            for key in Set(waiter.keys) {
                let waited = Waited(kind: waiter.kind, key: key)
                listeners.waiters[waited, default: []].append(waiter)
            }
            listeners.waiterCount += 1
            update(listeners)
        }
    }

    /// Ends a wait: elements that are left are the next one's.
    func remove(_ waiter: KeyWaiter) {
        let next = listeners.withLock { listeners -> [KeyWaiter] in
            var next: [KeyWaiter] = []
            var wasThere = false
            for key in Set(waiter.keys) {
                let waited = Waited(kind: waiter.kind, key: key)
                guard var list = listeners.waiters[waited],
                    let index = list.firstIndex(where: { $0 === waiter })
                else { continue }
                wasThere = true
                list.remove(at: index)
                listeners.waiters[waited] = list.isEmpty ? nil : list
                if let first = list.first { next.append(first) }
            }
            if wasThere { listeners.waiterCount -= 1 }
            update(listeners)
            return next
        }
        for waiter in next { waiter.wake() }
    }

    /// Wakes whoever waits longest for elements of each of these.
    func signal(_ signals: [KeySignal]) {
        let first = listeners.withLock { listeners in
            signals.compactMap {
                listeners.waiters[Waited(kind: $0.kind, key: $0.key)]?.first
            }
        }
        for waiter in first { waiter.wake() }
    }

    /// Wakes everybody: the commands see for themselves what has changed.
    func wakeAll() {
        let all = listeners.withLock { $0.waiters.values.flatMap { $0 } }
        for waiter in all { waiter.wake() }
    }
}

/// A key that got elements.
struct KeySignal {
    var kind: StoreKind
    var key: [UInt8]
}

extension KeyEvents {
    /// Reports an item about to be applied: touches watches; returns the key that got elements, if
    /// anybody may wait for it.
    func note(_ effect: Effect, _ words: UnsafeBufferPointer<Bytes>, count: Int64) -> KeySignal? {
        if remembersDeadlines { noteDeadline(effect, words, count: count) }
        switch effect {
        case .del, .unlink:
            if count > 0 { for word in words.dropFirst() { touch(word) } }
            return nil
        case .pkpatternmatchdel, .flushdb:
            touchAll()
            return nil
        case .sadd, .srem, .hdel, .zrem, .expireat, .persist:
            // Nothing is changed by what counts nothing.
            if count > 0, words.count > 1 { touch(words[1]) }
            return nil
        default:
            guard words.count > 1 else { return nil }
            touch(words[1])
        }
        guard waiterCount > 0 else { return nil }
        switch effect {
        case .lpush, .rpush, .lpushx, .rpushx, .linsert:
            return KeySignal(kind: .lists, key: Array(words[1]))
        case .zadd, .zincrby, .geoadd: return KeySignal(kind: .zsets, key: Array(words[1]))
        default: return nil
        }
    }
}

extension Database {
    /// Begins a watch; the caller owns the key's lock, so nobody is in the middle of writing it.
    public func watch(_ key: Bytes, existed: Bool) -> WatchedKey {
        let watch = WatchedKey(events, database: index, key: Array(key), existed: existed)
        events.add(watch)
        return watch
    }

    /// Begins a wait; the caller owns the keys' locks and found them without elements.
    public func wait(
        for keys: [[UInt8]], _ kind: StoreKind, timeoutNanoseconds: Int64?
    ) -> KeyWaiter {
        let waiter = KeyWaiter(
            events, kind: kind, keys: keys, timeoutNanoseconds: timeoutNanoseconds)
        events.add(waiter)
        return waiter
    }

    /// Touches the watched keys that are there: they are about to be removed.
    func touchExistingWatches() {
        let names = events.watchedKeys
        guard !names.isEmpty else { return }
        let keys = KeyOperations(makeReader())
        let now = self.now
        for name in names {
            let isThere = name.withUnsafeBytes { bytes in
                // What can't be read may be there.
                (try? keys.type(bytes, now: now) != nil) ?? true
            }
            if isThere { events.touch(name) }
        }
    }
}
