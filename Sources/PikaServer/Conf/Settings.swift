/// The server's settings: a typed field for each item that the server uses, and the text of all.
///
/// A value type: whoever needs settings takes a copy. Defaults come from ``ConfTable``; the
/// initial values written here are never seen.
public struct Settings: Sendable {
    // Network and process.
    package internal(set) var port = 0
    package internal(set) var networkInterface = ""
    package internal(set) var daemonize = false
    package internal(set) var pidFile = ""
    package internal(set) var commandLoops = 0
    package internal(set) var slowPoolThreads = 0
    package internal(set) var maxClients = 0
    package internal(set) var rootConnections = 0
    package internal(set) var timeoutSeconds = 0
    package internal(set) var queryBufferBytes = 0
    /// Bytes that are applied together at most.
    package internal(set) var atomicGroupBytes = 0
    package internal(set) var clientOutputBytes = 0
    package internal(set) var maxClientResponseBytes = 0
    package internal(set) var outputBufferLimits = ""
    package internal(set) var keyspaceEvents = ""
    package internal(set) var serverID = ""

    // Access.
    package internal(set) var requirePass = ""
    package internal(set) var masterAuth = ""
    package internal(set) var userPass = ""
    package internal(set) var userBlacklist = ""

    // Places.
    package internal(set) var logPath = ""
    package internal(set) var dbPath = ""
    package internal(set) var dumpPath = ""
    package internal(set) var dumpPrefix = ""
    package internal(set) var dumpExpireDays = 0
    package internal(set) var dbSyncPath = ""

    // Databases and storage.
    package internal(set) var databases = 0
    package internal(set) var wrongTypeCheck = false
    package internal(set) var writeBufferBytes = 0
    package internal(set) var memtable = ""
    package internal(set) var targetFileBytes = 0
    package internal(set) var blockCacheBytes = 0
    package internal(set) var rowCacheBytes = 0
    package internal(set) var blockSizeBytes = 0
    package internal(set) var mapsFiles = false
    package internal(set) var maxCacheFiles = 0
    package internal(set) var compression = ""
    package internal(set) var backgroundJobs = 0
    package internal(set) var storageBytesPerSecond = 0
    package internal(set) var leastFreeDiskBytes = 0
    package internal(set) var compactCron = ""
    package internal(set) var compactInterval = ""

    // Binlog.
    package internal(set) var writeBinlog = false
    package internal(set) var binlogFileBytes = 0
    package internal(set) var binlogSync = ""
    package internal(set) var expireLogsDays = 0
    package internal(set) var expireLogsCount = 0

    // Replication.
    package internal(set) var runID = ""
    package internal(set) var replicationID = ""
    package internal(set) var masterRunID = ""
    package internal(set) var slaveOf = ""
    package internal(set) var slavePriority = 0
    package internal(set) var syncWindowItems = 0
    package internal(set) var throttleBytesPerSecond = 0
    package internal(set) var rsyncParallel = 0
    package internal(set) var rsyncTimeoutMilliseconds = 0
    package internal(set) var snapshotJoinSeconds = 0
    package internal(set) var snapshotKeepSeconds = 0
    package internal(set) var snapshotSizeLimit = 0

    // Slow log.
    package internal(set) var slowLogMicroseconds = 0
    package internal(set) var slowLogEntries = 0
    package internal(set) var slowLogIsWritten = false

    /// The text of every item, in the order of ``ConfTable/items``.
    private(set) var texts: [String]

    /// The defaults of the table.
    public init() {
        texts = Array(repeating: "", count: ConfTable.items.count)
        for index in ConfTable.items.indices {
            let text = ConfTable.items[index].type.defaultText
            // A default that its own row refuses is found by the table's test.
            _ = try? assign(text, toItemAt: index, repairing: false)
        }
    }

    /// The text of an item as CONFIG GET shows it.
    ///
    /// Nil where there is no such item.
    public func text(of name: String) -> String? {
        ConfTable.index(of: name).map { texts[$0] }
    }

    /// Checks and stores an item's value.
    ///
    /// A failed call leaves the settings as they were.
    ///
    /// - Returns: what was changed about the value, nil when it was taken as it is.
    /// - Throws: what was expected instead.
    mutating func assign(
        _ text: String, toItemAt index: Int, repairing: Bool
    ) throws(ConfValueError) -> String? {
        let item = ConfTable.items[index]
        let taken = try item.type.take(text, repairing: repairing)
        if case .text(_, .repeated, _) = item.type, !taken.text.isEmpty, !texts[index].isEmpty {
            texts[index] += "\n" + taken.text
        } else {
            texts[index] = taken.text
        }
        switch (item.type, taken.value) {
        case (.integer(_, _, _, _, _, let path?), .integer(let value)): self[keyPath: path] = value
        case (.bytes(_, _, _, _, let path?), .integer(let value)): self[keyPath: path] = value
        case (.decimal(_, _, let path?), .decimal(let value)): self[keyPath: path] = value
        case (.flag(_, let path?), .flag(let value)): self[keyPath: path] = value
        case (.choice(_, _, let path?), .text(let value)): self[keyPath: path] = value
        case (.text(_, _, let path?), .text(let value)): self[keyPath: path] = value
        default: break
        }
        return taken.repair
    }
}
