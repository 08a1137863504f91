import MigrateCore
import Testing

@Suite("Checkpoints and markers")
struct CheckpointTests {
    private static let positions: [SourcePosition] = [
        .redis(RedisPosition(replicationID: "abc", offset: 1 << 40, database: 3)),
        .file(FilePosition(identity: "f", offset: 7, database: 0)),
        .pika(
            PikaPosition(
                replicationID: "r", runID: "u",
                databases: [
                    0: PikaLogPosition(fileNumber: 7, offset: 9, digest: 11),
                    4: PikaLogPosition(fileNumber: 1, offset: 2, digest: 3),
                ])),
    ]

    private func checkpoint(_ phase: Checkpoint.Phase) -> Checkpoint {
        Checkpoint(
            job: "j", sequence: 5, epoch: 2, source: "s", target: "t", filterDigest: 9, workers: 4,
            isReconciling: true, phase: phase)
    }

    @Test("What is written is read", arguments: Self.positions)
    func roundTrip(_ position: SourcePosition) throws {
        let phases: [Checkpoint.Phase] = [
            .copying, .stream(position), .done(position),
            .snapshot(SnapshotPoint(position: position, token: [1, 2, 3])),
        ]
        for phase in phases {
            let checkpoint = self.checkpoint(phase)
            #expect(try Checkpoint(decoding: checkpoint.encode()) == checkpoint)
        }
        for horizon in [nil, position] {
            let marker = Marker(epoch: 3, position: position, horizon: horizon)
            #expect(try Marker(decoding: marker.encode()) == marker)
        }
    }

    @Test("Every prefix is refused", arguments: Self.positions)
    func prefixes(_ position: SourcePosition) {
        let bytes = self.checkpoint(.stream(position)).encode()
        for count in 0..<bytes.count {
            #expect(throws: StateCodecError.self) {
                try Checkpoint(decoding: Array(bytes.prefix(count)))
            }
        }
        let marker = Marker(epoch: 3, position: position, horizon: position).encode()
        for count in 0..<marker.count {
            #expect(throws: StateCodecError.self) {
                try Marker(decoding: Array(marker.prefix(count)))
            }
        }
    }

    @Test("Flipped bits never trap", arguments: Self.positions)
    func flips(_ position: SourcePosition) {
        let bytes = self.checkpoint(.stream(position)).encode()
        for index in bytes.indices {
            for bit in 0..<8 {
                var flipped = bytes
                flipped[index] ^= 1 << UInt8(bit)
                _ = try? Checkpoint(decoding: flipped)
                _ = try? Marker(decoding: flipped)
            }
        }
    }

    @Test("A log's mark reads back, and no prefix of it does", arguments: Self.positions)
    func logMarks(_ position: SourcePosition) throws {
        var mark = LogMark(job: "job", epoch: 3)
        mark.sizeBytes = 70_000
        mark.tailHash = .max
        mark.databases = [0, 7]
        mark.markers = [
            0: Marker(epoch: 3, position: position, horizon: nil),
            7: Marker(epoch: 2, position: position, horizon: position),
        ]
        mark.low = position
        let bytes = mark.encode()
        #expect(try LogMark(decoding: bytes) == mark)
        for count in 0..<bytes.count {
            #expect(throws: StateCodecError.self) {
                try LogMark(decoding: Array(bytes.prefix(count)))
            }
        }
        for index in bytes.indices {
            for bit in 0..<8 {
                var flipped = bytes
                flipped[index] ^= 1 << UInt8(bit)
                _ = try? LogMark(decoding: flipped)
            }
        }
    }
}
