import NIOCore
import SyncProtocol
import Testing

@Suite("Frames")
struct FrameDecoderTests {
    @Test("Several frames in one segment, and one frame byte by byte, read the same")
    func segmentation() throws {
        var stream = ByteBuffer()
        let bodies: [[UInt8]] = [[1], [2, 3], Array(repeating: 7, count: 300)]
        for body in bodies { stream.writeImmutableBuffer(framed(ByteBuffer(bytes: body))) }

        var whole = stream
        var decoder = FrameDecoder(limits: FrameLimits(maxBodyBytes: 300))
        for body in bodies {
            #expect(try decoder.next(from: &whole).map { Array($0.readableBytesView) } == body)
        }
        #expect(try decoder.next(from: &whole) == nil)

        var fed = ByteBuffer()
        var seen: [[UInt8]] = []
        for byte in stream.readableBytesView {
            fed.writeInteger(byte)
            if let body = try decoder.next(from: &fed) {
                seen.append(Array(body.readableBytesView))
            }
        }
        #expect(seen == bodies)
    }

    @Test("The decoder says how much it lacks")
    func missingBytes() throws {
        var decoder = FrameDecoder(limits: .replicationRequest)
        var buffer = ByteBuffer(bytes: [0, 0])
        #expect(try decoder.next(from: &buffer) == nil)
        #expect(decoder.missingBytes == 2)
        buffer.writeBytes([0, 10, 1])
        #expect(try decoder.next(from: &buffer) == nil)
        #expect(decoder.missingBytes == 9)
    }

    @Test("A body one byte over the limit is refused by its length alone")
    func limit() throws {
        var decoder = FrameDecoder(limits: FrameLimits(maxBodyBytes: 100))
        var fits = framed(ByteBuffer(bytes: Array(repeating: 1, count: 100)))
        #expect(try decoder.next(from: &fits) != nil)
        var over = ByteBuffer(bytes: [0, 0, 0, 101])
        #expect(throws: WireError.frameTooLong(bodyBytes: 101, limitBytes: 100)) {
            try decoder.next(from: &over)
        }
        var hostile = ByteBuffer(bytes: [0xFF, 0xFF, 0xFF, 0xFF])
        #expect(throws: WireError.frameTooLong(bodyBytes: .max, limitBytes: 100)) {
            try decoder.next(from: &hostile)
        }
    }

    @Test("No limit may reach the 512 MiB at which a real Pika closes")
    func hardLimit() {
        #expect(FrameLimits(maxBodyBytes: .max).maxBodyBytes == 536_870_907)
    }

    @Test("An empty frame is an error: a real Pika takes it for the end of the connection")
    func emptyFrame() {
        var decoder = FrameDecoder(limits: .replicationRequest)
        var buffer = ByteBuffer(bytes: [0, 0, 0, 0, 1])
        #expect(throws: WireError.emptyFrame) { try decoder.next(from: &buffer) }
    }
}
