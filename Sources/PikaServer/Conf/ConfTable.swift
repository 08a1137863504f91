/// Every item of a settings file, by group.
public enum ConfTable {
    /// A group of items under one heading of the shipped file.
    public struct Group: Sendable {
        /// The heading.
        public let title: String
        /// The rows.
        public let items: [ConfItem]
    }

    /// All groups, in the order of the shipped file.
    public static let groups: [Group] = [
        Group(title: "Network and process", items: process),
        Group(title: "Clients", items: clients),
        Group(title: "Access", items: access),
        Group(title: "Keyspace events", items: events),
        Group(title: "Directories", items: places),
        Group(title: "Databases", items: databases),
        Group(title: "Binlog", items: binlog),
        Group(title: "Replication", items: replication),
        Group(title: "Storage engine", items: storage),
        Group(title: "Compaction and maintenance", items: maintenance),
        Group(title: "Accepted for files of Pika 3.5.0, without effect here", items: kept350),
        Group(title: "Accepted for files of Pika 3.5.5, without effect here", items: kept355),
        Group(
            title: "Accepted options of the storage engine, without effect here", items: keptEngine),
    ]

    /// All rows.
    public static let items: [ConfItem] = groups.flatMap(\.items)

    private static let indexes: [String: Int] = {
        var found: [String: Int] = [:]
        for (index, item) in items.enumerated() {
            for name in [item.name] + item.aliases { found[name] = index }
        }
        return found
    }()

    /// The place of an item in ``items``; aliases count, unknown names give nil.
    public static func index(of name: String) -> Int? {
        indexes[name]
    }
}
