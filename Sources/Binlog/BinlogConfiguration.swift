public import SyncProtocol

/// Settings of a log.
public struct BinlogConfiguration: Sendable, Equatable {
    /// `binlog-file-size`: the own log rolls before a put when the file is longer than this.
    public var fileSizeLimitBytes: UInt64

    /// Whether cursors compare whole finished blocks with the checksums of the sidecar.
    public var verifiesBlocksWhenReading: Bool

    /// Creates settings; the size is clamped to ``BinlogLimits/fileSizeLimitRange``.
    public init(
        fileSizeLimitBytes: UInt64 = 104_857_600, verifiesBlocksWhenReading: Bool = true
    ) {
        let range = BinlogLimits.fileSizeLimitRange
        self.fileSizeLimitBytes = min(max(fileSizeLimitBytes, range.lowerBound), range.upperBound)
        self.verifiesBlocksWhenReading = verifiesBlocksWhenReading
    }
}

/// Whose items a log holds.
public enum BinlogOrigin: Sendable, Equatable {
    /// A master's: one that ends inside an atomic group is cut back to the group's start.
    case own

    /// A replica's: the items of an incomplete group stay until the rest arrives.
    case received
}

/// What happened since the log was last open; decides what is believed.
public enum BinlogRecovery: Sendable, Equatable {
    /// The machine kept running (clean stop or kill): the page cache had everything.
    /// The end is where the structure ends; a torn last item is cut off.
    case sameBoot

    /// The machine stopped: only what a sidecar's digest verifies is believed, the rest is cut.
    case powerLoss

    /// A real Pika wrote here, or this directory was never ours: the manifest names file and end,
    /// sidecars are void and made anew.
    case foreignWriter
}

/// What opening a log found and did; for the log file and for INFO.
public struct BinlogOpenReport: Sendable, Equatable {
    /// Where the log ended before anything was cut.
    public var foundEnd: BinlogPosition = .zero

    /// Where it ends now.
    public var end: BinlogPosition = .zero

    /// Bytes of torn, unverified or incomplete items that were cut off.
    public var cutBytes: UInt64 = 0

    /// Whole files that were removed behind the cut.
    public var removedFiles: [UInt32] = []

    /// The last position that a sidecar entry verified.
    public var verifiedEnd: BinlogPosition?

    /// Files that do not belong to the log (left over by a real Pika's reset); a purge removes
    /// them.
    public var staleFiles: [UInt32] = []

    /// Sidecar records whose own checksum was wrong; they were ignored.
    public var skippedSidecarRecords = 0

    /// Files that had no sidecar.
    public var filesWithoutSidecar: [UInt32] = []

    /// The manifest was missing or too short.
    public var manifestIgnored = false

    /// A received log ends inside an atomic group that starts behind this mark.
    public var incompleteGroupStart: BinlogMark?

    /// Creates an empty report.
    public init() {}
}

/// Whether a position can be continued from.
public enum PositionVerdict: String, Sendable, Equatable {
    /// It is an item end or the start of a file that is here.
    case ok

    /// Its file, or the part of its file, is no longer (or was never) here.
    case purged

    /// It lies behind the end of the log.
    case larger

    /// It is inside an item.
    case notABoundary
}

/// One file of the log as the table knows it.
public struct BinlogFileInfo: Sendable, Equatable {
    /// N of `write2file<N>`.
    public var number: UInt32

    /// Where its first item begins: 0, or the end of the padding after a full sync.
    public var startOffset: UInt64

    /// End of its data; nil for the file that is being written.
    public var endOffset: UInt64?

    /// Time of its last change, in Unix seconds.
    public var modifiedSeconds: Int64

    /// Creates an entry.
    public init(number: UInt32, startOffset: UInt64, endOffset: UInt64?, modifiedSeconds: Int64) {
        self.number = number
        self.startOffset = startOffset
        self.endOffset = endOffset
        self.modifiedSeconds = modifiedSeconds
    }
}

/// What a sync achieved.
public struct BinlogSyncOutcome: Sendable, Equatable {
    /// Everything up to here survives a power loss.
    public var durable: BinlogPosition

    /// The log was cut meanwhile: only the published end counts.
    ///
    /// Who needs the written end (a flush) MUST repeat.
    public var overtaken: Bool

    /// Creates an outcome.
    public init(durable: BinlogPosition, overtaken: Bool) {
        self.durable = durable
        self.overtaken = overtaken
    }
}
