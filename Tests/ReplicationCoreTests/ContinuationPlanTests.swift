import ReplicationCore
import SyncProtocol
import Testing

private let address = ReplicaAddress(host: "10.0.0.1", port: 9221)

func runID(_ letter: Character) -> RunID {
    guard let id = RunID(String(repeating: letter, count: 40)) else {
        preconditionFailure("not an id: \(letter)")
    }
    return id
}

private let pika350 = KnownMaster(address: address, runID: runID("a"))
private let pika355 = KnownMaster(
    address: address, runID: runID("a"), replicationID: replicationID("1"))
private let ours = KnownMaster(
    address: address, runID: runID("a"), replicationID: replicationID("1"), isPeer: true)

/// Source: pika v3.5.0 src/pika_repl_client_conn.cc HandleMetaSyncResponse; v3.5.5 likewise.
@Suite("Continuation plan")
struct ContinuationPlanTests {
    private func local(
        _ origin: LocalDatabase.Origin, copy: LocalDatabase.UnfinishedCopy? = nil
    ) -> LocalDatabase {
        LocalDatabase(end: at(3, 100), origin: origin, unfinishedCopy: copy)
    }

    @Test(
        "An empty database needs a copy, whatever the master", arguments: [pika350, pika355, ours])
    func pristine(master: KnownMaster) {
        let plan = ContinuationPlan.make(for: local(.pristine), master: master, force: false)
        #expect(plan == .copy(resuming: nil))
    }

    @Test("F19: the same run id after a restart of the replica continues")
    func sameRunID() {
        let plan = ContinuationPlan.make(
            for: local(.received(from: pika350)), master: pika350, force: false)
        #expect(plan == .follow)
    }

    @Test("Another run id of a 3.5.0 means a copy, as every 3.5.0 replica makes")
    func otherRunID() {
        let former = KnownMaster(address: address, runID: runID("b"))
        let plan = ContinuationPlan.make(
            for: local(.received(from: former)), master: pika350, force: false)
        #expect(plan == .copy(resuming: nil))
    }

    @Test("F20: the same replication id continues, although the run id is another")
    func sameReplicationID() {
        let former = KnownMaster(
            address: ReplicaAddress(host: "10.0.0.9", port: 1), runID: runID("c"),
            replicationID: replicationID("1"))
        let plan = ContinuationPlan.make(
            for: local(.received(from: former)), master: pika355, force: false)
        #expect(plan == .follow)
    }

    @Test("Another replication id is refused")
    func otherReplicationID() {
        let former = KnownMaster(address: address, replicationID: replicationID("2"))
        let plan = ContinuationPlan.make(
            for: local(.received(from: former)), master: pika355, force: false)
        #expect(plan == .refuse(.otherHistory(ours: at(3, 100), theirs: nil)))
    }

    @Test("Own writes are never dropped for a real Pika without force")
    func ownWrites() {
        for master in [pika350, pika355] {
            let plan = ContinuationPlan.make(for: local(.own), master: master, force: false)
            #expect(plan == .refuse(.ownData(ours: at(3, 100), theirs: nil)))
            let forced = ContinuationPlan.make(for: local(.own), master: master, force: true)
            #expect(forced == .copy(resuming: nil))
        }
    }

    @Test("One of ours is asked with the history of an own log, and judges it")
    func ownWritesAtPeer() {
        let plan = ContinuationPlan.make(for: local(.own), master: ours, force: false)
        #expect(plan == .follow)
    }

    @Test("C2, C3: an unfinished copy of the same data set is resumed")
    func unfinished() {
        for master in [pika350, pika355, ours] {
            let copy = LocalDatabase.UnfinishedCopy(
                master: master, snapshotID: snapshotID("s"), position: at(7, 0))
            let plan = ContinuationPlan.make(
                for: local(.pristine, copy: copy), master: master, force: false)
            #expect(plan == .copy(resuming: copy))
        }
    }

    @Test("An unfinished copy of another data set is not")
    func unfinishedElsewhere() {
        let other = KnownMaster(address: address, runID: runID("z"))
        let copy = LocalDatabase.UnfinishedCopy(
            master: other, snapshotID: snapshotID("s"), position: at(7, 0))
        let plan = ContinuationPlan.make(
            for: local(.pristine, copy: copy), master: pika350, force: false)
        #expect(plan == .copy(resuming: nil))
    }

    @Test("Force copies anew, whatever is here")
    func force() {
        let copy = LocalDatabase.UnfinishedCopy(
            master: ours, snapshotID: snapshotID("s"), position: at(7, 0))
        let plan = ContinuationPlan.make(
            for: local(.received(from: ours), copy: copy), master: ours, force: true)
        #expect(plan == .copy(resuming: nil))
    }
}

@Suite("Back-off")
struct BackoffTests {
    @Test("F2: pauses grow, are bounded, and never zero")
    func bounds() {
        var backoff = Backoff(first: .milliseconds(200), longest: .seconds(10))
        var pauses: [Duration] = []
        for _ in 0..<12 { pauses.append(backoff.next()) }
        #expect(pauses[0] == .milliseconds(200))
        #expect(pauses[1] == .milliseconds(400))
        #expect(pauses.allSatisfy { $0 > .zero && $0 <= .seconds(10) })
        #expect(pauses.last == .seconds(10))
        backoff.reset()
        #expect(backoff.next() == .milliseconds(200))
    }
}
