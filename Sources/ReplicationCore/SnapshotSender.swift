public import SyncProtocol

/// One connection of a replica to the file service, seen from the master; performs no I/O.
///
/// It decides what may be read: only names of the snapshot's own list, only ranges inside a file,
/// only as many requests at once as named. The shell looks snapshots up, reads and writes.
///
/// Invariants: a read order names a file of the manifest by its index, never by a path; a request
/// is answered at most once; a snapshot that is read has its lease renewed.
/// Source: pika v3.5.0 src/rsync_server.cc.
public struct SnapshotSender: Equatable, Sendable {
    /// The limits of a connection.
    public struct Configuration: Hashable, Sendable {
        /// Bytes of one reply: what a real Pika asks for at most.
        public var chunkBytes: UInt64 = 4 << 20
        /// Reader indices are below this; real Pika has 4 and checks nothing.
        public var readers: Int32 = 64
        /// Reads ordered and not yet written.
        public var readsInFlight = 64
        /// Requests that wait for a snapshot.
        public var waitingRequests = 64
        /// A real Pika waits one second for its list; a later answer would confuse it.
        public var listAnswerWindow: Duration = .milliseconds(900)
        /// How often the lease of a snapshot is renewed while it is read.
        public var leaseRenewal: Duration = .seconds(10)
        /// When a replica of ours should ask again after "busy".
        public var retryAfterMilliseconds: UInt32 = 500

        /// The usual limits.
        public init() {}
    }

    /// Which protocol the peer speaks.
    public enum Peer: Hashable, Sendable {
        /// A real Pika: silence means "not yet".
        case pika
        /// One of ours: every request is answered.
        case ours
    }

    /// What a reply needs to find its request.
    public struct Tag: Hashable, Sendable {
        /// The worker of the peer.
        public var readerIndex: Int32
        /// One of ours numbers its requests.
        public var requestID: UInt64?

        /// Creates a tag.
        public init(readerIndex: Int32, requestID: UInt64? = nil) {
            self.readerIndex = readerIndex
            self.requestID = requestID
        }
    }

    /// A list or a read.
    public enum Request: Hashable, Sendable {
        /// The names of the files; a replica that has a part of a snapshot names it.
        case list(wanted: SnapshotID?)
        /// Bytes of one file; a replica of ours names the snapshot that it means.
        case read(snapshot: SnapshotID?, name: String, offset: UInt64, count: UInt64)

        var isList: Bool {
            if case .list = self { true } else { false }
        }
    }

    /// Bytes that the shell has to read and send.
    public struct ReadOrder: Hashable, Sendable {
        /// The database.
        public var database: String
        /// The snapshot.
        public var snapshotID: SnapshotID
        /// Which file of the manifest.
        public var fileIndex: Int
        /// Its name.
        public var name: String
        /// From where.
        public var offset: UInt64
        /// How many bytes.
        public var count: Int
        /// Whether the file ends with them.
        public var isLast: Bool
        /// The request.
        public var tag: Tag
    }

    /// What happened.
    public enum Event: Hashable, Sendable {
        /// A request arrived.
        case request(Request, database: String, tag: Tag)
        /// The shell found the snapshot that it was asked for.
        case snapshotReady(database: String, SnapshotManifest)
        /// There is none (yet).
        case snapshotUnavailable(database: String, FileRefusal)
        /// The answer to a read was written.
        case chunkSent(snapshotID: SnapshotID)
        /// A read failed.
        case readFailed(ReadOrder)
        /// A snapshot is deleted; its lease had expired.
        case snapshotGone(id: SnapshotID)
        /// Time passed.
        case tick
    }

    /// What the shell has to do.
    public enum Directive: Hashable, Sendable {
        /// Look for the snapshot of this database that this peer may read.
        case findSnapshot(database: String, wanted: SnapshotID?)
        /// Send the list of the snapshot.
        case sendList(database: String, SnapshotManifest, tag: Tag)
        /// Read and send bytes.
        case sendChunk(ReadOrder)
        /// Say no; a peer of ours also learns when to ask again.
        case refuse(Request, database: String, tag: Tag, FileRefusal)
        /// The snapshot is being read: keep it.
        case renewLease(snapshotID: SnapshotID, database: String)
    }

    private struct Waiting: Hashable, Sendable {
        var request: Request
        var tag: Tag
        var since: MonotonicInstant
    }

    private struct Attachment: Hashable, Sendable {
        var manifest: SnapshotManifest
        var index: [String: Int]
        var lastRenewal: MonotonicInstant
    }

    /// Which protocol the peer speaks.
    public var peer: Peer
    /// The limits.
    public let configuration: Configuration
    /// Reads ordered and not yet written.
    public private(set) var readsInFlight = 0
    private var attached: [String: Attachment] = [:]
    private var waiting: [String: [Waiting]] = [:]

    /// Creates the machine of a new connection.
    public init(peer: Peer, configuration: Configuration = Configuration()) {
        self.peer = peer
        self.configuration = configuration
    }

    /// The snapshot that the peer reads of a database, if any.
    public func snapshot(of database: String) -> SnapshotManifest? {
        self.attached[database]?.manifest
    }

    /// The snapshots that are read here.
    public var snapshotIDs: [SnapshotID] { self.attached.values.map(\.manifest.id) }

    /// Takes what happened and says what is to be done.
    public mutating func handle(_ event: Event, now: MonotonicInstant) -> [Directive] {
        switch event {
        case .request(let request, let database, let tag):
            return self.take(request, database: database, tag: tag, now: now)
        case .snapshotReady(let database, let manifest):
            return self.attach(manifest, database: database, now: now)
        case .snapshotUnavailable(let database, let refusal):
            return self.answerWaiting(database: database, refusal: refusal)
        case .chunkSent:
            self.readsInFlight = max(0, self.readsInFlight - 1)
            return []
        case .readFailed(let order):
            self.readsInFlight = max(0, self.readsInFlight - 1)
            return self.failed(order)
        case .snapshotGone(let id):
            self.attached = self.attached.filter { $0.value.manifest.id != id }
            return []
        case .tick:
            return self.tick(now: now)
        }
    }

    private mutating func take(
        _ request: Request, database: String, tag: Tag, now: MonotonicInstant
    ) -> [Directive] {
        guard (0..<self.configuration.readers).contains(tag.readerIndex) else {
            return [self.refusal(request, database, tag, .badRange)]
        }
        if let attachment = self.attached[database], !request.isList {
            return self.order(attachment, database: database, request, tag: tag, now: now)
        }
        // A list always looks anew: the peer may have asked for another snapshot meanwhile.
        var queue = self.waiting[database] ?? []
        if self.peer == .pika, request.isList {
            // Its earlier question has timed out by now; only the last one gets an answer.
            queue.removeAll { $0.request.isList && $0.tag == tag }
        }
        guard self.waitingCount < self.configuration.waitingRequests else {
            return [self.refusal(request, database, tag, .busy)]
        }
        queue.append(Waiting(request: request, tag: tag, since: now))
        self.waiting[database] = queue
        return [.findSnapshot(database: database, wanted: Self.wanted(request))]
    }

    private var waitingCount: Int { self.waiting.values.reduce(0) { $0 + $1.count } }

    private static func wanted(_ request: Request) -> SnapshotID? {
        switch request {
        case .list(let wanted): wanted
        case .read(let snapshot, _, _, _): snapshot
        }
    }

    private mutating func attach(
        _ manifest: SnapshotManifest, database: String, now: MonotonicInstant
    ) -> [Directive] {
        if self.attached[database]?.manifest.id != manifest.id {
            let names = manifest.files.enumerated().map { ($0.element.name, $0.offset) }
            self.attached[database] = Attachment(
                manifest: manifest, index: Dictionary(names) { first, _ in first },
                lastRenewal: now)
        } else {
            // Digests may have become known since.
            self.attached[database]?.manifest = manifest
        }
        guard let attachment = self.attached[database] else { return [] }
        var directives: [Directive] = [.renewLease(snapshotID: manifest.id, database: database)]
        for entry in self.waiting.removeValue(forKey: database) ?? [] {
            guard entry.request.isList else {
                directives += self.order(
                    attachment, database: database, entry.request, tag: entry.tag, now: now)
                continue
            }
            let late = now.since(entry.since) > self.configuration.listAnswerWindow
            if self.peer == .ours || !late {
                directives.append(.sendList(database: database, manifest, tag: entry.tag))
            }
        }
        return directives
    }

    private mutating func order(
        _ attachment: Attachment, database: String, _ request: Request, tag: Tag,
        now: MonotonicInstant
    ) -> [Directive] {
        guard case .read(let wanted, let name, let offset, let count) = request else { return [] }
        let manifest = attachment.manifest
        // F5: bytes of another snapshot are never given for those of the one that was meant.
        if let wanted, wanted != manifest.id {
            return [self.refusal(request, database, tag, .snapshotGone)]
        }
        guard let index = attachment.index[name] else {
            return [self.refusal(request, database, tag, .unknownFile)]
        }
        let size = manifest.files[index].sizeBytes
        guard offset <= size, count > 0 || size == 0 else {
            return [self.refusal(request, database, tag, .badRange)]
        }
        guard self.readsInFlight < self.configuration.readsInFlight else {
            return [self.refusal(request, database, tag, .busy)]
        }
        let granted = min(count, size - offset, self.configuration.chunkBytes)
        self.readsInFlight += 1
        var directives: [Directive] = []
        if now.since(attachment.lastRenewal) >= self.configuration.leaseRenewal {
            self.attached[database]?.lastRenewal = now
            directives.append(.renewLease(snapshotID: manifest.id, database: database))
        }
        let order = ReadOrder(
            database: database, snapshotID: manifest.id, fileIndex: index, name: name,
            offset: offset, count: Int(granted), isLast: offset + granted == size, tag: tag)
        directives.append(.sendChunk(order))
        return directives
    }

    /// Answers what waits for a snapshot that is not there.
    ///
    /// A real Pika hears nothing to its list while one may still come: it asks again each second,
    /// and takes "no" for "again at once" (3.5.0). Its reads get their no, else they would wait for
    /// ever. F3: a peer of ours is told how far it is and when to ask.
    private mutating func answerWaiting(database: String, refusal: FileRefusal) -> [Directive] {
        guard let queue = self.waiting.removeValue(forKey: database) else { return [] }
        let silent = self.peer == .pika && refusal.reason != .notAllowed
        if silent {
            let lists = queue.filter(\.request.isList)
            if !lists.isEmpty { self.waiting[database] = lists }
        }
        return queue.filter { !silent || !$0.request.isList }
            .map { .refuse($0.request, database: database, tag: $0.tag, refusal) }
    }

    private func refusal(
        _ request: Request, _ database: String, _ tag: Tag, _ reason: FileRefusalReason
    ) -> Directive {
        let retry = reason == .busy ? self.configuration.retryAfterMilliseconds : 0
        return .refuse(
            request, database: database, tag: tag,
            FileRefusal(reason: reason, retryAfterMilliseconds: retry))
    }

    private func failed(_ order: ReadOrder) -> [Directive] {
        let request = Request.read(
            snapshot: order.snapshotID, name: order.name, offset: order.offset,
            count: UInt64(order.count))
        return [self.refusal(request, order.database, order.tag, .readFailed)]
    }

    private mutating func tick(now: MonotonicInstant) -> [Directive] {
        var directives: [Directive] = []
        for database in self.waiting.keys.sorted() {
            // A real Pika's question has timed out: it will ask again.
            let kept = (self.waiting[database] ?? []).filter {
                self.peer == .ours
                    || now.since($0.since) <= self.configuration.listAnswerWindow
            }
            self.waiting[database] = kept.isEmpty ? nil : kept
            if let first = kept.first {
                directives.append(
                    .findSnapshot(database: database, wanted: Self.wanted(first.request)))
            }
        }
        for database in self.attached.keys.sorted() where self.readsInFlight > 0 {
            guard let attachment = self.attached[database],
                now.since(attachment.lastRenewal) >= self.configuration.leaseRenewal
            else { continue }
            self.attached[database]?.lastRenewal = now
            directives.append(
                .renewLease(snapshotID: attachment.manifest.id, database: database))
        }
        return directives
    }
}
