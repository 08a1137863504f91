import NIOCore
import SyncProtocol
import Testing

@testable import Replication

@Suite("Frame reader")
struct FrameReaderTests {
    func frame(_ body: [UInt8]) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(UInt32(body.count), endianness: .big)
        buffer.writeBytes(body)
        return buffer
    }

    @Test("Frames come out whole however they were cut", arguments: [1, 2, 3, 4, 5, 7, 100, 4_096])
    func cuts(pieceBytes: Int) throws {
        let bodies = [1, 3, 4, 5, 1_000, 1, 9_000, 2, 70_000].enumerated().map { number, count in
            [UInt8](repeating: UInt8(number + 1), count: count)
        }
        var stream = ByteBuffer()
        for body in bodies { stream.writeImmutableBuffer(frame(body)) }
        var reader = FrameReader(limits: .fileResponse)
        var found: [[UInt8]] = []
        while stream.readableBytes > 0 {
            var piece = stream.readSlice(length: min(pieceBytes, stream.readableBytes)) ?? stream
            reader.append(&piece)
            while let body = try reader.next() { found.append(Array(body.readableBytesView)) }
        }
        #expect(found == bodies)
        #expect(reader.pendingBytes == 0)
    }

    @Test("A frame that was handed out keeps its bytes while the next ones arrive")
    func independent() throws {
        var reader = FrameReader(limits: .fileResponse)
        var stream = frame([UInt8](repeating: 7, count: 500))
        stream.writeImmutableBuffer(frame([UInt8](repeating: 8, count: 500)))
        var first = stream.readSlice(length: 700) ?? stream
        reader.append(&first)
        let one = try reader.next()
        let none = try reader.next()
        reader.append(&stream)
        let two = try reader.next()
        #expect(none == nil)
        #expect(one == ByteBuffer(repeating: 7, count: 500))
        #expect(two == ByteBuffer(repeating: 8, count: 500))
    }

    @Test("A hostile length is refused at once, also when it comes byte by byte")
    func hostile() throws {
        var reader = FrameReader(limits: .fileRequest)
        for byte in [UInt8(0xFF), 0xFF, 0xFF] {
            var piece = ByteBuffer(bytes: [byte])
            reader.append(&piece)
            let none = try reader.next()
            #expect(none == nil)
        }
        var last = ByteBuffer(bytes: [0xFF])
        reader.append(&last)
        #expect(throws: WireError.self) { _ = try reader.next() }
        var empty = FrameReader(limits: .fileRequest)
        var zeros = ByteBuffer(bytes: [0, 0, 0, 0])
        empty.append(&zeros)
        #expect(throws: WireError.emptyFrame) { _ = try empty.next() }
    }
}
