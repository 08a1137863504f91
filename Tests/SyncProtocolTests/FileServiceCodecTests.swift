import NIOCore
import SwiftProtobuf
import SyncProtocol
import Testing

private struct ReadFault: Error, Equatable {}

func encoded(_ request: FileServiceRequest) -> ByteBuffer {
    var buffer = ByteBuffer()
    FileServiceCodec.encode(request, into: &buffer)
    return buffer
}

func encoded(_ response: FileListResponse) -> ByteBuffer {
    var buffer = ByteBuffer()
    FileServiceCodec.encode(response, into: &buffer)
    return buffer
}

/// A read response of `data`, or a refusal when there is no chunk.
func encoded(_ response: FileReadResponse, data: ByteBuffer, addsDigest: Bool) -> ByteBuffer {
    var buffer = ByteBuffer()
    guard response.chunk != nil else {
        FileServiceCodec.encodeRefusal(response, into: &buffer)
        return buffer
    }
    FileServiceCodec.encodeRead(response, addsDigest: addsDigest, into: &buffer) { room in
        data.withUnsafeReadableBytes { room.copyMemory(from: $0) }
    }
    return buffer
}

/// What swift-protobuf makes of a read response; nil if it refuses it.
private func protobufRead(_ body: ByteBuffer) -> (FileReadResponse, [UInt8])? {
    let bytes = Array(body.readableBytesView)
    guard
        let wire = try? WireFiles_Response(
            serializedBytes: bytes, extensions: WireExt_Extensions_Extensions),
        wire.type == .read
    else { return nil }
    let read = wire.read
    let refusal = wire.WireExt_refusal
    let response = FileReadResponse(
        status: wire.status == .ok ? .ok : .error, database: wire.databaseName,
        readerIndex: wire.readerIndex, snapshotID: wire.snapshotID,
        chunk: wire.hasRead
            ? FileChunk(
                filename: read.filename, offset: read.offset, count: read.count,
                isEnd: read.isEnd != 0, checksum: read.checksum,
                digest: read.hasWireExt_chunkDigest ? read.WireExt_chunkDigest : nil) : nil,
        requestID: wire.hasWireExt_responseID ? wire.WireExt_responseID : nil,
        refusal: wire.hasWireExt_refusal
            ? FileRefusal(
                reason: FileRefusalReason(rawValue: UInt32(refusal.reason.rawValue))
                    ?? .unspecified,
                retryAfterMilliseconds: refusal.retryAfterMilliseconds, percent: refusal.percent)
            : nil)
    return (response, Array(read.data))
}

@Suite("File service messages")
struct FileServiceCodecTests {
    private static func read(_ count: UInt64, requestID: UInt64? = nil) -> FileReadResponse {
        FileReadResponse(
            status: .ok, database: "db0", readerIndex: 2, snapshotID: "abc",
            chunk: FileChunk(
                filename: "strings/000012.sst", offset: 1 << 33, count: count, isEnd: true),
            requestID: requestID)
    }

    @Test("Every request survives the trip", arguments: Samples.fileRequests)
    func requests(_ request: FileServiceRequest) throws {
        let body = try onlyBody(encoded(request), limits: .fileRequest)
        #expect(try FileServiceCodec.decodeRequest(body) == request)
    }

    @Test("Every list response survives the trip", arguments: Samples.listResponses)
    func lists(_ response: FileListResponse) throws {
        let decoded = try FileServiceCodec.decodeResponse(try onlyBody(encoded(response)))
        #expect(decoded.response == .list(response))
        #expect(decoded.data.readableBytes == 0)
    }

    @Test("A chunk survives the trip, with and without a digest", arguments: [true, false])
    func chunks(_ addsDigest: Bool) throws {
        for (count, requestID) in [(0, nil), (1, 0), (127, 300), (262_144, .max)]
            as [(Int, UInt64?)]
        {
            let data = ByteBuffer(bytes: (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) })
            var response = Self.read(UInt64(count), requestID: requestID)
            let body = try onlyBody(encoded(response, data: data, addsDigest: addsDigest))
            let decoded = try FileServiceCodec.decodeResponse(body)
            if addsDigest { response.chunk?.digest = FileServiceCodec.digest(of: data) }
            #expect(decoded.response == .read(response))
            #expect(decoded.data == data)
            let (byProtobuf, bytes) = try #require(protobufRead(body))
            #expect(byProtobuf == response)
            #expect(bytes == Array(data.readableBytesView))
        }
    }

    @Test("The digest is XXH64 with seed 0")
    func digest() {
        #expect(FileServiceCodec.digest(of: ByteBuffer()) == 0xEF46_DB37_51D8_E999)
        #expect(FileServiceCodec.digest(of: ByteBuffer(string: "abc")) == 0x44BC_2CF5_AD77_0999)
    }

    @Test("A read that fails leaves the buffer as it was")
    func failedFill() {
        var buffer = ByteBuffer(bytes: [1, 2, 3])
        #expect(throws: ReadFault()) {
            try FileServiceCodec.encodeRead(Self.read(100), addsDigest: true, into: &buffer) {
                (_) throws(ReadFault) in
                throw ReadFault()
            }
        }
        #expect(buffer == ByteBuffer(bytes: [1, 2, 3]))
    }

    @Test("A refusal carries its reason; a reason of the future is unspecified")
    func refusals() throws {
        let response = FileReadResponse(
            status: .error, database: "db0", readerIndex: 1, snapshotID: "", requestID: 8,
            refusal: FileRefusal(reason: .badRange))
        let body = try onlyBody(encoded(response, data: ByteBuffer(), addsDigest: false))
        #expect(try FileServiceCodec.decodeResponse(body).response == .read(response))

        // Extension 1002 with reason 99, retry after 5 ms, 0 percent.
        var future = ByteBuffer(bytes: [0x08, 2, 0x10, 1, 0x1A, 0, 0x22, 1, 0x64, 0x28, 0, 0x30, 2])
        future.writeBytes([0xD2, 0x3E, 6, 0x08, 99, 0x10, 5, 0x18, 0])
        guard case .read(let decoded) = try FileServiceCodec.decodeResponse(future).response else {
            Issue.record("not a read response")
            return
        }
        #expect(
            decoded.refusal == FileRefusal(reason: .unspecified, retryAfterMilliseconds: 5))
    }

    @Test("Every prefix and every flipped bit agrees with swift-protobuf, and nothing traps")
    func tortureReads() throws {
        var frames = [
            encoded(
                Self.read(16, requestID: 9), data: ByteBuffer(repeating: 3, count: 16),
                addsDigest: true)
        ]
        frames.append(
            encoded(
                FileReadResponse(
                    status: .error, database: "db0", readerIndex: 1, snapshotID: "x",
                    refusal: FileRefusal(
                        reason: .busy, retryAfterMilliseconds: 250, percent: 100)),
                data: ByteBuffer(), addsDigest: false))
        for frame in frames {
            _ = torture(try onlyBody(frame)) { (body) throws(WireError) in
                let decoded = try FileServiceCodec.decodeResponse(body)
                guard case .read(let response) = decoded.response else { return }
                let other = protobufRead(body)
                #expect(response == other?.0)
                #expect(Array(decoded.data.readableBytesView) == other?.1)
            }
        }
    }

    @Test("Every prefix and every flipped bit of requests and lists is refused or read")
    func torturePlain() throws {
        for request in Samples.fileRequests {
            _ = torture(try onlyBody(encoded(request))) { (body) throws(WireError) in
                _ = try FileServiceCodec.decodeRequest(body)
            }
        }
        for response in Samples.listResponses {
            _ = torture(try onlyBody(encoded(response))) { (body) throws(WireError) in
                _ = try FileServiceCodec.decodeResponse(body)
            }
        }
    }

    @Test("Names that lead out of the directory are refused, in the list and in the manifest")
    func unsafeNames() throws {
        for name in [
            "../pika.conf", "/etc/passwd", "strings/../../x", "", "a//b", "a/", ".", "a\0b",
        ] {
            let list = FileListResponse(
                status: .ok, database: "db0", snapshotID: "abc", filenames: ["info", name])
            #expect(throws: WireError.invalidText(field: "filename"), "\(name)") {
                _ = try FileServiceCodec.decodeResponse(try onlyBody(encoded(list)))
            }
            var manifest = try #require(Samples.manifest)
            manifest.files.append(SnapshotFile(name: name, sizeBytes: 1))
            let full = FileListResponse(
                status: .ok, database: "db0", snapshotID: "abc", filenames: [],
                manifest: manifest)
            #expect(throws: WireError.invalidText(field: "filename"), "\(name)") {
                _ = try FileServiceCodec.decodeResponse(try onlyBody(encoded(full)))
            }
        }
    }

    @Test("Sizes that overflow, and a manifest of another snapshot, are refused")
    func oddManifests() throws {
        var manifest = try #require(Samples.manifest)
        manifest.files = [
            SnapshotFile(name: "a", sizeBytes: UInt64(Int64.max)),
            SnapshotFile(name: "b", sizeBytes: 1),
        ]
        for (id, manifest) in [("abc", manifest), ("abd", try #require(Samples.manifest))] {
            let list = FileListResponse(
                status: .ok, database: "db0", snapshotID: id, filenames: [], manifest: manifest)
            #expect(throws: WireError.self) {
                _ = try FileServiceCodec.decodeResponse(try onlyBody(encoded(list)))
            }
        }
    }

    @Test("Counts over 4 MiB, offsets that overflow and readers past 3 are refused")
    func requestLimits() throws {
        func request(count: UInt64, offset: UInt64, reader: Int32) -> FileServiceRequest {
            .read(
                FileReadRequest(
                    database: "db0", readerIndex: reader, filename: "info", offset: offset,
                    count: count))
        }
        func decode(_ request: FileServiceRequest) throws -> FileServiceRequest {
            try FileServiceCodec.decodeRequest(try onlyBody(encoded(request)))
        }
        let most = request(count: 4_194_304, offset: UInt64(Int64.max) - 4_194_304, reader: 3)
        #expect(try decode(most) == most)
        for over in [
            request(count: 4_194_305, offset: 0, reader: 0),
            request(count: .max, offset: 0, reader: 0),
            request(count: 2, offset: UInt64(Int64.max) - 1, reader: 0),
            request(count: 0, offset: .max, reader: 0), request(count: 1, offset: 0, reader: 4),
            request(count: 1, offset: 0, reader: 77), request(count: 1, offset: 0, reader: -1),
        ] {
            #expect(throws: WireError.self) { try decode(over) }
        }
    }

    @Test("A chunk that says another count than it has is refused")
    func countMismatch() throws {
        let data = ByteBuffer(repeating: 1, count: 10)
        var bytes = Array(
            try onlyBody(encoded(Self.read(10), data: data, addsDigest: false)).readableBytesView)
        let index = try #require(
            bytes.indices.dropLast().first { bytes[$0] == 0x10 && bytes[$0 + 1] == 10 })
        bytes[index + 1] = 11
        #expect(throws: WireError.outOfRange(field: "read.count", value: 11, allowed: 10...10)) {
            _ = try FileServiceCodec.decodeResponse(ByteBuffer(bytes: bytes))
        }
    }
}
