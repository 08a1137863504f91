import ReplicationCore
import SyncProtocol

func at(_ fileNumber: UInt32, _ offset: UInt64) -> BinlogPosition {
    BinlogPosition(fileNumber: fileNumber, offset: offset)
}

func seconds(_ count: Double) -> MonotonicInstant {
    MonotonicInstant(nanoseconds: 1_000_000_000_000 + UInt64(count * 1_000_000_000))
}

func replicationID(_ letter: Character) -> ReplicationID {
    guard let id = ReplicationID(String(repeating: letter, count: 50)) else {
        preconditionFailure("not an id: \(letter)")
    }
    return id
}

func snapshotID(_ text: String) -> SnapshotID {
    guard let id = SnapshotID(text) else { preconditionFailure("not an id: \(text)") }
    return id
}
