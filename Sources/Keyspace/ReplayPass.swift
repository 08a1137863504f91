internal import Binlog
internal import PikaStorage
internal import SyncProtocol

/// One pass over items in log order: recovery and replicas.
///
/// Starts at the end of a whole group.
final class ReplayPass {
    let replayer: ItemReplayer
    /// End of the last item taken.
    private(set) var end: BinlogPosition
    /// End of the last whole group taken.
    private(set) var boundary: BinlogPosition
    /// Why the next item could not be taken.
    private(set) var failure: KeyspaceError?
    /// A `flushdb` was taken: stores have to be exchanged before the next item.
    var flush: Flush?

    private var tracker = GroupTracker()

    struct Flush {
        var kinds: StoreKinds
        /// End of the item before it.
        var previousEnd: BinlogPosition
        /// Its own end.
        var end: BinlogPosition
    }

    init(replayer: ItemReplayer, from position: BinlogPosition) {
        self.replayer = replayer
        end = position
        boundary = position
    }

    var isInsideGroup: Bool { tracker.isInsideGroup }

    /// Takes an item for the stores in `only`; stops before one that can't be applied and behind a
    /// `flushdb`.
    func take(
        _ item: Bytes, _ header: BinlogItemHeader, end itemEnd: BinlogPosition, only: StoreKinds
    ) -> CursorStep {
        do throws(ApplyError) {
            let outcome = try replayer.take(item, header, end: itemEnd, only: only)
            let previousEnd = end
            switch tracker.take(itemsLeftInGroup: header.itemsLeftInGroup) {
            case .complete: boundary = itemEnd
            case .begins: boundary = previousEnd
            case .continues: break
            }
            end = itemEnd
            if case .flush(let kinds) = outcome, !kinds.isEmpty {
                flush = Flush(kinds: kinds, previousEnd: previousEnd, end: itemEnd)
                return .stopAfter
            }
            return .next
        } catch {
            if case .unknownItem(let word) = error {
                failure = .stoppedAtUnknownItem(position: itemEnd, word: word)
            } else {
                failure = .apply(error)
            }
            return .stopBefore
        }
    }
}
