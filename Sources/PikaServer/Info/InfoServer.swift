/// What the sections server, clients and cpu show.
struct ServerFigures: Sendable {
    var port = 0
    var processID: Int32 = 0
    var loops = 0
    var uptimeSeconds: Int64 = 0
    var uptimeDays: Int64 = 1
    var confPath = ""
    var serverID = ""
    var runID = ""
    var operatingSystem = ""
    var archBits = 64
    var syncThreads = ""
}

/// What the section data shows.
struct DataFigures: Sendable {
    var dbBytes = 0
    var logBytes = 0
    var compression = ""
    var memtableBytes = 0
    var tableReaderBytes = 0
    var blockCacheBytes = 0
    var rowCacheBytes = 0
    var residentBytes = 0
    /// Names of stores with a background error, such as `db0/strings`.
    var fatalStores: [String] = []
    /// Why databases refuse writes, by name.
    var refusals: [(database: String, reason: String)] = []
}

/// What the section stats shows beside counters and rates.
struct TaskFigures: Sendable {
    var isSaving = false
    var isScanning = false
    var isCompacting = false
    var compactCron = ""
    var compactInterval = ""
    var slowLogCount = 0
    var rejectedConnections: UInt64 = 0
    /// Deadlines that are remembered for `expired` events, and those that found no room.
    var deadlines = 0
    var missedDeadlines: UInt64 = 0
}

extension InfoText {
    mutating func server(_ figures: ServerFigures) {
        heading("Server")
        line("pika_version", ServerVersion.pika)
        line("pika_swift_version", ServerVersion.own)
        line("pika_git_sha", "none")
        line("pika_build_compile_date", "none")
        line("os", figures.operatingSystem)
        line("arch_bits", figures.archBits)
        line("process_id", figures.processID)
        line("tcp_port", figures.port)
        line("thread_num", figures.loops)
        line("sync_thread_num", figures.syncThreads)
        line("uptime_in_seconds", figures.uptimeSeconds)
        line("uptime_in_days", figures.uptimeDays)
        line("config_file", figures.confPath)
        line("server_id", figures.serverID)
        line("run_id", figures.runID)
    }

    mutating func data(_ figures: DataFigures) {
        heading("Data")
        size("db_size", figures.dbBytes)
        size("log_size", figures.logBytes)
        line("compression", figures.compression)
        size("used_memory", figures.memtableBytes + figures.tableReaderBytes)
        line("db_memtable_usage", figures.memtableBytes)
        line("db_tablereader_usage", figures.tableReaderBytes)
        line("db_blockcache_usage", figures.blockCacheBytes)
        line("db_rowcache_usage", figures.rowCacheBytes)
        line("used_memory_rss", figures.residentBytes)
        let isFatal = !figures.fatalStores.isEmpty || !figures.refusals.isEmpty
        line("db_fatal", isFatal ? 1 : 0)
        line(
            "db_fatal_msg",
            figures.fatalStores.isEmpty ? "nullptr" : figures.fatalStores.joined(separator: ","))
        for refusal in figures.refusals {
            line(refusal.database + "_writes_refused", refusal.reason)
        }
    }

    mutating func clients(connected: Int, blocked: Int, limit: Int) {
        heading("Clients")
        line("connected_clients", connected)
        line("maxclients", limit)
        line("blocked_clients", blocked)
    }

    mutating func stats(_ totals: StatisticsTotals, _ rates: StatisticsRates, _ tasks: TaskFigures)
    {
        heading("Stats")
        line("total_connections_received", totals.connections)
        line("rejected_connections", totals.rejectedConnections)
        line("instantaneous_ops_per_sec", rates.operationsPerSecond)
        line("total_commands_processed", totals.commands)
        line("total_net_input_bytes", totals.inputBytes + totals.replicationInputBytes)
        line("total_net_output_bytes", totals.outputBytes + totals.replicationOutputBytes)
        line("total_net_repl_input_bytes", totals.replicationInputBytes)
        line("total_net_repl_output_bytes", totals.replicationOutputBytes)
        line("instantaneous_input_kbps", decimal: rates.inputKilobytesPerSecond)
        line("instantaneous_output_kbps", decimal: rates.outputKilobytesPerSecond)
        line("instantaneous_input_repl_kbps", decimal: rates.replicationInputKilobytesPerSecond)
        line("instantaneous_output_repl_kbps", decimal: rates.replicationOutputKilobytesPerSecond)
        line("is_bgsaving", tasks.isSaving ? "Yes" : "No")
        line("is_scaning_keyspace", tasks.isScanning ? "Yes" : "No")
        line("is_compact", tasks.isCompacting ? "Yes" : "No")
        line("compact_cron", tasks.compactCron)
        line("compact_interval", tasks.compactInterval)
        line("is_slots_reloading", "No, 0, 0")
        line("is_slots_cleaningup", "No, 0, 0")
        line("is_slots_migrating", "No, 0, 0")
        line("slow_logs_count", tasks.slowLogCount)
        line("notify_deadlines", tasks.deadlines)
        line("notify_deadlines_missed", tasks.missedDeadlines)
    }

    mutating func cpu(_ times: CPUTimes) {
        heading("CPU")
        line("used_cpu_sys", decimal: times.systemSeconds)
        line("used_cpu_user", decimal: times.userSeconds)
        line("used_cpu_sys_children", decimal: times.childSystemSeconds)
        line("used_cpu_user_children", decimal: times.childUserSeconds)
    }
}
