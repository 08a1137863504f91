public import SyncProtocol

/// When old files of a log may go.
public struct PurgePolicy: Sendable, Equatable {
    /// `expire-logs-nums`: files that are kept; at least 10.
    public var keepFileCount: Int

    /// `expire-logs-days`: age at which a file may go while more than 10 remain; at least 1.
    public var keepDays: Int

    /// Creates a policy; values below the minimum are raised to it.
    public init(keepFileCount: Int, keepDays: Int) {
        self.keepFileCount = max(keepFileCount, Self.minimumFiles)
        self.keepDays = max(keepDays, 1)
    }

    /// Files that the age rule leaves.
    public static let minimumFiles = 10
}

/// Decides which files go; pure.
public enum PurgePlan {
    /// The numbers of the files to remove, oldest first.
    ///
    /// The first file that must stay ends the plan. The current file and files from a protected
    /// position on are never in it. (spec: binlog-format 7, without the unsigned arithmetic that
    /// lets a real Pika delete the file it writes.)
    ///
    /// - Parameters:
    ///   - files: The log's files in ascending order, the current one last.
    ///   - manualUpTo: The number given to PURGELOGSTO.
    ///   - protectedFrom: Smallest position that someone still needs: leases of replicas and
    ///     snapshots, the least persisted applied position. Its file stays.
    public static func files(
        toRemoveFrom files: [BinlogFileInfo], policy: PurgePolicy, manualUpTo: UInt32?,
        protectedFrom: BinlogPosition?, nowSeconds: Int64
    ) -> [UInt32] {
        var plan: [UInt32] = []
        for (index, file) in files.dropLast().enumerated() {
            if let protectedFrom, file.number >= protectedFrom.fileNumber { break }
            let remaining = files.count - index
            let isManual = manualUpTo.map { file.number <= $0 } ?? false
            let isOverCount = remaining > policy.keepFileCount
            let age = nowSeconds - file.modifiedSeconds
            let isOld =
                remaining > PurgePolicy.minimumFiles && age > Int64(policy.keepDays) * 86_400
            guard isManual || isOverCount || isOld else { break }
            plan.append(file.number)
        }
        return plan
    }
}
