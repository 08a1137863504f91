internal import SyncProtocol

extension SnapshotReceiver {
    mutating func requestList(now: MonotonicInstant) -> Directive {
        self.listAskedAt = now
        self.listRetryAt = .distantFuture
        if self.preparationBegan == nil { self.preparationBegan = now }
        let id = self.nextID
        self.nextID += 1
        let peer = self.configuration.isPeer
        return .requestList(
            FileListRequest(
                database: self.configuration.database, readerIndex: 0,
                fileToken: self.configuration.fileToken, requestID: peer ? id : nil,
                wantedSnapshot: peer ? self.snapshotID ?? self.remainder?.snapshotID : nil))
    }

    mutating func take(_ response: FileListResponse, now: MonotonicInstant) -> [Directive] {
        self.lastHeard = now
        switch self.phase {
        case .waitingForList:
            break
        case .finishing:
            return self.takeDigests(response, now: now)
        case .idle, .connecting, .discarding, .preparing, .reading, .pausing, .finished, .failed:
            // A real Pika may answer two requests.
            return []
        }
        guard response.status == .ok, let id = SnapshotID(response.snapshotID) else {
            return self.notReady(response, now: now)
        }
        if self.configuration.isPeer, response.manifest?.id != id {
            return self.fail("the list of a master of ours has no manifest", discards: false)
        }
        let names = response.manifest?.files.map(\.name) ?? response.filenames ?? []
        do throws(SnapshotListError) {
            try SnapshotPlan.check(names, requiresInfo: !self.configuration.isPeer)
        } catch {
            return self.fail(error.description, discards: false)
        }
        if let remainder = self.remainder, remainder.snapshotID != id {
            self.pendingList = response
            self.phase = .discarding
            return [.discard]
        }
        return self.plan(response, id: id)
    }

    mutating func discarded() -> [Directive] {
        guard self.phase == .discarding, let response = self.pendingList,
            let id = SnapshotID(response.snapshotID)
        else { return [] }
        self.pendingList = nil
        self.remainder = nil
        self.bytesSentTwice = 0
        return self.plan(response, id: id)
    }

    private mutating func notReady(
        _ response: FileListResponse, now: MonotonicInstant
    ) -> [Directive] {
        guard let refusal = response.refusal else {
            self.listRetryAt = now + self.configuration.listInterval
            return []
        }
        switch refusal.reason {
        case .preparing, .busy, .unspecified, .readFailed:
            self.preparingPercent = min(refusal.percent, 100)
            let pause = max(refusal.retryAfterMilliseconds, 50)
            self.listRetryAt = now + .milliseconds(Int64(pause))
            return []
        case .snapshotGone:
            // What is here belongs to a snapshot that is gone: DBSync makes another one.
            return self.fail("the master's snapshot is gone", discards: self.remainder != nil)
        case .unknownDatabase, .unknownFile, .badRange, .notAllowed:
            return self.fail("the master refused the list: \(refusal.reason)", discards: false)
        }
    }

    private mutating func plan(_ response: FileListResponse, id: SnapshotID) -> [Directive] {
        self.snapshotID = id
        self.manifest = response.manifest
        self.position = response.manifest?.position ?? self.remainder?.position
        let listed =
            response.manifest?.files
            ?? (response.filenames ?? []).map { SnapshotFile(name: $0, sizeBytes: 0) }
        let knowsSizes = response.manifest != nil
        self.files = listed.map {
            ReceivedFile(
                name: $0.name, sizeBytes: knowsSizes ? $0.sizeBytes : nil, digest: $0.digest)
        }
        self.order = SnapshotPlan.ordered(listed.map(\.name))
        self.ranks = [Int](repeating: 0, count: self.order.count)
        for (rank, index) in self.order.enumerated() { self.ranks[index] = rank }
        self.openFiles = self.files.count
        self.takeRemainder()
        self.phase = .preparing
        return [
            .prepare(
                response.manifest
                    ?? SnapshotManifest(
                        id: id, files: listed, position: self.position ?? .zero, digest: 0),
                knowsSizes: knowsSizes)
        ]
    }

    /// What is here already need not come again; it is read back before it counts.
    private mutating func takeRemainder() {
        guard let remainder = self.remainder else { return }
        self.remainder = nil
        let byName = Dictionary(
            remainder.files.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        for index in self.files.indices {
            guard let left = byName[self.files[index].name],
                self.configuration.isPeer || Self.isLasting(left.name)
            else { continue }
            let end = left.islands.last?.upperBound ?? left.prefixBytes
            if let size = self.files[index].sizeBytes {
                guard end <= size else { continue }
            } else {
                self.files[index].sizeBytes = left.sizeBytes
            }
            self.bytesResumed &+= self.files[index].take(
                prefix: left.prefixBytes, islands: left.islands)
        }
    }

    /// Whether a file of a real Pika's dump may be kept over a restart.
    ///
    /// A dump that is made anew at the same position has the same id, but other small files that
    /// tell which tables belong together.
    private static func isLasting(_ name: String) -> Bool {
        name.hasSuffix(".sst") || name.hasSuffix(".log")
    }

    mutating func prepared() -> [Directive] {
        guard self.phase == .preparing else { return [] }
        self.phase = .reading
        var directives: [Directive] = []
        for index in self.order where self.files[index].isWhole {
            directives += self.verify(index)
        }
        return directives + [.pump]
    }

    // MARK: The end

    /// All files were read back: the checks of the whole.
    mutating func finishIfWhole(now: MonotonicInstant) -> [Directive] {
        guard self.openFiles == 0, self.phase == .reading || self.phase == .finishing else {
            return []
        }
        self.phase = .finishing
        if self.configuration.isPeer {
            let lacksDigest = self.files.contains { $0.digest == nil }
            if lacksDigest, self.digestLists < self.configuration.maxDigestLists {
                guard self.isConnected, self.listRetryAt == .distantFuture else { return [] }
                self.digestLists += 1
                self.preparationBegan = nil
                return [self.requestList(now: now)]
            }
        } else {
            guard self.position != nil else { return [] }
            guard self.storesAreChecked else {
                guard !self.isCheckingStores else { return [] }
                self.isCheckingStores = true
                return [.checkStores]
            }
        }
        guard let id = self.snapshotID, let position = self.position else { return [] }
        self.phase = .finished
        return [
            .disconnect("the copy is whole"),
            .finish(
                Outcome(
                    snapshotID: id, position: position, digest: self.manifest?.digest ?? 0,
                    history: self.manifest?.history ?? [],
                    highestEffectiveNowSeconds: self.manifest?.highestEffectiveNowSeconds ?? 0,
                    names: self.files.map(\.name))),
        ]
    }

    /// The list once more: the master knows more digests by now.
    private mutating func takeDigests(
        _ response: FileListResponse, now: MonotonicInstant
    ) -> [Directive] {
        guard self.openFiles == 0 else { return [] }
        guard response.status == .ok, let manifest = response.manifest else {
            return self.askForDigestsLater(now: now)
        }
        guard manifest.id == self.snapshotID else {
            return self.replaced(by: manifest.id.description)
        }
        let digests = Dictionary(
            manifest.files.map { ($0.name, $0.digest) }, uniquingKeysWith: { first, _ in first })
        for index in self.files.indices {
            guard self.files[index].digest == nil, let known = digests[self.files[index].name]
            else { continue }
            self.files[index].digest = known
            guard let known, case .done(let computed) = self.files[index].check,
                computed != known
            else { continue }
            self.openFiles += 1
            if let failure = self.restart(index) { return failure }
        }
        if self.openFiles > 0 {
            self.phase = .reading
            return [.pump]
        }
        if self.files.contains(where: { $0.digest == nil }),
            self.digestLists < self.configuration.maxDigestLists
        {
            return self.askForDigestsLater(now: now)
        }
        return self.finishIfWhole(now: now)
    }

    private mutating func askForDigestsLater(now: MonotonicInstant) -> [Directive] {
        self.listRetryAt = now + self.configuration.listInterval
        return []
    }
}
