import Keyspace
import PikaStorage
import Synchronization

/// What a command has to tell about its keys (`notify-keyspace-events`).
///
/// While nobody is to be told it costs a command one load, and each of its writes a look at
/// `classes`.
struct Notices {
    /// The classes that are published; empty while nobody subscribes to anything.
    var classes: EventClasses = []
    /// How many messages waited before the command.
    fileprivate var mark = 0
    /// Keys of the command that were missing before it, while class n is on.
    fileprivate var absent: Set<[UInt8]> = []

    /// True if anything is to be told.
    @inline(__always) var isOn: Bool { !self.classes.isEmpty }
}

// MARK: - In handlers

extension Execution {
    /// Tells, once the writes so far are committed, what happened to a key.
    @inline(__always)
    mutating func notify(_ event: KeyspaceEvent, _ key: Bytes) {
        if self.notices.isOn { self.note(event, key) }
    }

    /// As `notify`, and that the key is gone, if it is: for what takes elements away.
    @inline(__always)
    mutating func notifyTaken(_ event: KeyspaceEvent, _ key: Bytes) throws {
        if self.notices.isOn {
            self.note(event, key)
            if try self.keys.type(key, now: self.now) == nil { self.note(.del, key) }
        }
    }

    /// Tells that a key is new, even if another one of that name was there before the command.
    mutating func notifyNew(_ key: Bytes) {
        guard self.notices.classes.contains(.new) else { return }
        self.notices.absent.remove(Array(key))
        self.note(.new, key)
    }

    @inline(never)
    private mutating func note(_ event: KeyspaceEvent, _ key: Bytes) {
        if !self.notices.absent.isEmpty, self.notices.absent.remove(Array(key)) != nil {
            self.note(.new, key)
        }
        guard self.notices.classes.contains(event.eventClass) else { return }
        self.messages.append(
            .event(event, database: self.group.database.index, key: Array(key)))
    }

    /// Commits the group, and what waits for that goes with it.
    mutating func commitGroup() -> CommitOutcome {
        if !self.messages.isEmpty, self.group.hasWrites {
            let messages = self.messages
            let environment = self.environment
            self.messages = []
            self.group.whenCommitted = { for message in messages { environment.send(message) } }
        }
        return self.group.commit()
    }

    /// Sends everything that waited for a commit.
    mutating func sendMessages() {
        let messages = self.messages
        self.messages = []
        for message in messages { self.environment.send(message) }
    }
}

// MARK: - Around handlers

extension CommandProcessor {
    /// In front of a handler.
    @inline(__always)
    func beginNotices(_ row: UnsafePointer<HotRow>) throws {
        let bits = self.environment.eventClasses.load(ordering: .relaxed)
        if bits != 0 || self.execution.pointee.notices.isOn {
            try self.prepareNotices(row, EventClasses(rawValue: bits))
        }
    }

    /// Looks at what can't be seen behind the handler: which keys are missing or dead before it.
    @inline(never)
    private func prepareNotices(
        _ row: UnsafePointer<HotRow>, _ classes: EventClasses
    ) throws {
        let x = self.execution
        x.pointee.notices = Notices()
        let broker = self.environment.broker
        guard !classes.isEmpty, broker.hasSubscribers else { return }
        x.pointee.notices.classes = classes
        if classes.contains(.expired), x.pointee.group.database.events.remembersDeadlines {
            for key in row.pointee.keys.list(in: x.pointee.arguments) { try self.noteIfDead(key) }
        }
        x.pointee.notices.mark = x.pointee.messages.count
        if classes.contains(.miss), row.pointee.reads != .nothing {
            for key in row.pointee.reads.keys(row.pointee.keys, x.pointee.arguments)
            where try x.pointee.keys.type(key, now: x.pointee.now) == nil {
                x.pointee.notify(.keymiss, key)
            }
        }
        guard classes.contains(.new), row.pointee.flags.contains(.write) else { return }
        for key in row.pointee.keys.list(in: x.pointee.arguments)
        where try x.pointee.keys.type(key, now: x.pointee.now) == nil {
            x.pointee.notices.absent.insert(Array(key))
        }
    }

    /// Behind a handler: what waits for no commit is told now.
    @inline(__always)
    func endNotices() {
        if self.execution.pointee.notices.isOn { self.sendUnlessPending() }
    }

    @inline(never)
    private func sendUnlessPending() {
        let x = self.execution
        guard !x.pointee.messages.isEmpty, !x.pointee.isInTransaction,
            !x.pointee.group.hasWrites
        else { return }
        x.pointee.sendMessages()
    }

    /// The handler refused the command: it has nothing to tell.
    func dropNotices() {
        let x = self.execution
        let mark = x.pointee.notices.mark
        guard x.pointee.notices.isOn, mark < x.pointee.messages.count else { return }
        x.pointee.messages.removeSubrange(mark...)
    }

    /// Messages that went with no group: there was nothing to commit, or it is to be done again.
    func sendMessages(_ outcome: CommitOutcome) {
        guard !self.execution.pointee.messages.isEmpty else { return }
        switch outcome {
        case .nothing, .committed, .stalled: self.execution.pointee.sendMessages()
        case .busy, .prepareAgain, .failed: self.execution.pointee.messages = []
        }
    }
}

// MARK: - Keys whose time is over

extension CommandProcessor {
    /// Keys that are looked up between two looks at the clock.
    private static let dueLimit = 1000

    /// A command is about to touch a key: if it is dead by now that is told first.
    private func noteIfDead(_ key: Bytes) throws {
        let x = self.execution
        let database = x.pointee.group.database
        guard let due = database.events.takeDue(key, now: x.pointee.now),
            try Self.isDead(due, x.pointee.group.transactions, now: x.pointee.now)
        else { return }
        self.environment.publish(.expired, database: database.index, key: key)
    }

    /// Whether a key died of its deadline: its row is there, and nothing under its name lives.
    ///
    /// That a compaction took the row in the moment since the deadline is not told apart from a key
    /// that was deleted.
    private static func isDead(
        _ due: DeadlineQueue.Due, _ transactions: TransactionSet, now: Int64
    ) throws -> Bool {
        try due.key.withUnsafeBytes { key in
            var hadDeadline = false
            for kind in StoreKind.allCases {
                if try transactions[kind].keyExpiry(key, now: now) != nil { return false }
                // It lived through the second of its deadline.
                let expiry = try transactions[kind].keyExpiry(key, now: due.deadline)
                if let expiry, Int64(expiry) == due.deadline { hadDeadline = true }
            }
            return hadDeadline
        }
    }

    /// Tells of all keys whose deadlines have passed; on a thread of the pool.
    func publishExpired() {
        self.entrance.enterBlocking()
        defer { self.entrance.leave() }
        for database in self.environment.keyspace.databases {
            while true {
                let now = database.now
                let due = database.events.takeDue(now: now, limit: Self.dueLimit)
                guard !due.isEmpty else { break }
                let reader = database.makeReader()
                for key in due where (try? Self.isDead(key, reader, now: now)) ?? false {
                    key.key.withUnsafeBytes {
                        self.environment.publish(.expired, database: database.index, key: $0)
                    }
                }
            }
        }
    }
}

extension CommandEnvironment {
    /// Has these events published from now on (`notify-keyspace-events`).
    ///
    /// Deadlines are remembered from when class x is switched on until it is switched off.
    public func setEventClasses(_ classes: EventClasses) {
        let isOn = !classes.isDisjoint(with: .forms)
        self.eventClasses.store(isOn ? classes.rawValue : 0, ordering: .relaxed)
        let remembers = isOn && classes.contains(.expired)
        for database in self.keyspace.databases {
            let index = database.index
            database.events.setRemembersDeadlines(remembers, now: database.now)
            guard isOn else {
                database.events.observeItems(nil)
                continue
            }
            database.events.observeItems { [weak self] (items: [AppliedItem]) in
                self?.publish(items, database: index)
            }
        }
    }

    /// True while `publishExpired` is to be called a few times a second.
    public var remembersDeadlines: Bool {
        self.keyspace.databases.contains { $0.events.remembersDeadlines }
    }

    /// Tells of all keys whose deadlines have passed since the last call.
    ///
    /// Reads the disk: to be called on a thread of the slow pool.
    public func publishExpired() {
        self.pool.withProcessor(self) { $0.publishExpired() }
    }

    /// Sends an event in the forms that are switched on.
    func publish(_ event: KeyspaceEvent, database: Int, key: Bytes) {
        let classes = EventClasses(rawValue: self.eventClasses.load(ordering: .relaxed))
        let word = Array(event.word.utf8)
        if classes.contains(.keyspace) {
            let channel = Array("__keyspace@\(database)__:".utf8) + Array(key)
            channel.withUnsafeBytes { channel in
                word.withUnsafeBytes { _ = self.broker.publish(.channel, channel, $0) }
            }
        }
        if classes.contains(.keyevent) {
            let channel = Array("__keyevent@\(database)__:".utf8) + word
            channel.withUnsafeBytes { _ = self.broker.publish(.channel, $0, key) }
        }
    }

    /// Sends the events of what a replica has applied of its master's log.
    private func publish(_ items: [AppliedItem], database: Int) {
        guard self.broker.hasSubscribers else { return }
        for item in items {
            var events: [KeyspaceEvent] = []
            KeyspaceEvent.forEach(of: item) { events.append($0) }
            for event in events { self.publish(event, database: database, key: item.key) }
        }
    }

    private func publish(_ event: KeyspaceEvent, database: Int, key: [UInt8]) {
        let bits = self.eventClasses.load(ordering: .relaxed)
        guard EventClasses(rawValue: bits).contains(event.eventClass) else { return }
        key.withUnsafeBytes { self.publish(event, database: database, key: $0) }
    }

    /// Sends what waited for a commit.
    func send(_ message: DeferredMessage) {
        switch message {
        case .published(let kind, let channel, let message):
            channel.withUnsafeBytes { channel in
                message.withUnsafeBytes { _ = self.broker.publish(kind, channel, $0) }
            }
        case .event(let event, let database, let key):
            key.withUnsafeBytes { self.publish(event, database: database, key: $0) }
        }
    }
}
