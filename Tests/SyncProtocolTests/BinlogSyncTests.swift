import NIOCore
import SwiftProtobuf
import SyncProtocol
import Testing

/// What swift-protobuf makes of a BinlogSync response; nil if it refuses it.
func protobufBatch(_ body: ByteBuffer) -> BinlogSyncResponse? {
    let bytes = Array(body.readableBytesView)
    guard
        let wire = try? WireResponse(
            serializedBytes: bytes, extensions: WireExt_Extensions_Extensions),
        wire.type == .binlogSync, let status = StatusCode(rawValue: Int32(wire.status.rawValue))
    else { return nil }
    let chips = wire.binlogSync.map { chip in
        let hasCounter = chip.end.hasTerm || chip.end.hasIndex
        return BinlogChip(
            database: chip.database.name,
            end: BinlogOffset(
                BinlogPosition(fileNumber: chip.end.fileNumber, offset: chip.end.offset),
                logicID: hasCounter ? LogicID(term: chip.end.term, index: chip.end.index) : nil),
            item: Array(chip.item), session: SessionID(rawValue: chip.sessionID))
    }
    let end = wire.WireExt_durableEnd
    return BinlogSyncResponse(
        status: status, reply: wire.hasReply ? wire.reply : nil, chips: chips,
        durableEnd: wire.hasWireExt_durableEnd
            ? BinlogPosition(fileNumber: end.fileNumber, offset: end.offset) : nil)
}

func decodedBatch(_ body: ByteBuffer) throws(WireError) -> BinlogSyncBatch? {
    guard case .batch(let batch) = try ReplicationCodec.decodeResponse(body) else { return nil }
    return batch
}

/// Writes a response of one session with the hot path's encoder.
func handEncoded(_ response: BinlogSyncResponse) -> ByteBuffer? {
    guard let first = response.chips.first, response.status == .ok, response.reply == nil,
        response.chips.allSatisfy({
            $0.database == first.database && $0.session == first.session && $0.end.logicID != nil
        })
    else { return nil }
    var buffer = ByteBuffer()
    var encoder = BinlogSyncEncoder(database: first.database, session: first.session)
    encoder.begin(in: &buffer, durableEnd: response.durableEnd)
    for chip in response.chips {
        guard let logicID = chip.end.logicID else { return nil }
        chip.item.withUnsafeBytes {
            encoder.append(item: $0, end: chip.end.position, logicID: logicID, in: &buffer)
        }
    }
    encoder.finish(in: &buffer)
    return buffer
}

@Suite("BinlogSync by hand")
struct BinlogSyncTests {
    @Test("The encoder writes what swift-protobuf would")
    func encoderAgrees() throws {
        var generator = SplitMix(state: 42)
        for _ in 0..<500 {
            let session = SessionID(rawValue: Int32(truncatingIfNeeded: generator.next()))
            let response = BinlogSyncResponse(
                chips: (0..<Int.random(in: 1...20, using: &generator)).map { _ in
                    BinlogChip(
                        database: "db3", end: generator.offset(),
                        item: generator.bytes(upTo: 300), session: session)
                },
                durableEnd: Bool.random(using: &generator) ? generator.offset().position : nil)
            let byHand = try #require(handEncoded(response))
            #expect(byHand == encoded(.binlogSync(response)))
            #expect(try decodedBatch(try onlyBody(byHand))?.owned == response)
        }
    }

    @Test("Frames follow each other in one buffer, and the open frame's size is known")
    func severalFrames() throws {
        var buffer = ByteBuffer(bytes: [9])
        var encoder = BinlogSyncEncoder(database: "db0", session: SessionID(rawValue: 1))
        for _ in 0..<3 {
            encoder.begin(in: &buffer)
            [1, 2, 3].withUnsafeBytes {
                encoder.append(
                    item: $0, end: Samples.position, logicID: LogicID(term: 0, index: 1),
                    in: &buffer)
            }
            #expect(encoder.count == 1)
            #expect(encoder.bodyBytes(in: buffer) > 24)
            encoder.finish(in: &buffer)
        }
        encoder.encodeKeepAlive(into: &buffer)
        buffer.moveReaderIndex(forwardBy: 1)
        var decoder = FrameDecoder(limits: .replicationResponse)
        var chips: [BinlogSyncBatch.Chip] = []
        while let body = try decoder.next(from: &buffer) {
            chips += try #require(try decodedBatch(body)).chips
        }
        #expect(chips.map(\.isKeepAlive) == [false, false, false, true])
        #expect(buffer.readableBytes == 0)
    }

    @Test("The hot path's keep-alive is the plain one")
    func keepAlive() {
        let session = SessionID(rawValue: 300)
        var buffer = ByteBuffer()
        BinlogSyncEncoder(database: "db5", session: session).encodeKeepAlive(into: &buffer)
        #expect(
            buffer == encoded(.binlogSync(.keepAlive(database: "db5", session: session))))
    }

    @Test("The decoder agrees with swift-protobuf on every prefix and every flipped bit")
    func decoderAgrees() throws {
        let body = try onlyBody(encoded(.binlogSync(Samples.batch)))
        let accepted = torture(body) { (body) throws(WireError) in
            guard let batch = try decodedBatch(body) else { return }
            #expect(batch.owned == protobufBatch(body))
        }
        // Flips inside an item's bytes are not the codec's to find.
        #expect(accepted > 1_600)
    }

    @Test("The decoder agrees with swift-protobuf on shuffled, repeated and spliced fields")
    func decoderAgreesOnSplices() throws {
        let bytes = Array(try onlyBody(encoded(.binlogSync(Samples.batch))).readableBytesView)
        var generator = SplitMix(state: 7)
        var read = 0
        for _ in 0..<20_000 {
            var mutated = bytes
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let from = Int.random(in: 0..<mutated.count, using: &generator)
                let count = Int.random(in: 0...min(24, mutated.count - from), using: &generator)
                let piece = Array(mutated[from..<(from + count)])
                let to = Int.random(in: 0..<mutated.count, using: &generator)
                if Bool.random(using: &generator) {
                    mutated.insert(contentsOf: piece, at: to)
                } else {
                    mutated.replaceSubrange(to..<min(mutated.count, to + count), with: piece)
                }
            }
            let body = ByteBuffer(bytes: mutated)
            if let batch = try? decodedBatch(body) {
                #expect(batch.owned == protobufBatch(body))
                read += 1
            }
        }
        #expect(read > 0)
    }

    @Test("Fields that a sender repeats are merged as protobuf merges them")
    func repeatedFields() throws {
        // database: name twice in two messages; end: file number and offset apart; item twice.
        let chip: [UInt8] =
            [0x0A, 5, 0x0A, 3] + Array("db0".utf8) + [0x0A, 5, 0x0A, 3] + Array("db1".utf8)
            + [0x0A, 2, 0x10, 0] + [0x12, 2, 0x08, 4] + [0x12, 2, 0x10, 9] + [0x1A, 1, 1]
            + [0x1A, 2, 7, 8] + [0x20, 1] + [0x20, 5]
        let body = ByteBuffer(bytes: [0x08, 4, 0x10, 1, 0x3A, UInt8(chip.count)] + chip)
        let owned = try #require(try decodedBatch(body)).owned
        #expect(owned == protobufBatch(body))
        #expect(owned.chips.first?.database == "db1")
        #expect(owned.chips.first?.item == [7, 8])
    }

    @Test("More items than the limit, and more databases than a server has, are refused")
    func limits() throws {
        func response(chips: Int, databases: Int) -> BinlogSyncResponse {
            BinlogSyncResponse(
                chips: (0..<chips).map { index in
                    BinlogChip(
                        database: "db\(index % databases)", end: .ping, item: [1],
                        session: SessionID(rawValue: 0))
                })
        }
        for (chips, databases, isTaken) in [
            (65_536, 1, true), (65_537, 1, false), (64, 8, true), (64, 9, false),
        ] {
            let body = try onlyBody(
                encoded(.binlogSync(response(chips: chips, databases: databases))))
            let batch = try? decodedBatch(body)
            #expect((batch?.chips.count == chips) == isTaken)
            #expect((batch == nil) == !isTaken)
        }
    }
}

/// A small generator: the same numbers for the same seed, everywhere.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }

    mutating func bytes(upTo limit: Int) -> [UInt8] {
        (0..<Int.random(in: 0...limit, using: &self)).map { _ in UInt8(truncatingIfNeeded: next()) }
    }

    /// An offset whose numbers have all lengths.
    mutating func offset() -> BinlogOffset {
        BinlogOffset(
            BinlogPosition(
                fileNumber: UInt32(truncatingIfNeeded: next()) >> (next() % 32),
                offset: next() >> (next() % 64)),
            logicID: LogicID(
                term: UInt32(truncatingIfNeeded: next()) >> (next() % 32),
                index: next() >> (next() % 64)))
    }
}
