internal import SyncProtocol

extension SnapshotReceiver {
    /// Takes what happened and says what is to be done.
    public mutating func handle(_ event: Event, now: MonotonicInstant) -> [Directive] {
        if self.phase == .failed || self.phase == .finished { return [] }
        switch event {
        case .begin:
            guard self.phase == .idle else { return [] }
            return self.connect(now: now)
        case .connected:
            return self.connected(now: now)
        case .disconnected(let reason, let partialBytes):
            self.bytesSentTwice &+= partialBytes
            return self.disconnected(reason, now: now)
        case .heard:
            self.lastHeard = now
            return []
        case .listed(let response):
            return self.take(response, now: now)
        case .discarded:
            return self.discarded()
        case .prepared:
            return self.prepared()
        case .arrived(let arrival):
            return self.take(arrival, now: now)
        case .refused(let id, let reader, let snapshotID, let refusal):
            return self.refused(
                id: id, reader: reader, snapshotID: snapshotID, refusal, now: now)
        case .stored(let id, let isIntact):
            return self.stored(id: id, isIntact: isIntact, now: now)
        case .storageFailed(let reason):
            return self.fail(reason, discards: false)
        case .verified(let index, let digest, let badRanges):
            return self.verified(index, digest: digest, badRanges: badRanges, now: now)
        case .info(let position):
            return self.takeInfo(position, now: now)
        case .storesChecked(let fault):
            self.isCheckingStores = false
            if let fault { return self.fail(fault, discards: true) }
            self.storesAreChecked = true
            return self.finishIfWhole(now: now)
        case .checkpointed:
            self.isCheckpointing = false
            return []
        case .tick:
            return self.tick(now: now)
        }
    }

    // MARK: Connection

    private mutating func connect(now: MonotonicInstant) -> [Directive] {
        self.phase = .connecting
        self.lastHeard = now
        self.resumeAt = .distantFuture
        return [.connect]
    }

    private mutating func connected(now: MonotonicInstant) -> [Directive] {
        guard self.phase == .connecting else { return [] }
        self.isConnected = true
        self.lastHeard = now
        if self.files.isEmpty {
            self.phase = .waitingForList
            return [self.requestList(now: now)]
        }
        self.phase = .reading
        self.listRetryAt = .distantFuture
        return [.pump] + self.finishIfWhole(now: now)
    }

    mutating func disconnected(_ reason: String, now: MonotonicInstant) -> [Directive] {
        switch self.phase {
        case .connecting, .waitingForList, .reading, .finishing:
            break
        case .discarding, .preparing:
            // Goes on when the disk is ready: without a connection, which comes next.
            self.isConnected = false
            return []
        case .idle, .pausing, .finished, .failed:
            return []
        }
        self.isConnected = false
        self.lastFailure = reason
        for (id, request) in self.requests where !request.isStoring {
            self.giveBack(request.order)
            self.requests[id] = nil
        }
        self.readerFiles = [:]
        guard self.backoff.failures < self.configuration.maxFailures else {
            return self.fail(reason, discards: false)
        }
        self.phase = .pausing
        self.resumeAt = now + self.backoff.next()
        return []
    }

    mutating func fail(_ reason: String, discards: Bool) -> [Directive] {
        self.phase = .failed
        self.lastFailure = reason
        return [
            .disconnect(reason),
            .fail(reason, discards: discards, madeProgress: self.madeProgress),
        ]
    }

    mutating func replaced(by other: String) -> [Directive] {
        let ours = self.snapshotID.map { "\($0)" } ?? "none"
        return self.fail(
            "the master replaced the snapshot \(ours) by \(other.isEmpty ? "none" : other)",
            discards: true)
    }

    // MARK: Asking

    /// Bytes that were asked for and have not come.
    public var bytesInFlight: UInt64 {
        self.requests.values.reduce(0) { $0 + $1.order.count }
    }

    /// Bytes of the request that `takeRead` would make, at most; nil = nothing to ask for now.
    public func nextReadBytes(now: MonotonicInstant) -> UInt64? {
        self.peek(now: now) == nil ? nil : self.requestBytes
    }

    /// Requests follow the rate, so that no request is a long burst or a long wait (F12).
    var requestBytes: UInt64 {
        var bytes =
            self.configuration.isPeer
            ? self.configuration.chunkBytes
            : min(self.configuration.pikaChunkBytes, WireLimits.maxFileChunkBytes64)
        if self.limitBytesPerSecond > 0 {
            // A chunk comes at once, on top of the bucket's burst of 40 ms: with 10 ms of the rate any
            // 100 ms hold at most 1.5 of their share. A real Pika has four requests in flight and no
            // more: 25 ms each, so that the rate is reached over a way of 100 ms.
            let share = self.limitBytesPerSecond / (self.configuration.isPeer ? 100 : 40)
            bytes = min(bytes, max(self.configuration.leastChunkBytes, share & ~4_095))
        }
        return bytes
    }

    private func peek(now: MonotonicInstant) -> (index: Int, reader: Int32)? {
        guard self.phase == .reading, self.isConnected, now >= self.holdUntil else { return nil }
        return self.configuration.isPeer ? self.peekPeer() : self.peekPika()
    }

    private func peekPeer() -> (index: Int, reader: Int32)? {
        guard self.requests.count < self.configuration.requestsInFlight else { return nil }
        var rank = self.cursor
        while rank < self.order.count {
            if self.files[self.order[rank]].hasRequest { return (self.order[rank], 0) }
            rank += 1
        }
        return nil
    }

    private func peekPika() -> (index: Int, reader: Int32)? {
        let readers = max(1, min(self.configuration.readers, WireLimits.maxReaderIndex + 1))
        guard self.requests.count < Int(readers) else { return nil }
        let busy = Set(self.requests.values.map(\.order.reader))
        let taken = Set(self.readerFiles.values)
        for reader in 0..<readers where !busy.contains(reader) {
            if let index = self.readerFiles[reader], self.files[index].hasRequest {
                return (index, reader)
            }
            // `info` alone comes first: without its position a resume is worth little.
            if self.position == nil {
                guard let first = self.order.first, self.files[first].hasRequest,
                    !taken.contains(first)
                else { return nil }
                return (first, reader)
            }
            for rank in self.cursor..<max(self.cursor, self.order.count) {
                let index = self.order[rank]
                if self.files[index].hasRequest, !taken.contains(index) { return (index, reader) }
            }
        }
        return nil
    }

    /// Makes the next request.
    public mutating func takeRead(now: MonotonicInstant) -> ReadOrder? {
        guard let (index, reader) = self.peek(now: now),
            let range = self.files[index].takeRange(upTo: self.requestBytes)
        else { return nil }
        while self.cursor < self.order.count, !self.files[self.order[self.cursor]].hasRequest {
            self.cursor += 1
        }
        let order = ReadOrder(
            id: self.nextID, reader: reader, fileIndex: index, name: self.files[index].name,
            offset: range.lowerBound, count: range.upperBound - range.lowerBound)
        self.nextID += 1
        if !self.configuration.isPeer { self.readerFiles[reader] = index }
        self.requests[order.id] = Request(order: order, issued: now)
        return order
    }

    private mutating func giveBack(_ order: ReadOrder) {
        let index = order.fileIndex
        if self.files[index].sizeBytes == nil {
            // Sizes unknown: ranges come one after the other.
            self.files[index].next = order.offset
        } else {
            self.files[index].giveBack(order.offset..<order.offset + order.count)
        }
        self.cursor = min(self.cursor, self.ranks[index])
    }

    // MARK: Replies

    private func match(_ arrival: Arrival) -> Request? {
        if self.configuration.isPeer {
            guard let id = arrival.id, let request = self.requests[id], !request.isStoring else {
                return nil
            }
            return request
        }
        return self.requests.values.first { request in
            !request.isStoring && request.order.reader == arrival.reader
                && request.order.name == arrival.chunk.filename
                && request.order.offset == arrival.chunk.offset
        }
    }

    private mutating func take(_ arrival: Arrival, now: MonotonicInstant) -> [Directive] {
        self.lastHeard = now
        self.bytesReceived &+= arrival.chunk.count
        guard self.phase == .reading || self.phase == .finishing else { return [] }
        guard arrival.snapshotID == self.snapshotID?.description else {
            return self.replaced(by: arrival.snapshotID)
        }
        guard let request = self.match(arrival) else {
            self.bytesSentTwice &+= arrival.chunk.count
            return []
        }
        let order = request.order
        let chunk = arrival.chunk
        guard chunk.filename == order.name, chunk.offset == order.offset,
            chunk.count <= order.count, chunk.count > 0 || chunk.isEnd
        else {
            let reason = "the reply does not fit request \(order.name) at \(order.offset)"
            return [.disconnect(reason)] + self.disconnected(reason, now: now)
        }
        let end = chunk.offset + chunk.count
        if let size = self.files[order.fileIndex].sizeBytes {
            guard chunk.isEnd == (end == size) else {
                return self.fail(
                    "\(order.name) ends at \(end) now, it had \(size) bytes", discards: true)
            }
        } else if chunk.isEnd {
            self.files[order.fileIndex].sizeBytes = end
        }
        self.takeShortfall(order, end: end)
        self.latency = (self.latency * 7 + now.since(request.issued)) / 8
        guard chunk.count > 0 else {
            self.requests[order.id] = nil
            return self.verifyIfWhole(order.fileIndex, now: now)
        }
        self.requests[order.id]?.isStoring = true
        self.requests[order.id]?.order.count = chunk.count
        let stored = ReadOrder(
            id: order.id, reader: order.reader, fileIndex: order.fileIndex, name: order.name,
            offset: order.offset, count: chunk.count)
        return [.store(stored, count: chunk.count, digest: chunk.digest)]
    }

    /// Short replies are normal: the rest is asked for again.
    private mutating func takeShortfall(_ order: ReadOrder, end: UInt64) {
        let index = order.fileIndex
        let asked = order.offset + order.count
        guard end < asked else { return }
        if self.configuration.isPeer {
            self.files[index].giveBack(end..<asked)
        } else if self.files[index].next == asked {
            self.files[index].next = end
        } else if let size = self.files[index].sizeBytes, end < size {
            self.files[index].giveBack(end..<min(asked, size))
        }
        self.cursor = min(self.cursor, self.ranks[index])
    }

    private mutating func refused(
        id: UInt64?, reader: Int32, snapshotID: String, _ refusal: FileRefusal?,
        now: MonotonicInstant
    ) -> [Directive] {
        self.lastHeard = now
        let found = self.requests.values.first { request in
            !request.isStoring
                && (self.configuration.isPeer
                    ? request.order.id == id : request.order.reader == reader)
        }
        guard let request = found else { return [] }
        self.requests[request.order.id] = nil
        self.giveBack(request.order)
        if !snapshotID.isEmpty, snapshotID != self.snapshotID?.description {
            return self.replaced(by: snapshotID)
        }
        switch refusal?.reason {
        case .snapshotGone:
            return self.replaced(by: "")
        case .notAllowed, .unknownDatabase, .unknownFile, .badRange:
            let reason = refusal.map { "\($0.reason)" } ?? ""
            return self.fail("the master refused \(request.order.name): \(reason)", discards: false)
        case .busy, .preparing:
            let pause = max(refusal?.retryAfterMilliseconds ?? 0, 20)
            self.holdUntil = now + .milliseconds(Int64(pause))
            return []
        case .readFailed, .unspecified, nil:
            return self.hold("the master could not read \(request.order.name)", now: now)
        }
    }

    /// A failure that does not need a new connection: nothing is asked for during the pause.
    mutating func hold(_ reason: String, now: MonotonicInstant) -> [Directive] {
        self.lastFailure = reason
        guard self.backoff.failures < self.configuration.maxFailures else {
            return self.fail(reason, discards: false)
        }
        self.holdUntil = now + self.backoff.next()
        return []
    }

    private mutating func stored(
        id: UInt64, isIntact: Bool, now: MonotonicInstant
    ) -> [Directive] {
        guard let request = self.requests.removeValue(forKey: id) else { return [] }
        let order = request.order
        guard isIntact else {
            self.bytesSentTwice &+= order.count
            self.giveBack(order)
            return self.hold("\(order.name) at \(order.offset) arrived damaged", now: now)
        }
        self.bytesSentTwice &+= self.files[order.fileIndex].store(
            order.offset..<order.offset + order.count)
        self.madeProgress = true
        self.backoff.reset()
        self.storedSinceCheckpoint &+= order.count
        return self.checkpointIfDue(now: now) + self.verifyIfWhole(order.fileIndex, now: now)
            + (self.phase == .reading ? [.pump] : [])
    }

    // MARK: Reading back

    private mutating func verifyIfWhole(_ index: Int, now: MonotonicInstant) -> [Directive] {
        guard self.files[index].isWhole, self.files[index].check == .open else { return [] }
        self.readerFiles = self.readerFiles.filter { $0.value != index }
        return self.verify(index) + [.pump]
    }

    mutating func verify(_ index: Int) -> [Directive] {
        self.files[index].check = .running
        return [
            .verify(
                fileIndex: index, name: self.files[index].name,
                sizeBytes: self.files[index].sizeBytes ?? 0)
        ]
    }

    private mutating func verified(
        _ index: Int, digest: UInt64, badRanges: [Range<UInt64>], now: MonotonicInstant
    ) -> [Directive] {
        guard self.files.indices.contains(index), self.files[index].check == .running else {
            return []
        }
        let name = self.files[index].name
        if !badRanges.isEmpty {
            self.files[index].restarts += 1
            guard self.files[index].restarts <= self.configuration.maxFileRestarts else {
                return self.fail("\(name) is read back damaged again and again", discards: true)
            }
            for range in badRanges {
                self.bytesSentTwice &+= range.upperBound - range.lowerBound
            }
            self.files[index].remove(badRanges)
            self.cursor = min(self.cursor, self.ranks[index])
            return [.pump]
        }
        if let expected = self.files[index].digest, expected != digest {
            return self.restart(index) ?? [.pump]
        }
        self.files[index].check = .done(digest: digest)
        self.openFiles -= 1
        if name == SnapshotPlan.infoName, !self.configuration.isPeer {
            self.isReadingInfo = true
            return [.readInfo]
        }
        return self.finishIfWhole(now: now)
    }

    /// The file's digest is not the master's: it comes once more; nil = go on.
    mutating func restart(_ index: Int) -> [Directive]? {
        self.bytesSentTwice &+= self.files[index].prefix
        self.files[index].restart()
        self.cursor = min(self.cursor, self.ranks[index])
        guard self.files[index].restarts <= self.configuration.maxFileRestarts else {
            return self.fail(
                "\(self.files[index].name) does not have the master's digest", discards: true)
        }
        return nil
    }

    private mutating func takeInfo(
        _ position: BinlogPosition?, now: MonotonicInstant
    ) -> [Directive] {
        guard self.isReadingInfo else { return [] }
        self.isReadingInfo = false
        guard let position else {
            return self.fail("the snapshot's info file can't be read", discards: true)
        }
        self.position = position
        return [.pump] + self.checkpointNow(now: now) + self.finishIfWhole(now: now)
    }

    // MARK: Resume point and time

    private mutating func checkpointIfDue(now: MonotonicInstant) -> [Directive] {
        guard self.storedSinceCheckpoint > 0 else { return [] }
        guard
            self.storedSinceCheckpoint >= self.configuration.checkpointBytes
                || now.since(self.lastCheckpoint) >= self.configuration.checkpointInterval
        else { return [] }
        return self.checkpointNow(now: now)
    }

    private mutating func checkpointNow(now: MonotonicInstant) -> [Directive] {
        guard !self.isCheckpointing else { return [] }
        self.isCheckpointing = true
        self.lastCheckpoint = now
        self.storedSinceCheckpoint = 0
        return [.checkpoint(self.checkpoint)]
    }

    /// What the resume point has to say now.
    public var checkpoint: Checkpoint {
        Checkpoint(
            files: self.files.map {
                SnapshotFile(name: $0.name, sizeBytes: $0.sizeBytes ?? 0, digest: $0.digest)
            },
            prefixBytes: self.files.map(\.prefix),
            hasSize: self.files.map { $0.sizeBytes != nil },
            position: self.position, bytesSentTwice: self.bytesSentTwice)
    }

    /// How long silence is borne with requests out.
    var timeout: Duration {
        var limit = max(self.latency * 8, self.configuration.leastTimeout)
        for _ in 0..<min(self.backoff.failures, 4) { limit = limit * 2 }
        return min(limit, self.configuration.longestTimeout)
    }

    private mutating func tick(now: MonotonicInstant) -> [Directive] {
        switch self.phase {
        case .idle, .discarding, .preparing, .finished, .failed:
            return []
        case .pausing:
            return now >= self.resumeAt ? self.connect(now: now) : []
        case .connecting:
            guard now.since(self.lastHeard) >= Self.connectTimeout else { return [] }
            let reason = "no connection to the file service within the time-out"
            return [.disconnect(reason)] + self.disconnected(reason, now: now)
        case .waitingForList:
            return self.tickList(now: now)
        case .finishing:
            if now >= self.listRetryAt {
                self.listRetryAt = .distantFuture
                return self.finishIfWhole(now: now)
            }
            return []
        case .reading:
            return self.tickReading(now: now)
        }
    }

    private mutating func tickReading(now: MonotonicInstant) -> [Directive] {
        if !self.isConnected {
            // The connection went while the disk was being prepared.
            return self.connect(now: now)
        }
        let waiting = self.requests.values.filter { !$0.isStoring }
        if let oldest = waiting.map(\.issued).min() {
            let silentSince = max(oldest, self.lastHeard)
            if now.since(silentSince) >= self.timeout {
                let reason = "silence of the file service"
                return [.disconnect(reason)] + self.disconnected(reason, now: now)
            }
        }
        return self.checkpointIfDue(now: now) + [.pump]
    }

    private mutating func tickList(now: MonotonicInstant) -> [Directive] {
        if let began = self.preparationBegan,
            now.since(began) >= self.configuration.preparationLimit
        {
            return self.fail("the master did not make a snapshot in time", discards: false)
        }
        if now >= self.listRetryAt { return [self.requestList(now: now)] }
        guard self.listRetryAt == .distantFuture else { return [] }
        // A real 3.5.0 is silent while it makes the dump.
        let patience =
            self.configuration.isPeer ? Self.peerListTimeout : self.configuration.listInterval
        guard now.since(self.listAskedAt) >= patience else { return [] }
        if self.configuration.isPeer {
            let reason = "no answer to the list request within the time-out"
            return [.disconnect(reason)] + self.disconnected(reason, now: now)
        }
        return [self.requestList(now: now)]
    }

    /// How long a connection may take to be made.
    static let connectTimeout: Duration = .seconds(5)
    /// One of ours always answers.
    static let peerListTimeout: Duration = .seconds(10)
}

extension WireLimits {
    static let maxFileChunkBytes64 = UInt64(maxFileChunkBytes)
}
