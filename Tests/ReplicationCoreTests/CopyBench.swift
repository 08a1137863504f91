import ReplicationCore
import SyncProtocol

/// A file service and a disk in memory around the machine.
struct CopyBench {
    var receiver: SnapshotReceiver
    let isPeer: Bool
    var master: [String: [UInt8]]
    var names: [String]
    var id = snapshotID("aaaa")
    var position = at(7, 300)
    var disk: [String: [UInt8]] = [:]
    var time = 0.0
    var bytesServed = 0
    var requested: [SnapshotReceiver.ReadOrder] = []
    var outcome: SnapshotReceiver.Outcome?
    var failure: (reason: String, discards: Bool, madeProgress: Bool)?
    var connects = 0
    var listRequests = 0
    var checkpoints = 0
    var knowsDigests = true
    var discards = 0
    /// Replies with fewer bytes than asked for.
    var replyLimit = 3_000

    init(isPeer: Bool, remainder: SnapshotReceiver.Remainder? = nil, sizes: [Int] = [10_000, 0, 1])
    {
        self.isPeer = isPeer
        self.master = [:]
        self.names = []
        for store in SnapshotPlan.stores {
            self.names.append("\(store)/CURRENT")
            self.master["\(store)/CURRENT"] = Array("MANIFEST-000004\n".utf8)
            for (index, size) in sizes.enumerated() {
                let name = "\(store)/00000\(index).sst"
                self.names.append(name)
                self.master[name] = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7 + index) }
            }
        }
        self.names.append("info")
        self.master["info"] = Array("0s\nh\n1\n7\n300\n".utf8)
        var limits = SnapshotReceiver.Configuration(database: "db0", isPeer: isPeer)
        limits.chunkBytes = 4_096
        limits.pikaChunkBytes = 4_096
        self.receiver = SnapshotReceiver(limits, remainder: remainder, now: seconds(0))
    }

    /// Not the real digest: any function of the bytes serves the machine.
    static func digest(_ bytes: [UInt8]) -> UInt64 {
        bytes.reduce(UInt64(bytes.count)) { ($0 &* 31) &+ UInt64($1) }
    }

    var manifest: SnapshotManifest {
        SnapshotManifest(
            id: self.id,
            files: self.names.map { name in
                let bytes = self.master[name] ?? []
                return SnapshotFile(
                    name: name, sizeBytes: UInt64(bytes.count),
                    digest: self.knowsDigests ? Self.digest(bytes) : nil)
            },
            position: self.position, digest: 77)
    }

    mutating func feed(_ event: SnapshotReceiver.Event) {
        var queue = [event]
        while !queue.isEmpty {
            let event = queue.removeFirst()
            for directive in self.receiver.handle(event, now: seconds(self.time)) {
                queue += self.perform(directive)
            }
        }
    }

    private mutating func perform(
        _ directive: SnapshotReceiver.Directive
    ) -> [SnapshotReceiver.Event] {
        switch directive {
        case .connect:
            self.connects += 1
            return [.connected]
        case .requestList(let request):
            self.listRequests += 1
            let response = FileListResponse(
                status: .ok, database: "db0", snapshotID: self.id.description,
                filenames: self.names, manifest: self.isPeer ? self.manifest : nil,
                requestID: request.requestID)
            return [.listed(response)]
        case .discard:
            self.discards += 1
            self.disk = [:]
            return [.discarded]
        case .prepare: return [.prepared]
        case .store(let order, let count, _):
            let bytes = self.master[order.name] ?? []
            var file = self.disk[order.name] ?? []
            let end = Int(order.offset + count)
            if file.count < end { file += [UInt8](repeating: 0xEE, count: end - file.count) }
            file.replaceSubrange(
                Int(order.offset)..<end, with: bytes[Int(order.offset)..<end])
            self.disk[order.name] = file
            return [.stored(id: order.id, isIntact: true)]
        case .verify(let index, let name, let size):
            let bytes = Array((self.disk[name] ?? []).prefix(Int(size)))
            self.disk[name] = bytes
            return [.verified(fileIndex: index, digest: Self.digest(bytes), badRanges: [])]
        case .readInfo: return [.info(self.position)]
        case .checkStores: return [.storesChecked(nil)]
        case .checkpoint:
            self.checkpoints += 1
            return [.checkpointed]
        case .finish(let outcome):
            self.outcome = outcome
            return []
        case .fail(let reason, let discards, let madeProgress):
            self.failure = (reason, discards, madeProgress)
            return []
        case .pump, .disconnect: return []
        }
    }

    func reply(
        _ order: SnapshotReceiver.ReadOrder, uuid: String? = nil, limit: Int? = nil
    ) -> SnapshotReceiver.Event {
        let size = UInt64(self.master[order.name]?.count ?? 0)
        let count = min(order.count, size - min(size, order.offset), UInt64(limit ?? 1 << 30))
        return .arrived(
            SnapshotReceiver.Arrival(
                id: self.isPeer ? order.id : nil, reader: order.reader,
                snapshotID: uuid ?? self.id.description,
                chunk: FileChunk(
                    filename: order.name, offset: order.offset, count: count,
                    isEnd: order.offset + count == size)))
    }

    mutating func ask() -> [SnapshotReceiver.ReadOrder] {
        var orders: [SnapshotReceiver.ReadOrder] = []
        while let order = self.receiver.takeRead(now: seconds(self.time)) { orders.append(order) }
        self.requested += orders
        return orders
    }

    /// Runs to the end, or until nothing moves for a while.
    mutating func run(rounds: Int = 2_000) {
        for _ in 0..<rounds where self.outcome == nil && self.failure == nil {
            let orders = self.ask()
            for order in orders {
                let event = self.reply(order, limit: self.replyLimit)
                if case .arrived(let arrival) = event {
                    self.bytesServed += Int(arrival.chunk.count)
                }
                self.feed(event)
            }
            if orders.isEmpty {
                self.time += 1
                self.feed(.tick)
            }
        }
    }

    var isComplete: Bool {
        self.names.allSatisfy { self.disk[$0] ?? [] == self.master[$0] ?? [] }
    }

    var totalBytes: Int { self.master.values.reduce(0) { $0 + $1.count } }
}
