import Foundation
import NIOCore
import SyncProtocol

/// The recorded peers of `sync-protocol/vectors/traces`.
enum Traces {
    static let directory = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("sync-protocol/vectors/traces")

    /// `NN/cNN-repl-r2m.bin` with its other direction beside it: one connection each.
    static let replicationConnections: [String] = {
        let names =
            FileManager.default.enumerator(atPath: directory.path)?.allObjects
            .compactMap { $0 as? String } ?? []
        return names.filter { $0.hasSuffix("-repl-r2m.bin") }
            .filter { names.contains(otherDirection($0)) }
            .map { String($0.dropLast("-repl-r2m.bin".count)) }
            .sorted()
    }()

    static func otherDirection(_ name: String) -> String {
        name.replacingOccurrences(of: "-r2m.", with: "-m2r.")
    }

    static func bytes(_ name: String) throws -> ByteBuffer {
        ByteBuffer(bytes: try Data(contentsOf: directory.appendingPathComponent(name)))
    }

    static func frames(_ name: String, limits: FrameLimits) throws -> [ByteBuffer] {
        var buffer = try bytes(name)
        var decoder = FrameDecoder(limits: limits)
        var frames: [ByteBuffer] = []
        while let frame = try decoder.next(from: &buffer) { frames.append(frame) }
        return frames
    }

    static func requests(_ connection: String) throws -> [ReplicationRequest] {
        try frames("\(connection)-repl-r2m.bin", limits: .replicationRequest)
            .map { try ReplicationCodec.decodeRequest($0) }
    }

    static func responses(_ connection: String) throws -> [DecodedReplicationResponse] {
        try frames("\(connection)-repl-m2r.bin", limits: .replicationResponse)
            .map { try ReplicationCodec.decodeResponse($0) }
    }
}
