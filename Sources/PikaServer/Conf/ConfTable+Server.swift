extension ConfTable {
    /// The file service of replication listens on port + 10001, which must be a port, too.
    static let portRange = 1...(65_535 - 10_001)

    static let process: [ConfItem] = [
        ConfItem(
            "port", .integer(9221, portRange, into: \.port),
            """
            Port for clients. Replicas use port + 2000 (replication) and port + 10001 (copies), so
            it is at most 55534.
            """),
        ConfItem(
            "network-interface", .text("", into: \.networkInterface), commented: true,
            """
            Name of a network interface: the server then listens on its addresses and 127.0.0.1
            only, on all three ports. Empty: on all addresses.
            """),
        ConfItem(
            "daemonize", .flag(false, into: \.daemonize), commented: true,
            """
            Run in the background: own session, standard streams into log-path, pid file written.
            """),
        ConfItem(
            "pidfile", .text("./pika.pid", .file, into: \.pidFile),
            "File for the process id; written only with daemonize."),
        ConfItem(
            "command-loops", .integer(0, 0...64, into: \.commandLoops), unit: "threads",
            from: .ours,
            """
            Threads that read, run and answer commands. 0: one per four cores, at most 4. With
            several, what one client sends after another is not always executed after it.
            """),
        ConfItem(
            "slow-pool-threads", .integer(2, 1...64, into: \.slowPoolThreads), unit: "threads",
            from: .ours,
            "Threads for slow commands (KEYS, big ranges, flushes), apart from the loops."),
        ConfItem(
            "server-id", .text("1", into: \.serverID), commented: true,
            "A text shown by INFO."),
        ConfItem(
            "slowlog-log-slower-than",
            .integer(10_000, -1...Int.max, into: \.slowLogMicroseconds), unit: "us", live: true,
            """
            Commands that run at least this long are kept in the slow log. -1: none. Below 10000
            the clock is read for every command, which costs some speed.
            """),
        ConfItem(
            "slowlog-max-len",
            .integer(128, 0...1_000_000, below: .replace(with: 128), into: \.slowLogEntries),
            unit: "entries", live: true, "Entries that the slow log keeps."),
        ConfItem(
            "slowlog-write-errorlog", .flag(false, into: \.slowLogIsWritten), live: true,
            "Slow commands also go into the log of the process."),
    ]

    static let clients: [ConfItem] = [
        ConfItem(
            "maxclients",
            .integer(20_000, 1...1_000_000, below: .replace(with: 20_000), into: \.maxClients),
            unit: "connections", live: true,
            "Connections of clients; more are closed."),
        ConfItem(
            "root-connection-num",
            .integer(2, 0...1000, below: .replace(with: 2), into: \.rootConnections),
            unit: "connections", live: true,
            "Connections allowed beyond maxclients from this host."),
        ConfItem(
            "timeout",
            .integer(60, 0...1_000_000_000, below: .replace(with: 60), into: \.timeoutSeconds),
            unit: "seconds", live: true,
            "Idle clients are closed after this time. 0: never."),
        ConfItem(
            "max-conn-rbuf-size",
            .bytes(
                268_435_456, 67_108_864...1_073_741_824, below: .replace(with: 67_108_864),
                above: .replace(with: 1_073_741_824), into: \.queryBufferBytes),
            unit: "bytes", live: true,
            """
            Limit of a client's query buffer and of a frame between master and replica. A client
            beyond it is closed.
            """),
        ConfItem(
            "max-client-response-size",
            .bytes(1_073_741_824, 1_048_576...(1 << 40), into: \.maxClientResponseBytes),
            unit: "bytes", live: true,
            "Limit of one reply; a longer one becomes an error."),
        ConfItem(
            "atomic-group-limit",
            .bytes(1_073_741_824, 1_048_576...4_294_967_296, into: \.atomicGroupBytes),
            unit: "bytes", from: .ours, live: true,
            """
            What a transaction, a command or a pipeline read at once may write together, with the
            names; it is held in memory and written as one. Beyond it nothing of it is written, and
            the command gets an error.
            """),
        ConfItem(
            "client-output-limit",
            .bytes(67_108_864, 1_048_576...(1 << 40), into: \.clientOutputBytes), unit: "bytes",
            from: .ours, live: true,
            """
            Replies that may wait for a client that does not read them. Beyond it nothing more is
            read from that client until it has caught up.
            """),
        ConfItem(
            "client-output-buffer-limit",
            .text(OutputLimits.usual, .outputLimits, into: \.outputBufferLimits), from: .ours,
            live: true,
            """
            Messages that may wait for a client that listens to channels or to MONITOR: class
            pubsub, bytes beyond which it is closed at once, bytes beyond which it is closed after
            some time, and that time in seconds. 0: no limit. Other classes are not taken; see
            client-output-limit for replies.
            """),
    ]

    static let events: [ConfItem] = [
        ConfItem(
            "notify-keyspace-events", .text("", .eventClasses, into: \.keyspaceEvents),
            from: .ours, live: true,
            """
            Which changes of keys are published to clients that subscribe, as in Redis 7: K to
            __keyspace@<db>__:<key> and E to __keyevent@<db>__:<event>, of the classes g (any type:
            DEL, EXPIRE, RENAME ...), $ (strings), l (lists), s (sets), h (hashes), z (sorted sets),
            x (a key's time is over), n (a key is new), m (a key that is read is missing); A means
            g$lshzxetd. Empty: nothing. With x the deadlines that are set from then on are
            remembered, of a million keys at most.
            """)
    ]

    static let access: [ConfItem] = [
        ConfItem(
            "requirepass", .text("", into: \.requirePass), live: true,
            """
            Password of the administrator, for clients (AUTH) and for replicas (their masterauth).
            Empty: none is asked for.
            """),
        ConfItem(
            "masterauth", .text("", into: \.masterAuth), live: true,
            "Password that this server, as a replica, shows its master."),
        ConfItem(
            "userpass", .text("", into: \.userPass), live: true, commented: true,
            """
            Password of ordinary users, who may not use the commands of userblacklist. Ignored if
            it equals requirepass.
            """),
        ConfItem(
            "userblacklist", .text("", .words, into: \.userBlacklist), live: true, commented: true,
            "Commands forbidden to users who came in by userpass, separated by commas."),
    ]

    static let places: [ConfItem] = [
        ConfItem(
            "log-path", .text("./log/", .directory, into: \.logPath),
            "Directory of the binlogs (log_db0, ...), and of the log of a daemon."),
        ConfItem(
            "db-path", .text("./db/", .directory, into: \.dbPath), "Directory of the data."),
        ConfItem(
            "dump-path", .text("./dump/", .directory, into: \.dumpPath),
            "Directory of snapshots (BGSAVE and full syncs). Best on the device of db-path."),
        ConfItem(
            "dump-prefix", .text("", into: \.dumpPrefix), live: true,
            "Prefix of the names of dumps."),
        ConfItem(
            "dump-expire",
            .integer(0, 0...100_000, below: .replace(with: 0), into: \.dumpExpireDays),
            unit: "days", live: true, "Dumps older than this are deleted. 0: never."),
        ConfItem(
            "db-sync-path", .text("./dbsync/", .directory, into: \.dbSyncPath),
            """
            Directory into which a replica copies its master's snapshot. It must be on the device
            of db-path.
            """),
    ]

    static let databases: [ConfItem] = [
        ConfItem(
            "databases", .integer(1, 1...8, into: \.databases),
            "Number of databases, equal on master and replicas."),
        ConfItem(
            "instance-mode", .choice("classic", ["classic"]), "Only classic exists."),
        ConfItem(
            "wrong-type-check", .flag(false, into: \.wrongTypeCheck), from: .ours, live: true,
            """
            no: types have separate key spaces, as in Pika. yes: a key has one type, as in Redis;
            commands of another type get WRONGTYPE, SET and the like replace any type. A missing
            key then costs a look-up per type.
            """),
    ]

    static let binlog: [ConfItem] = [
        ConfItem(
            "write-binlog", .flag(true, into: \.writeBinlog),
            """
            no: no binlog, hence no replication; the stores then keep logs of their own.
            """),
        ConfItem(
            "binlog-file-size",
            .bytes(
                104_857_600, 1024...1_073_741_824, below: .replace(with: 104_857_600),
                above: .replace(with: 104_857_600), into: \.binlogFileBytes),
            unit: "bytes",
            "A binlog file of this size is followed by the next. Real Pikas need it equal."),
        ConfItem(
            "binlog-sync",
            .choice("everysec", ["always", "everysec", "no"], into: \.binlogSync), from: .ours,
            live: true,
            """
            When the binlog is forced to disk: always (before the reply), everysec (a power loss
            takes at most a second), no (left to the system). A killed process loses nothing with
            any of them.
            """),
        ConfItem(
            "expire-logs-days",
            .integer(7, 1...100_000, below: .replace(with: 1), into: \.expireLogsDays),
            unit: "days", live: true, "Binlog files older than this are deleted, 10 are kept."),
        ConfItem(
            "expire-logs-nums",
            .integer(10, 10...1_000_000, below: .replace(with: 10), into: \.expireLogsCount),
            unit: "files", live: true,
            "Binlog files that are kept; files that a live replica needs are never deleted."),
    ]
}
