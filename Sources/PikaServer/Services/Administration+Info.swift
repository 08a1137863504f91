import Commands
import Glibc
import Keyspace
import PikaStorage
import Synchronization

extension Administration {
    func info(sections: [String]) -> AdminReply {
        var text = InfoText()
        if sections.first?.lowercased() == "keyspace" {
            return infoKeyspace(Array(sections.dropFirst()))
        }
        if sections.count > 1 { return .error("ERR syntax error") }
        let requested = InfoSection.requested(sections)
        for (index, section) in requested.enumerated() {
            if index > 0 { text.blank() }
            write(section, &text)
        }
        return .text(text.text)
    }

    private func write(_ section: InfoSection, _ text: inout InfoText) {
        switch section {
        case .server: text.server(serverFigures)
        case .data: text.data(dataFigures)
        case .clients:
            text.clients(
                connected: registry.count,
                blocked: keyspace.databases.reduce(0) { $0 + $1.events.waiterCount }
                    + (environment.withLock { $0 }?.pause.waiterCount ?? 0),
                limit: conf.settings.maxClients)
        case .stats: text.stats(totals, statistics.rates, taskFigures)
        case .commandExecCount: writeCallCounts(&text)
        case .commandStats: writeCommandStats(&text)
        case .cpu: text.cpu(ProcessLimits.cpuTimes())
        case .replication: writeReplication(&text)
        case .keyspace: text.keyspace(scanner.results, isStarting: false)
        case .rocksdb: writeRocksDB(&text)
        case .debug: text.heading("Debug")
        }
    }

    private func writeCallCounts(_ text: inout InfoText) {
        text.heading("Command_Exec_Count")
        guard let environment = environment.withLock({ $0 }) else { return }
        for (row, count) in zip(environment.table.rows, environment.callCounts) where count > 0 {
            text.line("\(row.name)".uppercased(), count)
        }
    }

    /// Times in microseconds, as the names say; Pika divides them by 1000.
    private func writeCommandStats(_ text: inout InfoText) {
        text.heading("Commandstats")
        guard let environment = environment.withLock({ $0 }) else { return }
        for (row, counts) in zip(environment.table.rows, environment.commandCounts)
        where counts.calls > 0 {
            let micros = Double(counts.nanoseconds) / 1000
            let mean = InfoText.decimal(micros / Double(counts.calls))
            // Pika's form, and the one that tools for Redis know.
            text.line(
                "\(row.name)",
                "calls=\(counts.calls), usec=\(InfoText.decimal(micros)), usec_per_call=\(mean)")
            text.line(
                "cmdstat_\(row.name)",
                "calls=\(counts.calls),usec=\(counts.nanoseconds / 1000),usec_per_call=\(mean)")
        }
    }

    private func writeReplication(_ text: inout InfoText) {
        if let replication {
            replication.writeInfo(&text)
        } else {
            text.heading("Replication(MASTER)")
            text.line("role", "master")
            text.line("connected_slaves", 0)
        }
    }

    /// INFO KEYSPACE [0 | 1 | off [db0,db1]].
    private func infoKeyspace(_ arguments: [String]) -> AdminReply {
        var text = InfoText()
        var indexes = Array(keyspace.databases.indices)
        if arguments.count > 2 { return .error("ERR syntax error") }
        if arguments.count == 2 {
            var named: [Int] = []
            for name in arguments[1].split(separator: ",") {
                guard let database = keyspace.databases.first(where: { $0.name == name }) else {
                    return .error("ERR invalid DB for 'info'")
                }
                named.append(database.index)
            }
            indexes = named
        }
        switch arguments.first?.lowercased() {
        case nil, "0": break
        case "1":
            guard !maintenance.isCompacting else {
                return .error("ERR The compact operation is executing, Try again later")
            }
            scanner.start(databases: indexes)
        case "off":
            scanner.stop()
            return .text("OK")
        default: return .error("ERR syntax error")
        }
        text.keyspace(scanner.results, isStarting: arguments.first == "1")
        return .text(text.text)
    }

    // MARK: Figures

    var totals: StatisticsTotals {
        let traffic = replication?.traffic ?? (receivedBytes: 0, sentBytes: 0)
        return statistics.totals(
            commands: commandCount, replicationInput: traffic.receivedBytes,
            replicationOutput: traffic.sentBytes)
    }

    func resetTotals() {
        let traffic = replication?.traffic ?? (receivedBytes: 0, sentBytes: 0)
        statistics.reset(
            commands: commandCount, replicationInput: traffic.receivedBytes,
            replicationOutput: traffic.sentBytes)
    }

    private var commandCount: UInt64 {
        UInt64(clamping: environment.withLock { $0?.requestCount } ?? 0)
    }

    private var taskFigures: TaskFigures {
        let settings = conf.settings
        let deadlines = keyspace.databases.map(\.events.deadlineCounts)
        return TaskFigures(
            isSaving: replication?.isSaving ?? false, isScanning: scanner.isRunning,
            isCompacting: maintenance.isCompacting, compactCron: settings.compactCron,
            compactInterval: settings.compactInterval,
            slowLogCount: environment.withLock { $0 }?.slowLog.count ?? 0,
            rejectedConnections: totals.rejectedConnections,
            deadlines: deadlines.reduce(0) { $0 + $1.remembered },
            missedDeadlines: deadlines.reduce(0) { $0 + $1.missed })
    }

    private var serverFigures: ServerFigures {
        let settings = conf.settings
        let now = ServerClock.unixSeconds()
        let days = now / 86_400 - startedSeconds / 86_400
        return ServerFigures(
            port: settings.port, processID: getpid(), loops: statistics.loops.count,
            uptimeSeconds: now - startedSeconds, uptimeDays: days + 1, confPath: conf.path ?? "",
            serverID: settings.serverID, runID: "\(keyspace.runID)",
            operatingSystem: Self.operatingSystem,
            syncThreads: settings.text(of: "sync-thread-num") ?? "")
    }

    private static var operatingSystem: String {
        var name = utsname()
        guard uname(&name) == 0 else { return "Linux" }
        func text(_ bytes: UnsafeRawBufferPointer) -> String {
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        return withUnsafeBytes(of: name.sysname, text) + " "
            + withUnsafeBytes(of: name.release, text) + " "
            + withUnsafeBytes(of: name.machine, text)
    }

    private var dataFigures: DataFigures {
        let settings = conf.settings
        var figures = DataFigures()
        let sizes = directorySizes.bytes(nowMilliseconds: ServerClock.monotonicMilliseconds())
        figures.dbBytes = sizes[0]
        figures.logBytes = sizes[1]
        figures.compression = settings.compression
        figures.residentBytes = ProcessLimits.residentBytes()
        for database in keyspace.databases {
            if let reason = database.writeRefusal {
                figures.refusals.append((database.name, reason))
            }
            for kind in StoreKind.allCases {
                figures.memtableBytes += property("rocksdb.cur-size-all-mem-tables", kind, database)
                figures.tableReaderBytes += property(
                    "rocksdb.estimate-table-readers-mem", kind, database)
                figures.rowCacheBytes += database.rowCacheUsageBytes(of: kind)
                if database.backgroundError(of: kind) != nil {
                    figures.fatalStores.append("\(database.name)/\(kind.directoryName)")
                }
            }
        }
        // The block cache is shared by all stores: any store tells its use.
        if let first = keyspace.databases.first {
            figures.blockCacheBytes = property("rocksdb.block-cache-usage", .strings, first)
        }
        return figures
    }

    private func property(_ name: String, _ kind: StoreKind, _ database: Database) -> Int {
        Int(clamping: database.storeProperty(kind, name) ?? 0)
    }

    private func writeRocksDB(_ text: inout InfoText) {
        text.heading("RocksDB")
        for database in keyspace.databases {
            for kind in StoreKind.allCases {
                let prefix = kind.directoryName + "_"
                text.raw("#\(prefix)RocksDB")
                for name in Self.rocksDBProperties {
                    text.line(
                        prefix + name,
                        property(
                            "rocksdb." + name.split(separator: "_").joined(separator: "-"), kind,
                            database))
                }
            }
        }
    }

    /// Numeric properties, by Pika's names.
    private static let rocksDBProperties = [
        "num_immutable_mem_table", "num_immutable_mem_table_flushed", "mem_table_flush_pending",
        "num_running_flushes", "compaction_pending", "num_running_compactions",
        "background_errors", "cur_size_active_mem_table", "cur_size_all_mem_tables",
        "size_all_mem_tables", "estimate_num_keys", "estimate_table_readers_mem", "num_snapshots",
        "num_live_versions", "current_super_version_number", "estimate_live_data_size",
        "total_sst_files_size", "live_sst_files_size", "estimate_pending_compaction_bytes",
        "block_cache_capacity", "block_cache_usage", "block_cache_pinned_usage", "num_blob_files",
        "total_blob_file_size", "live_blob_file_size",
    ]
}
