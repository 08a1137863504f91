extension ConfTable {
    static let replication: [ConfItem] = [
        ConfItem(
            "slaveof", .text("", .address, into: \.slaveOf), commented: true,
            "Master of this server, host:port. Set by SLAVEOF; CONFIG REWRITE writes it down."),
        ConfItem(
            "slave-priority", .integer(100, 0...Int(Int32.max), into: \.slavePriority), live: true,
            "Shown by INFO for sentinels: the lowest is promoted first."),
        ConfItem(
            "throttle-bytes-per-second",
            .bytes(307_200_000, 0...(1 << 50), into: \.throttleBytesPerSecond),
            unit: "bytes/s", live: true,
            """
            Limit of what this process sends to replicas, and of what it receives from its master,
            each. 0: no limit. A change takes effect within 100 ms.
            """),
        ConfItem(
            "max-rsync-parallel-num",
            .integer(
                4, 1...4, below: .replace(with: 4), above: .replace(with: 4), into: \.rsyncParallel),
            unit: "requests", live: true, "Requests in flight while copying from a real Pika."),
        ConfItem(
            "rsync-timeout-ms",
            .integer(
                1000, 10...600_000, below: .replace(with: 1000), above: .replace(with: 600_000),
                into: \.rsyncTimeoutMilliseconds),
            unit: "ms", from: .pika355, live: true,
            "An unanswered request of a copy is repeated after this time."),
        ConfItem(
            "sync-window-size",
            .integer(
                9000, 1...90_000, below: .replace(with: 9000), above: .replace(with: 90_000),
                into: \.syncWindowItems),
            unit: "items", live: true,
            "Binlog items in flight to a replica that are not yet acknowledged."),
        ConfItem(
            "snapshot-join-seconds", .integer(5, 0...3600, into: \.snapshotJoinSeconds),
            unit: "seconds", from: .ours, live: true,
            "Replicas that ask within this time of its making share one snapshot."),
        ConfItem(
            "snapshot-keep-seconds", .integer(3600, 10...2_592_000, into: \.snapshotKeepSeconds),
            unit: "seconds", from: .ours, live: true,
            """
            A snapshot made for a full sync that nobody reads any more is kept this long, so that
            an interrupted replica can go on with it.
            """),
        ConfItem(
            "snapshot-size-limit",
            .bytes(53_687_091_200, 0...(1 << 50), into: \.snapshotSizeLimit),
            unit: "bytes", from: .ours, live: true,
            """
            What snapshots for full syncs may hold of the disk: files that the databases do not
            have any more. Beyond it snapshots are removed, first those that nobody reads, the
            oldest first; a replica that was reading one copies anew. 0: no limit.
            """),
        ConfItem(
            "run-id", .text("", .hexDigits(count: 40), into: \.runID), commented: true,
            "Identity of this server for 3.5.0 replicas. Empty: made once and kept in log-path."),
        ConfItem(
            "replication-id", .text("", .hexDigits(count: 50), into: \.replicationID),
            from: .pika355,
            commented: true,
            "Identity of this data set for 3.5.5. Empty: kept in log-path."),
        ConfItem(
            "master-run-id", .text("", .hexDigits(count: 40), into: \.masterRunID), commented: true,
            "The master's run-id known from before; with slaveof it allows a partial sync."),
    ]

    static let storage: [ConfItem] = [
        ConfItem(
            "write-buffer-size",
            .bytes(67_108_864, 1_048_576...(1 << 40), into: \.writeBufferBytes), unit: "bytes",
            """
            Memory for rows not yet in files, over all stores; the memtables are cut from it. At half
            of it what nobody writes to goes into files; while much is written it may be the double.
            """),
        ConfItem(
            "memtable", .choice("hash", ["hash", "skiplist"], into: \.memtable), from: .ours,
            commented: true,
            """
            How rows lie in memory until they are in files. hash: found by hash, put in order when
            somebody needs it; skiplist: RocksDB's own, which makes writes dearer. Files are the
            same.
            """),
        ConfItem(
            "block-cache",
            .bytes(
                67_108_864, 0...(1 << 44), below: .replace(with: 67_108_864),
                into: \.blockCacheBytes),
            unit: "bytes", commented: true, "One cache of blocks read, shared by all stores."),
        ConfItem(
            "row-cache", .bytes(67_108_864, 0...(1 << 44), into: \.rowCacheBytes), unit: "bytes",
            from: .ours,
            """
            Memory for strings, and heads of other keys, that were read lately: over all databases,
            half of it for strings, an eighth for each other type; hashes and sets may take as much
            again for elements known to be there. Besides, each loop keeps small hashes, lists, sets
            and sorted sets that are read again and again, 2 MB of each type. 0: nothing of all this.
            """),
        ConfItem(
            "block-size", .bytes(4096, 512...16_777_216, into: \.blockSizeBytes), unit: "bytes",
            commented: true, "Size of a block in the stores' files."),
        ConfItem(
            "mmap-reads", .flag(false, into: \.mapsFiles), from: .ours, commented: true,
            """
            Reads the stores' files through mappings: GETs among more data than the caches hold are a
            third faster, if memory has room for the files. An error of the disk ends the server
            then, where one command would fail; tools count the mapped pages as the server's.
            """),
        ConfItem(
            "target-file-size-base",
            .bytes(20_971_520, 1_048_576...(1 << 40), into: \.targetFileBytes), unit: "bytes",
            "Size of the files of the stores' first level."),
        ConfItem(
            "max-cache-files",
            .integer(5000, -1...10_000_000, below: .replace(with: 5000), into: \.maxCacheFiles),
            unit: "files", "Open files of the stores, together. -1: all."),
        ConfItem(
            "compression",
            .choice(
                "snappy", ["none", "snappy", "lz4", "zstd", "zlib"],
                into: \.compression),
            "Compression of the stores' files from the third level on."),
        ConfItem(
            "max-background-jobs",
            .integer(
                3, 1...64, below: .replace(with: 3), above: .replace(with: 64),
                into: \.backgroundJobs),
            unit: "threads", from: .pika355, "Threads for flushes and compactions."),
        ConfItem(
            "rate-limiter-bandwidth",
            .bytes(1_099_511_627_776, 0...(1 << 50), into: \.storageBytesPerSecond),
            unit: "bytes/s", commented: true,
            "Limit of what flushes and compactions write. 0: none."),
    ]

    static let maintenance: [ConfItem] = [
        ConfItem(
            "compact-cron", .text("", .compactCron, into: \.compactCron), live: true,
            commented: true,
            """
            [week/]start-end/ratio: a full compaction once in these hours, daily or on that day of
            the week (1 is Monday), if so many percent of the disk are free.
            """),
        ConfItem(
            "compact-interval", .text("", .compactInterval, into: \.compactInterval), live: true,
            commented: true,
            "hours/ratio: a full compaction every so many hours. Wins over compact-cron."),
        ConfItem(
            "least-free-disk-resume-size",
            .bytes(268_435_456, 0...(1 << 50), into: \.leastFreeDiskBytes), unit: "bytes",
            commented: true, "DISKRECOVERY needs at least this much free space."),
    ]
}
