import MigrateCore
import Testing

@Suite struct SettlingTests {
    private static func markers(_ offset: UInt64) -> [Int: [Int: Marker]] {
        let position = RedisPosition(replicationID: "a", offset: offset, database: 0)
        return [0: [1: Marker(epoch: 1, position: .redis(position), horizon: nil)]]
    }

    /// What is said at each time about a marker with that offset.
    private static func answers(_ looks: [(offset: UInt64, time: Int64)]) -> [Bool] {
        var settling = Settling(now: 0)
        return looks.map { settling.isOver(Self.markers($0.offset), now: $0.time) }
    }

    @Test func aTargetWhoseMarkersRestIsSettledAfterTheQuietTimeAndNotBefore() {
        let quiet = Settling.quietMilliseconds
        #expect(Self.answers([(10, 0), (10, quiet - 1), (10, quiet)]) == [false, false, true])
    }

    @Test func aMarkerThatALostConnectionStillMovesBeginsTheQuietTimeAnew() {
        let quiet = Settling.quietMilliseconds
        let late = quiet - 1
        let looks = [(10, 0), (20, late), (20, quiet), (20, late + quiet - 1), (20, late + quiet)]
        #expect(
            Self.answers(looks.map { (UInt64($0.0), Int64($0.1)) })
                == [false, false, false, false, true])
    }

    @Test func markersOfARunThatGoesOnAreNotWaitedForWithoutEnd() {
        let times = stride(from: 0, through: Settling.maxMilliseconds, by: 100)
        let answers = Self.answers(times.map { (UInt64($0), $0) })
        #expect(answers.last == true)
        #expect(!answers.dropLast().contains(true))
    }
}
