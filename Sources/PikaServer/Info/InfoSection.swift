/// The sections of INFO.
enum InfoSection: String, CaseIterable {
    case server
    case data
    case clients
    case stats
    case commandExecCount = "command_exec_count"
    case commandStats = "commandstats"
    case cpu
    case replication
    case keyspace
    case rocksdb
    case debug

    /// What INFO without a section shows, in order.
    static let usual: [InfoSection] = [
        .server, .data, .clients, .stats, .cpu, .replication, .keyspace,
    ]

    /// What INFO ALL shows, in order.
    static let all: [InfoSection] = [
        .server, .data, .clients, .stats, .commandExecCount, .commandStats, .cpu, .replication,
        .keyspace, .rocksdb,
    ]

    /// The sections of a request; unknown names ask for nothing.
    static func requested(_ names: [String]) -> [InfoSection] {
        guard let name = names.first?.lowercased() else { return usual }
        switch name {
        case "all", "everything": return all
        case "default": return usual
        default: return InfoSection(rawValue: name).map { [$0] } ?? []
        }
    }
}
