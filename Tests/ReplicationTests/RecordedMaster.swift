import NIOCore
import SyncProtocol

/// Scripts for a fake master, made of what a real one was recorded to send.
enum RecordedMaster {
    /// The answers and items of replication connections, one after the other.
    static func state(_ connections: [String], files: [String: String] = [:]) throws
        -> FakeMaster.State
    {
        var state = FakeMaster.State()
        for connection in connections {
            for response in try Traces.responses(connection) {
                switch response {
                case .control(.metaSync(let answer)): state.metaSync.append(answer)
                case .control(.trySync(let answer)):
                    guard let name = answer.verdict?.database else { continue }
                    state.trySync[name, default: []].append(answer)
                case .control(.dbSync(let answer)):
                    guard let name = answer.grant?.database else { continue }
                    state.dbSync[name, default: []].append(answer)
                case .control: break
                case .batch(let batch):
                    for chip in batch.owned.chips where !chip.isKeepAlive {
                        state.chips[chip.database, default: []].append(chip)
                    }
                }
            }
        }
        for (database, name) in files { state.dumps[database] = try self.dump(name) }
        return state
    }

    /// The files that a real master served on one connection, put together again.
    static func dump(_ connection: String) throws -> FakeDump {
        var dump = FakeDump(snapshotID: "", names: [], files: [:])
        let frames = try Traces.frames(
            "\(connection)-rsync-m2r.bin", limits: .fileResponse)
        for frame in frames {
            let decoded = try FileServiceCodec.decodeResponse(frame)
            switch decoded.response {
            case .list(let list):
                guard list.status == .ok else { continue }
                dump.snapshotID = list.snapshotID
                dump.names = list.filenames ?? []
            case .read(let read):
                guard let chunk = read.chunk else { continue }
                var file = dump.files[chunk.filename] ?? []
                let end = Int(chunk.offset) + decoded.data.readableBytes
                if file.count < end { file += [UInt8](repeating: 0, count: end - file.count) }
                file.replaceSubrange(Int(chunk.offset)..<end, with: decoded.data.readableBytesView)
                dump.files[chunk.filename] = file
            }
        }
        return dump
    }

    /// Which database a file connection is about.
    static func database(_ connection: String) throws -> String {
        let frames = try Traces.frames("\(connection)-rsync-r2m.bin", limits: .fileRequest)
        guard let first = frames.first else { return "" }
        switch try FileServiceCodec.decodeRequest(first) {
        case .list(let list): return list.database
        case .read(let read): return read.database
        }
    }
}
