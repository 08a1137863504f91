internal import MigrateCore
internal import NIOCore
internal import NIOPosix
internal import RedisSync

/// Sends one partition's work to the masters of a cluster, in order for each slot.
///
/// Units of a slot and the slot's marker are one: both are there or neither. A slot on the move, or
/// without a master for a while, makes its units wait.
struct ClusterWorker: QueueWorker {
    let index: Int
    let queue: WorkQueue
    let client: ClusterClient
    let ledger: SlotLedger
    let server: TargetServer
    let epoch: UInt64
    let meter: RunMeter
    let letters: DeadLetters
    let throttle: Throttle

    /// A connection to a master, and the script's digest there.
    private struct Link {
        var connection: TargetConnection
        var digest: [UInt8]
    }

    /// Gives up once something has waited too long.
    private struct Patience {
        let deadline = systemMilliseconds() + ClusterClient.patienceMilliseconds
    }

    /// Works until the queue is closed, or the target can't go on.
    func run() async throws(RunError) {
        var links: [String: Link] = [:]
        defer { for link in links.values { link.connection.close() } }
        while true {
            let entries = await self.queue.take(
                maxUnits: WorkerLimits.maxBatchUnits, maxBytes: WorkerLimits.maxBatchBytes)
            if Task.isCancelled { throw .stopped }
            if entries.isEmpty { return }
            try await self.perform(entries.map(\.item), &links)
            if let time = entries.last?.sourceTimeMilliseconds { self.meter.applied(time) }
            self.queue.finish()
        }
    }

    private func perform(
        _ items: [WorkItem], _ links: inout [String: Link]
    ) async throws(RunError) {
        var bulk = CommandBuffer()
        var units: [SlotUnits] = []
        var places: [Int: Int] = [:]
        for item in items {
            switch item {
            case .bulk(let commands, _, _): bulk.append(commands)
            case .slot(var unit):
                unit.keep(horizon: self.ledger.horizon(unit))
                if let place = places[unit.slot] {
                    units[place].append(unit)
                } else {
                    places[unit.slot] = units.count
                    units.append(unit)
                }
            // One slot has one worker, and each batch looks at its markers.
            case .unit, .meet, .watch: break
            }
        }
        // A snapshot's keys are all there before the first unit is handed over.
        if !bulk.isEmpty { try await self.send(bulk, &links) }
        if !units.isEmpty { try await self.send(units, &links) }
    }

    private func link(
        _ id: String, _ topology: ClusterTopology, _ links: inout [String: Link]
    ) async throws(RunError) -> Link {
        if let link = links[id] { return link }
        guard let node = topology.node(id) else { throw .targetLost("node \(id) is gone") }
        let connection = try await TargetConnection.connect(
            to: self.client.endpoint(node), group: MultiThreadedEventLoopGroup.singleton)
        var load = CommandBuffer()
        load.append(["SCRIPT", "LOAD", SlotUnits.script])
        let replies = try await connection.exchange(load)
        if let fault = replies.faults.first {
            connection.close()
            throw Self.error(fault.text, "SCRIPT LOAD")
        }
        let link = Link(connection: connection, digest: Array(replies.lastValue))
        links[id] = link
        return link
    }

    private static func error(_ text: String, _ what: String) -> RunError {
        TargetServer.error(.error(text), what)
    }

    /// Waits a little, and looks who serves what now.
    private func wait(_ patience: Patience, _ what: String) async throws(RunError) {
        guard systemMilliseconds() < patience.deadline else {
            throw .targetLost("the cluster does not take writes: \(what)")
        }
        await ClusterClient.pause()
        if Task.isCancelled { throw .stopped }
        try await self.client.refresh()
        // It may lack what the one before it had: from the checkpoint.
        guard !self.client.hasNewMaster else {
            throw .targetLost("the cluster has a new master")
        }
        self.meter.update { $0.lastTrouble = "the cluster is busy: \(what)" }
    }

    // MARK: - A snapshot's keys

    private func send(
        _ commands: CommandBuffer, _ links: inout [String: Link]
    ) async throws(RunError) {
        var bulk = SlotBulk(commands)
        let patience = Patience()
        var trouble = "no master for a slot"
        while true {
            let topology = self.client.topology
            let began = Throttle.now()
            var pending: [(SlotBulk.Window, EventLoopFuture<ReplyWindow>)] = []
            for window in bulk.windows({ topology.owner($0)?.id }) {
                let link = try await self.link(window.node, topology, &links)
                pending.append((window, link.connection.begin(window.commands)))
            }
            for (window, future) in pending {
                let replies = try await TargetConnection.replies(future)
                let refused = try self.refused(replies, window.commands, &trouble)
                guard bulk.take(window, refused: refused) else {
                    throw .targetLost("a slot moved under a key that was being copied")
                }
            }
            await self.throttle.rest(after: Throttle.now() - began)
            if bulk.isDone { break }
            try await self.wait(patience, trouble)
        }
        self.meter.sent(commands: commands.commandCount, bytes: commands.bytes.count)
    }

    /// Which of a window's commands were not carried out and may be sent again.
    private func refused(
        _ replies: ReplyWindow, _ commands: CommandBuffer, _ trouble: inout String
    ) throws(RunError) -> [Int] {
        var refused: [Int] = []
        for fault in replies.faults {
            switch FaultClass.of(fault.text) {
            case .transient, .topology:
                trouble = fault.text
                refused.append(fault.index)
            case .capacity, .permission: throw Self.error(fault.text, "writes")
            case .data:
                try self.letters.add(fault.text, commands, at: fault.index, worker: self.index)
            }
        }
        return refused
    }

    // MARK: - The stream's units

    private func send(
        _ units: [SlotUnits], _ links: inout [String: Link]
    ) async throws(RunError) {
        var waiting = units
        let patience = Patience()
        var trouble = "no master for a slot"
        while !waiting.isEmpty {
            let topology = self.client.topology
            let began = Throttle.now()
            var windows: [String: (commands: CommandBuffer, units: [SlotUnits])] = [:]
            var again: [SlotUnits] = []
            for unit in waiting {
                guard let node = topology.owner(unit.slot)?.id else {
                    again.append(unit)
                    continue
                }
                let link = try await self.link(node, topology, &links)
                guard unit.fitsScript else {
                    if try await !self.transact(unit, link, &trouble) { again.append(unit) }
                    continue
                }
                windows[node, default: (CommandBuffer(), [])].commands.append(
                    unit.call(
                        digest: link.digest, job: self.server.job, before: self.ledger[unit.slot],
                        after: unit.marker(epoch: self.epoch)))
                windows[node]?.units.append(unit)
            }
            var pending: [([SlotUnits], EventLoopFuture<ReplyWindow>)] = []
            for (node, window) in windows {
                guard let link = links[node] else { continue }
                pending.append((window.units, link.connection.begin(window.commands)))
            }
            for (units, future) in pending {
                let replies = try await TargetConnection.replies(future)
                again += try self.take(replies, units, &trouble)
            }
            await self.throttle.rest(after: Throttle.now() - began)
            waiting = again
            if !waiting.isEmpty { try await self.wait(patience, trouble) }
        }
    }

    /// Notes what became of units; returns those that were not carried out.
    private func take(
        _ replies: ReplyWindow, _ units: [SlotUnits], _ trouble: inout String
    ) throws(RunError) -> [SlotUnits] {
        var again: Set<Int> = []
        for fault in replies.faults {
            let unit = units[fault.index]
            if let element = fault.element {
                try self.letters.add(
                    fault.text, unit.commands, at: element, worker: self.index)
            } else {
                try self.check(fault.text)
                trouble = fault.text
                again.insert(fault.index)
            }
        }
        for (index, unit) in units.enumerated() where !again.contains(index) { self.done(unit) }
        return again.sorted().map { units[$0] }
    }

    private func done(_ unit: SlotUnits) {
        self.ledger[unit.slot] = unit.marker(epoch: self.epoch)
        self.meter.sent(
            commands: unit.commands.commandCount, bytes: unit.commands.bytes.count)
    }

    /// Returns if the same may be sent again later.
    private func check(_ text: String) throws(RunError) {
        if text.contains(SlotUnits.otherMarker) {
            // Another run, a lost tail or an emptied node: the next try finds out which.
            throw .targetLost("a marker of the target is not the one that was left there")
        }
        guard !ClusterClient.isPassing(text) else { return }
        if text.hasPrefix("NOSCRIPT") { throw .targetLost("the target forgot a script") }
        throw Self.error(text, "a batch")
    }

    /// A batch with a command that is too long for the script; false = not carried out.
    private func transact(
        _ unit: SlotUnits, _ link: Link, _ trouble: inout String
    ) async throws(RunError) -> Bool {
        let key = SlotMarker.key(job: self.server.job, slot: unit.slot)
        var watch = CommandBuffer()
        watch.append([Array("WATCH".utf8), key])
        watch.append([Array("GET".utf8), key])
        let seen = try await link.connection.exchange(watch)
        if let fault = seen.faults.first {
            try self.check(fault.text)
            trouble = fault.text
            return false
        }
        guard Array(seen.lastValue) == self.ledger[unit.slot] else {
            throw .targetLost("a marker of the target is not the one that was left there")
        }
        let window = unit.transaction(
            job: self.server.job, after: unit.marker(epoch: self.epoch))
        let replies = try await link.connection.exchange(window)
        if let fault = replies.faults.first(where: { ClusterClient.isPassing($0.text) }) {
            trouble = fault.text
            return false
        }
        guard replies.nullReplies == 0 else {
            throw .targetLost("a marker of the target was changed by another")
        }
        for fault in replies.faults {
            guard FaultClass.of(fault.text) == .data else {
                throw Self.error(fault.text, "a batch")
            }
            if fault.text.hasPrefix("EXECABORT") {
                throw .rejected("the target rejects a transaction; see \(self.letters.path)")
            }
            let at = fault.element ?? (fault.index - 1)
            try self.letters.add(fault.text, unit.commands, at: at, worker: self.index)
        }
        self.done(unit)
        return true
    }
}
