/// What a run has done, as its file keeps it.
public struct Checkpoint: Sendable, Equatable {
    /// Where it is.
    public enum Phase: Sendable, Equatable {
        /// A copy has been begun; there is no place in it to go on from.
        case copying
        /// All keys of the snapshot before this point are in the target.
        case snapshot(SnapshotPoint)
        /// All units up to here are in the target.
        case stream(SourcePosition)
        /// A file was read to its end.
        case done(SourcePosition)
    }

    /// Layout of the payload.
    public static let version: UInt32 = 1
    /// Longest payload, in bytes.
    public static let maxBytes = 1 << 20

    /// The job's name.
    public var job: String
    /// Rises with each write.
    public var sequence: UInt64
    /// Number of the run that holds the target: rises with each start.
    public var epoch: UInt64
    /// Who the source is.
    public var source: String
    /// Who the target is.
    public var target: String
    /// The filter's digest.
    public var filterDigest: UInt64
    /// Number of workers: decides which marker belongs to which key.
    public var workers: Int
    /// The copy under way replaces older data: what it does not have must be deleted at its end.
    public var isReconciling: Bool
    /// Where it is.
    public var phase: Phase

    /// A checkpoint from its parts.
    public init(
        job: String, sequence: UInt64, epoch: UInt64, source: String, target: String,
        filterDigest: UInt64, workers: Int, isReconciling: Bool, phase: Phase
    ) {
        self.job = job
        self.sequence = sequence
        self.epoch = epoch
        self.source = source
        self.target = target
        self.filterDigest = filterDigest
        self.workers = workers
        self.isReconciling = isReconciling
        self.phase = phase
    }

    /// The payload of its file; the seal around it has the checksum.
    public func encode() -> [UInt8] {
        var writer = ByteWriter()
        writer.text(self.job)
        writer.number(self.sequence)
        writer.number(self.epoch)
        writer.text(self.source)
        writer.text(self.target)
        writer.number(self.filterDigest)
        writer.number(self.workers)
        writer.byte(self.isReconciling ? 1 : 0)
        switch self.phase {
        case .copying: writer.byte(0)
        case .snapshot(let point):
            writer.byte(1)
            writer.position(point.position)
            writer.text(point.token)
        case .stream(let position):
            writer.byte(2)
            writer.position(position)
        case .done(let position):
            writer.byte(3)
            writer.position(position)
        }
        return writer.bytes
    }

    /// Reads a payload.
    public init(decoding bytes: [UInt8]) throws(StateCodecError) {
        var reader = ByteReader(bytes)
        self.job = try reader.text("job")
        self.sequence = try reader.number("sequence")
        self.epoch = try reader.number("epoch")
        self.source = try reader.text("source")
        self.target = try reader.text("target")
        self.filterDigest = try reader.number("digest of the filter")
        self.workers = try reader.integer("workers")
        guard (1...WorkerLimits.maxWorkers).contains(self.workers) else {
            throw StateCodecError(expected: "workers")
        }
        self.isReconciling = try reader.byte("reconciling") != 0
        switch try reader.byte("phase") {
        case 0: self.phase = .copying
        case 1:
            let position = try reader.position()
            let token = try reader.bytes("token")
            guard token.count <= SnapshotPoint.maxTokenBytes else {
                throw StateCodecError(expected: "token")
            }
            self.phase = .snapshot(SnapshotPoint(position: position, token: token))
        case 2: self.phase = .stream(try reader.position())
        case 3: self.phase = .done(try reader.position())
        default: throw StateCodecError(expected: "phase")
        }
        guard reader.isAtEnd else { throw StateCodecError(expected: "end") }
    }
}

/// Bounds on workers.
public enum WorkerLimits {
    /// Most workers.
    public static let maxWorkers = 256
    /// Most units of one batch: as many can be in doubt after a crash, for each worker.
    public static let maxBatchUnits = 128
    /// A batch is closed at this size, in bytes.
    public static let maxBatchBytes = 256 * 1_024
}

/// What a worker writes behind each batch into the target's database.
public struct Marker: Sendable, Equatable {
    /// First byte of the value.
    static let version: UInt8 = 1

    /// Number of the run that wrote it.
    public var epoch: UInt64
    /// All units of the worker in this database up to here are applied.
    public var position: SourcePosition
    /// Keys of the worker were read from the source at positions up to this one: units up to it may
    /// be in them already.
    public var horizon: SourcePosition?

    /// A marker from its parts.
    public init(epoch: UInt64, position: SourcePosition, horizon: SourcePosition?) {
        self.epoch = epoch
        self.position = position
        self.horizon = horizon
    }

    /// The name of a worker's marker.
    public static func key(job: String, worker: Int) -> [UInt8] {
        KeyFilter.reservedPrefix + Array("\(job):\(worker)".utf8)
    }

    /// Stands in the target since a two-way job's copy has begun there.
    public static func copyKey(job: String) -> [UInt8] {
        KeyFilter.reservedPrefix + Array("\(job):copy".utf8)
    }

    /// The name of a job's lock.
    public static func lockKey(job: String) -> [UInt8] {
        KeyFilter.reservedPrefix + Array("\(job):lock".utf8)
    }

    /// The value.
    public func encode() -> [UInt8] {
        var writer = ByteWriter()
        writer.byte(Self.version)
        writer.number(self.epoch)
        writer.position(self.position)
        if let horizon = self.horizon {
            writer.byte(1)
            writer.position(horizon)
        } else {
            writer.byte(0)
        }
        return writer.bytes
    }

    /// Reads a value.
    public init(decoding bytes: [UInt8]) throws(StateCodecError) {
        var reader = ByteReader(bytes)
        guard try reader.byte("version") == Self.version else {
            throw StateCodecError(expected: "version \(Self.version)")
        }
        self.epoch = try reader.number("epoch")
        self.position = try reader.position()
        self.horizon = try reader.byte("horizon") == 0 ? nil : try reader.position()
        guard reader.isAtEnd else { throw StateCodecError(expected: "end") }
    }
}
