extension ConfTable {
    static let kept350: [ConfItem] = [
        ConfItem(
            "thread-num",
            .integer(1, 1...24, below: .replace(with: 12), above: .replace(with: 24)),
            unit: "threads", used: false, "Network threads of Pika; here command-loops says it."),
        ConfItem(
            "thread-pool-size",
            .integer(12, 1...100, below: .replace(with: 12), above: .replace(with: 100)),
            unit: "threads", used: false, "Command threads of Pika; commands run on the loops here."
        ),
        ConfItem(
            "sync-thread-num",
            .integer(6, 1...24, below: .replace(with: 3), above: .replace(with: 24)),
            unit: "threads", used: false, "Apply threads of Pika's replica."),
        ConfItem(
            "loglevel", .text("info"), used: false, commented: true,
            "Not used by Pika 3.5.0 either."),
        ConfItem(
            "arena-block-size", .bytes(0, 0...(1 << 40), below: .replace(with: 0)), unit: "bytes",
            used: false, commented: true, "Block of the memtables' allocator."),
        ConfItem(
            "default-slot-num", .integer(1024, 1...1048576), unit: "slots", used: false,
            "Number of codis slots."),
        ConfItem(
            "replication-num", .integer(0, 0...0), used: false, "Unused; must be 0."),
        ConfItem(
            "consensus-level", .integer(0, 0...0), used: false, "Unused; must be 0."),
        ConfItem(
            "db-sync-speed",
            .integer(
                -1, 0...1024, below: .replace(with: 1024), above: .replace(with: 1024),
                allowed: [-1]), unit: "MB/s", used: false,
            "Limit of the old rsync; throttle-bytes-per-second is the limit."),
        ConfItem(
            "min-check-resume-ratio", .decimal(0.7, 0...1), used: false, commented: true,
            "Never used by Pika either."),
        ConfItem(
            "manually-resume-interval", .integer(60, 0...Int.max), unit: "seconds", used: false,
            commented: true, "Never used by Pika either."),
        ConfItem(
            "max-cache-statistic-keys", .integer(0, 0...Int.max, below: .replace(with: 0)),
            unit: "keys", used: false, "Statistics for small compactions."),
        ConfItem(
            "small-compaction-threshold",
            .integer(5000, 1...99999, below: .replace(with: 5000), above: .replace(with: 5000)),
            used: false, "Threshold of small compactions."),
        ConfItem(
            "slotmigrate", .flag(false), live: true, used: false,
            "Keeps the index for codis slots; not yet here."),
        ConfItem(
            "slotmigrate-thread-num",
            .integer(8, 1...24, below: .replace(with: 8), above: .replace(with: 8)),
            unit: "threads", aliases: ["slotmigrate-thread-num_"], used: false, commented: true,
            "Threads of slot migration."),
        ConfItem(
            "thread-migrate-keys-num",
            .integer(64, 8...128, below: .replace(with: 64), above: .replace(with: 64)),
            unit: "keys", used: false, commented: true, "Keys per batch of slot migration."),
        ConfItem(
            "binlog-writer-num",
            .integer(1, 1...24, below: .replace(with: 1), above: .replace(with: 1)),
            unit: "threads", used: false, commented: true, "Unused in 3.5.0."),
        ConfItem(
            "max-write-buffer-size", .bytes(10737418240, 0...(1 << 44)), unit: "bytes", used: false,
            "Limit over all memtables; write-buffer-size is that here."),
        ConfItem(
            "max-write-buffer-num",
            .integer(2, 1...1000, below: .replace(with: 2), above: .replace(with: 1000)),
            used: false, "Memtables per family; chosen from write-buffer-size here."),
    ]

    static let kept355: [ConfItem] = [
        ConfItem(
            "rtc-cache-read", .flag(true), from: .pika355, used: false, commented: true,
            "Reads the cache in the network threads; there is no cache here."),
        ConfItem(
            "slow-cmd-pool", .flag(false), aliases: ["slow_cmd_pool"], from: .pika355, used: false,
            commented: true, "Pool for slow commands; always on here, see slow-pool-threads."),
        ConfItem(
            "slow-cmd-thread-pool-size",
            .integer(1, 0...50, below: .replace(with: 8), above: .replace(with: 50)),
            unit: "threads", from: .pika355, used: false, commented: true, "Threads of that pool."),
        ConfItem(
            "admin-thread-pool-size",
            .integer(2, 1...4, below: .replace(with: 2), above: .replace(with: 4)), unit: "threads",
            from: .pika355, used: false, commented: true, "Threads for administrative commands."),
        ConfItem(
            "slow-cmd-list", .text("", .words), from: .pika355, used: false, commented: true,
            "Commands for the slow pool; the command table decides here."),
        ConfItem(
            "admin-cmd-list", .text("info,monitor,ping", .words), from: .pika355, used: false,
            commented: true, "Ignored by Pika 3.5.5, too."),
        ConfItem(
            "sync-binlog-thread-num", .integer(1, 1...1024, below: .replace(with: 1)),
            unit: "threads", from: .pika355, used: false, commented: true,
            "Threads that write a replica's binlog."),
        ConfItem(
            "log-retention-time", .integer(7, 0...100000), unit: "days", from: .pika355,
            used: false,
            commented: true, "Age at which log files are deleted."),
        ConfItem(
            "internal-used-unfinished-full-sync", .text(""), from: .pika355, used: false,
            commented: true,
            "Written by Pika 3.5.5; resume points do this here."),
        ConfItem(
            "cache-num",
            .integer(16, 0...1024, below: .replace(with: 16), above: .replace(with: 1024)),
            from: .pika355, used: false, commented: true,
            "Number of caches per database; there is no cache here."),
        ConfItem(
            "cache-model", .integer(1, 0...1, below: .replace(with: 1), above: .replace(with: 1)),
            from: .pika355, used: false, commented: true,
            "0: no cache, 1: read cache; there is no cache here."),
        ConfItem(
            "cache-type", .text("string,set,zset,list,hash,bit", .words), from: .pika355,
            used: false,
            commented: true, "Types kept in the cache."),
        ConfItem(
            "cache-maxmemory", .bytes(10737418240, 0...(1 << 44)), unit: "bytes", from: .pika355,
            used: false, commented: true, "Memory of the cache."),
        ConfItem(
            "cache-maxmemory-policy",
            .integer(1, 0...7, below: .replace(with: 1), above: .replace(with: 1)), from: .pika355,
            used: false, commented: true, "Eviction policy of the cache."),
        ConfItem(
            "cache-maxmemory-samples",
            .integer(5, 1...64, below: .replace(with: 5), above: .replace(with: 64)),
            from: .pika355,
            used: false, commented: true, "Samples of the eviction."),
        ConfItem(
            "cache-lfu-decay-time", .integer(1, 0...Int.max, below: .replace(with: 1)),
            from: .pika355,
            used: false, commented: true, "Decay of the eviction's counters."),
        ConfItem(
            "zset-cache-start-direction",
            .integer(0, (-1)...0, below: .replace(with: 0), above: .replace(with: 0)),
            from: .pika355,
            used: false, commented: true, "Which end of a sorted set the cache keeps."),
        ConfItem(
            "zset-cache-field-num-per-key", .integer(512, 1...Int.max, below: .replace(with: 512)),
            from: .pika355, used: false, commented: true,
            "Members of a sorted set that the cache keeps."),
        ConfItem(
            "user", .text("", .repeated), from: .pika355, used: false, commented: true,
            "An ACL user. Not enforced here yet: use requirepass and userpass."),
        ConfItem(
            "aclfile", .text(""), from: .pika355, used: false, commented: true,
            "A file of ACL users. Not enforced here yet."),
        ConfItem(
            "acl-pubsub-default", .text(""), from: .pika355, used: false, commented: true,
            "Channels of new ACL users."),
        ConfItem(
            "acllog-max-len", .integer(128, 0...Int.max), unit: "entries", from: .pika355,
            used: false,
            commented: true, "Entries of the ACL log."),
        ConfItem(
            "rename-command", .text("", .repeated), from: .pika355, used: false, commented: true,
            "New name of a dangerous command. Not done here yet."),
    ]

    static let keptEngine: [ConfItem] = [
        ConfItem(
            "compression_per_level", .text(""), aliases: ["compression-per-level"], used: false,
            commented: true, "Compression of each level."),
        ConfItem(
            "max-background-flushes",
            .integer(1, 1...4, below: .replace(with: 1), above: .replace(with: 4), allowed: [-1]),
            unit: "threads", used: false, "Threads for flushes; max-background-jobs counts here."),
        ConfItem(
            "max-background-compactions",
            .integer(2, 1...8, below: .replace(with: 1), above: .replace(with: 8), allowed: [-1]),
            unit: "threads", used: false,
            "Threads for compactions; max-background-jobs counts here."),
        ConfItem(
            "max-bytes-for-level-multiplier", .integer(10, 1...1000, below: .replace(with: 5)),
            used: false, "Ratio of the levels' sizes."),
        ConfItem(
            "num-shard-bits", .integer(-1, (-1)...19), used: false, commented: true,
            "Shards of the block cache, as a power of 2."),
        ConfItem(
            "share-block-cache", .flag(true), used: false, commented: true,
            "The block cache is always shared here."),
        ConfItem(
            "cache-index-and-filter-blocks", .flag(false), used: false, commented: true,
            "Index and filter blocks in the block cache."),
        ConfItem(
            "pin_l0_filter_and_index_blocks_in_cache", .flag(false), used: false, commented: true,
            "Keeps those of the first level there."),
        ConfItem(
            "optimize-filters-for-hits", .flag(false), used: false, commented: true,
            "No bloom filters in the last level."),
        ConfItem(
            "level-compaction-dynamic-level-bytes", .flag(false), used: false, commented: true,
            "Levels' sizes from the last one."),
        ConfItem(
            "rate-limiter-mode",
            .integer(1, 0...2, below: .replace(with: 1), above: .replace(with: 1)), from: .pika355,
            used: false, commented: true,
            "What the engine's rate limiter counts: 0 reads, 1 writes, 2 both."),
        ConfItem(
            "rate-limiter-refill-period-us", .integer(100000, 1...Int.max), unit: "us", used: false,
            commented: true, "Period of the engine's rate limiter."),
        ConfItem(
            "rate-limiter-fairness", .integer(10, 1...1000), used: false, commented: true,
            "Fairness of the engine's rate limiter."),
        ConfItem(
            "rate-limiter-auto-tuned", .flag(true), used: false, commented: true,
            "Lets the engine's rate limiter tune itself."),
        ConfItem(
            "enable-blob-files", .flag(false), used: false, commented: true,
            "Large values in files of their own."),
        ConfItem(
            "min-blob-size", .bytes(4096, 0...(1 << 40)), unit: "bytes", used: false,
            commented: true, "Values from this size on go to blob files."),
        ConfItem(
            "blob-file-size", .bytes(268435456, 1...(1 << 40)), unit: "bytes", used: false,
            commented: true, "Size of a blob file."),
        ConfItem(
            "blob-compression-type",
            .choice(
                "none", ["none", "snappy", "lz4", "zstd", "zlib", "bz2", "lz4hc"]), used: false,
            commented: true, "Compression of blob files."),
        ConfItem(
            "enable-blob-garbage-collection", .flag(false), used: false, commented: true,
            "Collects garbage in blob files."),
        ConfItem(
            "blob-garbage-collection-age-cutoff", .decimal(0.25, 0...1), used: false,
            commented: true, "Which blob files count as old."),
        ConfItem(
            "blob-garbage-collection-force-threshold", .decimal(1.0, 0...1),
            aliases: ["blob_garbage_collection_force_threshold"], used: false, commented: true,
            "Share of garbage that forces a collection."),
        ConfItem(
            "blob-cache", .bytes(0, 0...(1 << 44)), unit: "bytes", used: false, commented: true,
            "A cache for blobs."),
        ConfItem(
            "blob-num-shard-bits", .integer(-1, (-1)...19), used: false, commented: true,
            "Shards of the blob cache, as a power of 2."),
        ConfItem(
            "disable_auto_compactions", .flag(false), from: .pika355, used: false, commented: true,
            "Switches automatic compaction off."),
        ConfItem(
            "max-subcompactions",
            .integer(1, 1...64, below: .replace(with: 1), above: .replace(with: 64)),
            from: .pika355,
            used: false, commented: true, "Threads within one compaction."),
        ConfItem(
            "small-compaction-duration-threshold",
            .integer(
                10000, 0...1000000, below: .replace(with: 10000), above: .replace(with: 1000000)),
            unit: "us", from: .pika355, used: false, commented: true,
            "Threshold of small compactions."),
        ConfItem(
            "delayed-write-rate", .integer(0, 0...Int.max, below: .replace(with: 0)),
            unit: "bytes/s", from: .pika355, used: false, commented: true,
            "Rate to which the engine slows writers."),
        ConfItem(
            "max-compaction-bytes",
            .integer(-1, 0...Int.max, below: .replace(with: -1), allowed: [-1]), unit: "bytes",
            from: .pika355, used: false, commented: true,
            "Size of one compaction. -1: the engine's choice."),
    ]
}
