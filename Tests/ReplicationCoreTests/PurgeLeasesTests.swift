import ReplicationCore
import SyncProtocol
import Testing

/// Who keeps the log, and for how long: F8, F27, B13.
@Suite("Purge leases")
struct PurgeLeasesTests {
    static let one = PurgeLeases.Holder.replica(ReplicaAddress(host: "10.0.0.1", port: 19_221))
    static let two = PurgeLeases.Holder.replica(ReplicaAddress(host: "10.0.0.11", port: 9_221))

    @Test("The lowest lease is the floor, per database")
    func floor() {
        var leases = PurgeLeases()
        #expect(leases.floor(database: "db0") == nil)
        leases.hold(Self.one, database: "db0", from: at(4, 10))
        leases.hold(Self.two, database: "db0", from: at(3, 10))
        leases.hold(Self.one, database: "db1", from: at(1, 0))
        #expect(leases.floor(database: "db0") == at(3, 10))
        leases.hold(Self.two, database: "db0", from: at(5, 0))
        #expect(leases.floor(database: "db0") == at(4, 10))
        #expect(leases.floor(database: "db1") == at(1, 0))
    }

    @Test("F22: two replicas whose host and port read alike when glued are two")
    func noCollision() {
        var leases = PurgeLeases()
        leases.hold(Self.one, database: "db0", from: at(1, 0))
        leases.hold(Self.two, database: "db0", from: at(2, 0))
        leases.release(Self.one, database: "db0")
        #expect(leases.floor(database: "db0") == at(2, 0))
    }

    @Test("B13: a lost replica's lease expires; one that came back is live again")
    func lost() {
        var leases = PurgeLeases()
        leases.configuration.lostReplica = .seconds(60)
        leases.hold(Self.one, database: "db0", from: at(1, 0))
        leases.hold(Self.two, database: "db0", from: at(2, 0))
        leases.lose(Self.one, database: "db0", now: seconds(0))
        leases.lose(Self.two, database: "db0", now: seconds(0))
        leases.lose(Self.one, database: "db0", now: seconds(50))
        leases.hold(Self.two, database: "db0", from: at(2, 0))
        leases.expire(now: seconds(59))
        #expect(leases.floor(database: "db0") == at(1, 0))
        leases.expire(now: seconds(60))
        #expect(leases.floor(database: "db0") == at(2, 0))
        leases.expire(now: seconds(600))
        #expect(leases.floor(database: "db0") == at(2, 0))
    }

    @Test("F27: leases that hold more than the ceiling give way, and are named")
    func ceiling() {
        var leases = PurgeLeases()
        leases.configuration.ceilingBytes = 300
        leases.hold(Self.one, database: "db0", from: at(1, 0))
        leases.hold(Self.two, database: "db0", from: at(7, 0))
        leases.hold(.snapshot("x"), database: "db0", from: at(6, 0))
        let dropped = leases.enforceCeiling(database: "db0") { position in
            UInt64(9 - position.fileNumber) * 100
        }
        #expect(dropped.map(\.holder) == [Self.one])
        #expect(leases.floor(database: "db0") == at(6, 0))
    }
}
