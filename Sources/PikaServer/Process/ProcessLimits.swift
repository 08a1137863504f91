import Glibc

/// CPU time that was used.
struct CPUTimes: Sendable, Equatable {
    var systemSeconds = 0.0
    var userSeconds = 0.0
    var childSystemSeconds = 0.0
    var childUserSeconds = 0.0
}

/// The process's limits and what it has used.
enum ProcessLimits {
    /// Files that the stores, logs and replication may need beside the clients' connections.
    static let filesBesideClients = 5000

    /// Raises the limit to what so many clients need, as far as the system allows.
    ///
    /// - Returns: the number of clients that the limit allows, at most `clients`.
    static func raiseOpenFiles(forClients clients: Int) -> Int {
        let wanted = rlim_t(clients + filesBesideClients)
        var limit = rlimit()
        let files = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        guard getrlimit(files, &limit) == 0 else { return clients }
        if limit.rlim_cur >= wanted { return clients }
        var raised = rlimit(rlim_cur: wanted, rlim_max: max(wanted, limit.rlim_max))
        if setrlimit(files, &raised) == 0 { return clients }
        raised = rlimit(rlim_cur: min(wanted, limit.rlim_max), rlim_max: limit.rlim_max)
        if setrlimit(files, &raised) == 0 { limit = raised }
        // With a low limit the clients get what the stores leave, and at least a few.
        let files0 = Int(clamping: limit.rlim_cur)
        return max(16, min(clients, files0 - min(filesBesideClients, files0 / 2)))
    }

    /// Memory that the process has in RAM, in bytes.
    static func residentBytes() -> Int {
        guard let file = fopen("/proc/self/statm", "r") else { return 0 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 256)
        guard fgets(&line, Int32(line.count), file) != nil else { return 0 }
        let bytes = line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:))
        let text = String(decoding: bytes, as: UTF8.self)
        let fields = text.split(separator: " ")
        guard fields.count > 1, let pages = Int(fields[1]) else { return 0 }
        return pages * sysconf(Int32(_SC_PAGESIZE))
    }

    /// What the process and its ended children have used.
    static func cpuTimes() -> CPUTimes {
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
        var own = rusage()
        var children = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &own)
        getrusage(__rusage_who_t(RUSAGE_CHILDREN.rawValue), &children)
        return CPUTimes(
            systemSeconds: seconds(own.ru_stime), userSeconds: seconds(own.ru_utime),
            childSystemSeconds: seconds(children.ru_stime),
            childUserSeconds: seconds(children.ru_utime))
    }
}
