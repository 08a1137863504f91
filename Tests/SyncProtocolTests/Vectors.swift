import Foundation
import NIOCore
import SyncProtocol
import Testing

/// The golden bytes of `sync-protocol/vectors`.
enum Vectors {
    static let directory = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("sync-protocol/vectors")

    /// `traces/NN/cNN-<service>-<direction>.bin`, sorted.
    static func traces(service: String, direction: String) -> [String] {
        let root = directory.appendingPathComponent("traces")
        let names = FileManager.default.enumerator(atPath: root.path)?.allObjects ?? []
        return names.compactMap { $0 as? String }
            .filter { $0.hasSuffix("-\(service)-\(direction).bin") }.sorted()
    }

    static func frames(ofTrace name: String, limits: FrameLimits) throws -> [ByteBuffer] {
        let data = try Data(contentsOf: directory.appendingPathComponent("traces/\(name)"))
        var buffer = ByteBuffer(bytes: data)
        var decoder = FrameDecoder(limits: limits)
        var frames: [ByteBuffer] = []
        while let frame = try decoder.next(from: &buffer) { frames.append(frame) }
        return frames
    }

    /// Name → frame, length included.
    static func goldenFrames() throws -> [String: [UInt8]] {
        let text = try String(
            contentsOf: directory.appendingPathComponent("golden-frames.txt"), encoding: .utf8)
        var frames: [String: [UInt8]] = [:]
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            let words = line.split(separator: " ")
            frames[String(words[0])] = bytes(hex: words.dropFirst().joined())
        }
        return frames
    }

    static func bytes(hex: String) -> [UInt8] {
        let digits = Array(hex.utf8)
        return stride(from: 0, to: digits.count - 1, by: 2).compactMap { index in
            UInt8(String(decoding: digits[index...index + 1], as: UTF8.self), radix: 16)
        }
    }
}

/// A frame: length, then `body`.
func framed(_ body: ByteBuffer) -> ByteBuffer {
    var frame = ByteBuffer()
    frame.writeInteger(UInt32(body.readableBytes), endianness: .big)
    frame.writeImmutableBuffer(body)
    return frame
}

/// The body of a buffer that holds exactly one frame.
func onlyBody(_ frame: ByteBuffer, limits: FrameLimits = .replicationResponse) throws -> ByteBuffer
{
    var frame = frame
    var decoder = FrameDecoder(limits: limits)
    let body = try #require(try decoder.next(from: &frame))
    #expect(frame.readableBytes == 0)
    return body
}

/// Runs `decode` on every strict prefix and every single-bit flip of `body`; it must not trap, and
/// what it throws must be a `WireError` (its type says so).
func torture(_ body: ByteBuffer, _ decode: (ByteBuffer) throws(WireError) -> Void) -> Int {
    let bytes = Array(body.readableBytesView)
    var accepted = 0
    func run(_ mutated: some Sequence<UInt8>) {
        do throws(WireError) {
            try decode(ByteBuffer(bytes: mutated))
            accepted += 1
        } catch {
            #expect(!error.description.isEmpty)
        }
    }
    for count in bytes.indices { run(bytes[..<count]) }
    for index in bytes.indices {
        for bit in 0..<8 {
            var mutated = bytes
            mutated[index] ^= 1 << UInt8(bit)
            run(mutated)
        }
    }
    return accepted
}
