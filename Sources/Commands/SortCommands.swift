import Keyspace
import PikaStorage
import RESP

/// SORT and SORT_RO.
enum SortCommands {
    static let rows: [CommandRow] = [
        CommandRow(
            "sort", arity: -2, flags: [.write, .growsData, .movableKeys, .readsUnlessStored],
            keys: .one.andStored(from: 2),
            group: .generic, since: "1.0.0",
            summary: "Sorts a list, set or sorted set, and may store the result.",
            handler: { try sort(&$0, isReadOnly: false) }),
        CommandRow(
            "sort_ro", arity: -2, flags: [.readonly], keys: .one, group: .generic,
            since: "7.0.0", summary: "Sorts a list, set or sorted set.",
            handler: { try sort(&$0, isReadOnly: true) }),
    ]
}

private struct SortOptions {
    var isDescending = false
    var isAlphabetic = false
    var offset: Int64 = 0
    var count: Int64 = -1
    var by: Bytes?
    var gets: [Bytes] = []
    var destination: Bytes?

    init(_ x: borrowing Execution, isReadOnly: Bool) throws(CommandError) {
        var index = 2
        while index < x.count {
            let word = x[index]
            let left = x.count - index - 1
            if word.isWord("asc") {
                self.isDescending = false
            } else if word.isWord("desc") {
                self.isDescending = true
            } else if word.isWord("alpha") {
                self.isAlphabetic = true
            } else if word.isWord("limit"), left >= 2 {
                self.offset = try x.integer(index + 1)
                self.count = try x.integer(index + 2)
                index += 2
            } else if word.isWord("store"), left >= 1, !isReadOnly {
                self.destination = x[index + 1]
                index += 1
            } else if word.isWord("by"), left >= 1 {
                self.by = x[index + 1]
                index += 1
            } else if word.isWord("get"), left >= 1 {
                self.gets.append(x[index + 1])
                index += 1
            } else {
                throw .syntax
            }
            index += 1
        }
    }

    /// BY a pattern without a star asks for no order at all.
    var keepsOrder: Bool { self.by.map { !$0.contains(UInt8(ascii: "*")) } ?? false }

    /// The elements of the result among `total`.
    func range(of total: Int) -> Range<Int> {
        let start = Int(clamping: max(0, min(self.offset, Int64(total))))
        guard self.count >= 0 else { return start..<total }
        return start..<min(total, start + Int(min(self.count, Int64(total))))
    }
}

extension SortCommands {
    private struct Item {
        var element: [UInt8]
        var number = 0.0
        var text: [UInt8]?
    }

    static func sort(_ x: inout Execution, isReadOnly: Bool) throws {
        var options = try SortOptions(x, isReadOnly: isReadOnly)
        let key = x.key
        let kinds = try x.keys.kinds(key, now: x.now)
        let kind: StoreKind? =
            kinds.has(.lists) ? .lists : kinds.has(.sets) ? .sets : kinds.has(.zsets) ? .zsets : nil
        guard kind != nil || kinds.isEmpty else {
            throw CommandError.reply(
                "WRONGTYPE Operation against a key holding the wrong kind of value")
        }
        var keepsOrder = options.keepsOrder
        if keepsOrder, kind == .sets, options.destination != nil {
            // A set has no order that could be kept; what is stored must be the same everywhere.
            keepsOrder = false
            options.isAlphabetic = true
            options.by = nil
        }
        var items: [Item] = []
        if let kind {
            try x.limit(try x.elementCount(key, kind))
            items = try elements(x, key, kind, reverse: keepsOrder && options.isDescending)
        }
        if !keepsOrder { try order(&items, x, options) }
        try reply(&x, items[options.range(of: items.count)], options)
    }

    private static func elements(
        _ x: borrowing Execution, _ key: Bytes, _ kind: StoreKind, reverse: Bool
    ) throws -> [Item] {
        var items: [Item] = []
        switch kind {
        case .lists:
            try x.lists.forEach(key, now: x.now) {
                items.append(Item(element: Array($0)))
                return true
            }
        case .sets:
            try x.sets.forEach(key, now: x.now) {
                items.append(Item(element: Array($0)))
                return true
            }
        default:
            try x.zsets.forEachByRank(key, start: 0, stop: -1, reverse: reverse, now: x.now) {
                member, _ in
                items.append(Item(element: Array(member)))
                return true
            }
        }
        return items
    }

    private static func order(
        _ items: inout [Item], _ x: borrowing Execution, _ options: SortOptions
    ) throws {
        for index in items.indices {
            var weight: [UInt8]? = items[index].element
            if let by = options.by { weight = try lookup(x, by, items[index].element) }
            if options.isAlphabetic {
                items[index].text = weight
            } else if let weight {
                guard let number = weight.withUnsafeBytes({ parseDouble($0) }) else {
                    throw CommandError.reply(
                        "ERR One or more scores can't be converted into double")
                }
                items[index].number = number
            }
        }
        let isDescending = options.isDescending
        if options.isAlphabetic {
            items.sort { a, b in
                let (low, high) = isDescending ? (b, a) : (a, b)
                guard let left = low.text else { return high.text != nil }
                guard let right = high.text else { return false }
                return left.lexicographicallyPrecedes(right)
            }
        } else {
            items.sort { a, b in
                let (low, high) = isDescending ? (b, a) : (a, b)
                if low.number != high.number { return low.number < high.number }
                return low.element.lexicographicallyPrecedes(high.element)
            }
        }
    }

    /// The value that a pattern of BY or GET leads to for an element.
    private static func lookup(
        _ x: borrowing Execution, _ pattern: Bytes, _ element: [UInt8]
    ) throws -> [UInt8]? {
        if pattern.count == 1, pattern[0] == UInt8(ascii: "#") { return element }
        guard let star = pattern.firstIndex(of: UInt8(ascii: "*")) else { return nil }
        let behind = pattern.dropping(star + 1)
        var keyEnd = behind.count
        var field: Bytes?
        for index in behind.indices.dropLast(2)
        where behind[index] == UInt8(ascii: "-") && behind[index + 1] == UInt8(ascii: ">") {
            keyEnd = index
            field = behind.dropping(index + 2)
            break
        }
        let name = pattern[..<star] + element + behind[..<keyEnd]
        return try Array(name).withUnsafeBytes { name in
            guard let field else {
                return try x.strings.withValue(name, now: x.now) { value, _ in
                    value.map { Array($0) }
                }
            }
            return try x.hashes.withField(name, field, now: x.now) { $0.map { Array($0) } }
        }
    }

    private static func reply(
        _ x: inout Execution, _ items: ArraySlice<Item>, _ options: SortOptions
    ) throws {
        var result: [[UInt8]?] = []
        for item in items {
            if options.gets.isEmpty { result.append(item.element) }
            for pattern in options.gets { result.append(try lookup(x, pattern, item.element)) }
        }
        guard let destination = options.destination else {
            x.reply.array(result.count)
            for value in result {
                if let value {
                    value.withUnsafeBytes { x.reply.bulk($0) }
                } else {
                    x.reply.null()
                }
            }
            return
        }
        var list = PackedList()
        for value in result { (value ?? []).withUnsafeBytes { list.append($0) } }
        let isTaken = try x.keys.type(destination, now: x.now) != nil
        try x.replacing { x in
            if isTaken { try x.perform(.del, destination) }
            if list.count > 0 { try x.writeElements(list, .lists, to: destination) }
        }
        if list.count > 0 {
            x.notify(.sortstore, destination)
        } else if isTaken {
            x.notify(.del, destination)
        }
        x.reply.integer(list.count)
    }
}
