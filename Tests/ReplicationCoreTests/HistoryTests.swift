import ReplicationCore
import SyncProtocol
import Testing

/// The identity rules of the design, section 6: who may continue from whose log.
@Suite("History")
struct HistoryTests {
    static let first = HistoryEntry(
        id: replicationID("a"), previousEnd: .zero, previousDigest: 0, start: .zero)
    static let second = HistoryEntry(
        id: replicationID("b"), previousEnd: at(3, 100), previousDigest: 33, start: at(4, 0))
    static let foreign = HistoryEntry(
        id: replicationID("c"), previousEnd: at(3, 80), previousDigest: 31, start: at(4, 0))
    static let ours = History(entries: [first, second])
    static let end = at(5, 500)

    func claim(_ entries: [HistoryEntry], digest: UInt64 = 7) -> HistoryClaim {
        HistoryClaim(entries: entries, digest: digest, endsInsideGroup: false)
    }

    @Test("A replica of the same history continues where its digest agrees")
    func sameHistory() {
        let verdict = Self.ours.judge(
            claim([Self.first, Self.second]), end: at(5, 200), ourEnd: Self.end,
            evidence: .boundary(digest: 7))
        #expect(verdict == .continues)
    }

    @Test("F20: a replica that lacks the newest entry continues up to the end before it")
    func lacksEntry() {
        let upTo = Self.ours.judge(
            claim([Self.first]), end: at(3, 100), ourEnd: Self.end,
            evidence: .boundary(digest: 7))
        #expect(upTo == .continues)
        let beyond = Self.ours.judge(
            claim([Self.first]), end: at(3, 101), ourEnd: Self.end,
            evidence: .boundary(digest: 7))
        #expect(beyond == .diverged(ours: at(3, 100), theirs: at(3, 101)))
    }

    @Test("A former master that holds items which the new master lacks is refused, both named")
    func formerMaster() {
        let verdict = Self.ours.judge(
            claim([Self.first]), end: at(3, 300), ourEnd: Self.end, evidence: .notABoundary)
        #expect(verdict == .diverged(ours: at(3, 100), theirs: at(3, 300)))
        #expect(verdict.explanation.contains("3:100"))
        #expect(verdict.explanation.contains("3:300"))
    }

    @Test("Two promotions of the same log part at the earlier end")
    func twoPromotions() {
        let verdict = Self.ours.judge(
            claim([Self.first, Self.foreign]), end: at(4, 50), ourEnd: Self.end,
            evidence: .boundary(digest: 7))
        #expect(verdict == .diverged(ours: at(3, 80), theirs: at(4, 50)))
    }

    @Test("Entries that begin behind the end of its log say nothing about its items")
    func laterEntries() {
        let verdict = Self.ours.judge(
            claim([Self.first, Self.foreign]), end: at(3, 70), ourEnd: Self.end,
            evidence: .boundary(digest: 7))
        #expect(verdict == .continues)
    }

    @Test("A log of another history is told apart from one that is merely behind")
    func unrelated() {
        let other = HistoryEntry(
            id: replicationID("z"), previousEnd: .zero, previousDigest: 0, start: .zero)
        let verdict = Self.ours.judge(
            claim([other]), end: at(2, 10), ourEnd: Self.end, evidence: .boundary(digest: 7))
        #expect(verdict == .unrelated(theirs: at(2, 10)))
        #expect(
            Self.ours.judge(
                claim([]), end: .zero, ourEnd: Self.end, evidence: .boundary(digest: 7))
                == .unrelated(theirs: .zero))
    }

    @Test("The same position with another digest is another log")
    func digestDiffers() {
        let verdict = Self.ours.judge(
            claim([Self.first, Self.second], digest: 8), end: at(5, 200), ourEnd: Self.end,
            evidence: .boundary(digest: 7))
        #expect(verdict == .digestDiffers(at: at(5, 200)))
    }

    @Test("A file that is gone asks for a full copy, a place inside an item is refused")
    func evidence() {
        let entries = claim([Self.first, Self.second])
        #expect(
            Self.ours.judge(
                entries, end: at(4, 10), ourEnd: Self.end, evidence: .fileMissing) == .purged)
        #expect(
            Self.ours.judge(
                entries, end: at(4, 10), ourEnd: Self.end, evidence: .notABoundary)
                == .notABoundary(theirs: at(4, 10)))
        #expect(
            Self.ours.judge(
                entries, end: at(5, 501), ourEnd: Self.end, evidence: .notABoundary)
                == .ahead(ours: Self.end, theirs: at(5, 501)))
    }

    @Test("A real Pika can't cross a file that ended early")
    func realPikaAtEarlyEnd() {
        func judge(
            _ position: BinlogPosition, earlyEnd: BinlogPosition?
        ) -> ContinuationVerdict {
            History.judge(
                position: position, ourEnd: Self.end, earlyEnd: earlyEnd,
                evidence: .boundary(digest: nil))
        }
        #expect(judge(at(3, 100), earlyEnd: at(3, 100)) == .purged)
        #expect(judge(at(4, 0), earlyEnd: at(3, 100)) == .continues)
        #expect(judge(.zero, earlyEnd: nil) == .continues)
    }

    @Test("A real Pika's position is judged as spec 6.2 has it")
    func realPika() {
        func judge(
            _ position: BinlogPosition, _ evidence: PositionEvidence
        ) -> ContinuationVerdict {
            History.judge(
                position: position, ourEnd: Self.end, earlyEnd: nil, evidence: evidence)
        }
        #expect(
            judge(at(5, 501), .notABoundary) == .ahead(ours: at(5, 500), theirs: at(5, 501)))
        #expect(judge(at(4, 5), .notABoundary) == .notABoundary(theirs: at(4, 5)))
        #expect(judge(at(4, 5), .fileMissing) == .purged)
        #expect(judge(at(5, 500), .boundary(digest: 9)) == .continues)
    }

    @Test("A cut log drops the entries that start behind its end, never the first")
    func cut() {
        var history = Self.ours
        history.cut(to: at(4, 0))
        #expect(history.entries == [Self.first, Self.second])
        history.cut(to: at(3, 90))
        #expect(history.entries == [Self.first])
        history.cut(to: .zero)
        #expect(history.entries == [Self.first])
    }

    @Test("Only the newest entries are kept, and logs that share them still match")
    func bounded() {
        var history = History(entries: [Self.first])
        for number in 1...(UInt32(History.maximumEntries) + 5) {
            history.begin(
                HistoryEntry(
                    id: replicationID("b"), previousEnd: at(number, 10), previousDigest: 1,
                    start: at(number + 1, 0)))
        }
        #expect(history.entries.count == History.maximumEntries)
        let verdict = history.judge(
            HistoryClaim(
                entries: history.entries.suffix(2), digest: 1, endsInsideGroup: false),
            end: at(70, 5), ourEnd: at(71, 0), evidence: .boundary(digest: 1))
        #expect(verdict == .continues)
    }
}
