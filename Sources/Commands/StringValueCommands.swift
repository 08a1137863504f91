import Keyspace
import PikaStorage
import RESP

/// Commands on string values that came with later versions of Redis.
enum StringValueCommands {
    /// Cells of LCS's table that an event loop may fill.
    static let loopCellLimit = 200_000
    /// Most cells of LCS's table: of four bytes each, as in Redis.
    static let cellLimit = StringCommands.maxStringBytes / 4

    static let rows: [CommandRow] = [
        CommandRow(
            "getdel", arity: 2, flags: [.write, .fast], keys: .one, group: .string,
            since: "6.2.0", summary: "Returns a string value and deletes the key.",
            handler: getdel),
        CommandRow(
            "getex", arity: -2, flags: [.write, .fast], keys: .one, group: .string,
            since: "6.2.0", summary: "Returns a string value and changes its expiration.",
            handler: getex),
        CommandRow(
            "substr", arity: 4, flags: [.readonly], keys: .one, group: .string,
            since: "1.0.0", summary: "Returns a part of a string value.",
            handler: StringCommands.getrange),
        CommandRow(
            "lcs", arity: -3, flags: [.readonly], keys: .two, group: .string, since: "7.0.0",
            summary: "Finds the longest common subsequence of two strings.", handler: lcs),
    ]
}

// MARK: - GETDEL, GETEX

extension StringValueCommands {
    static func getdel(_ x: inout Execution) throws {
        let key = x.key
        let (value, _) = try x.copyOfValue(key)
        guard let value else {
            x.reply.null()
            return
        }
        try value.withUnsafeBytes { value in
            if try x.isOnlyString(key) {
                _ = try x.perform(.del, key)
            } else {
                // `del` would delete the other types under this name too.
                _ = try x.perform(.delvx, key, value)
            }
            x.notify(.del, key)
            x.reply.bulk(value)
        }
    }

    static func getex(_ x: inout Execution) throws {
        let key = x.key
        var persists = false
        var deadline: Int64?
        if x.count == 3, x[2].isWord("persist") {
            persists = true
        } else if x.count == 4 {
            deadline = try x.expiryOption(x[2], x[3], "getex")
            guard deadline != nil else { throw CommandError.syntax }
        } else if x.count != 2 {
            throw CommandError.syntax
        }
        let (value, expiry) = try x.copyOfValue(key)
        guard let value else {
            x.reply.null()
            return
        }
        try value.withUnsafeBytes { value in
            if let deadline {
                try setDeadline(&x, key, value, deadline)
            } else if persists, expiry != 0 {
                try setDeadline(&x, key, value, 0)
            }
            x.reply.bulk(value)
        }
    }

    /// Changes the deadline of a string, not that of other types under the name.
    private static func setDeadline(
        _ x: inout Execution, _ key: Bytes, _ value: Bytes, _ deadline: Int64
    ) throws {
        guard try x.isOnlyString(key) else {
            try x.writeString(key, value, expiry: deadline)
            x.notify(deadline == 0 ? .persist : .expire, key)
            return
        }
        if deadline == 0 {
            try x.perform(.persist, key)
            x.notify(.persist, key)
        } else if x.isOver(deadline) {
            try x.perform(.del, key)
            x.notify(.del, key)
        } else {
            try withDecimal(deadline) { _ = try x.perform(.expireat, key, $0) }
            x.notify(.expire, key)
        }
    }
}

extension Execution {
    /// True when a key lives as a string and as nothing else.
    func isOnlyString(_ key: Bytes) throws -> Bool {
        try self.keys.kinds(key, now: self.now) == .strings
    }
}

// MARK: - LCS

private struct LCSOptions {
    var wantsLength = false
    var wantsMatches = false
    var wantsMatchLengths = false
    var minimumMatch: Int64 = 0

    init(_ x: borrowing Execution) throws(CommandError) {
        var index = 3
        while index < x.count {
            if x[index].isWord("len") {
                self.wantsLength = true
            } else if x[index].isWord("idx") {
                self.wantsMatches = true
            } else if x[index].isWord("withmatchlen") {
                self.wantsMatchLengths = true
            } else if x[index].isWord("minmatchlen"), index + 1 < x.count {
                self.minimumMatch = max(0, try x.integer(index + 1))
                index += 1
            } else {
                throw .syntax
            }
            index += 1
        }
        guard !(self.wantsLength && self.wantsMatches) else {
            throw .reply(
                "ERR If you want both the length and indexes, please just use IDX.")
        }
    }
}

/// Lengths of the common subsequences of all pairs of prefixes.
private struct LCSTable {
    private let a: [UInt8]
    private let b: [UInt8]
    private let lengths: [UInt32]

    init(_ a: [UInt8], _ b: [UInt8]) {
        self.a = a
        self.b = b
        let width = b.count + 1
        self.lengths = [UInt32](unsafeUninitializedCapacity: (a.count + 1) * width) {
            cells, count in
            for index in 0..<width { cells.initializeElement(at: index, to: 0) }
            for i in 0..<a.count {
                let row = (i + 1) * width
                cells.initializeElement(at: row, to: 0)
                for j in 0..<b.count {
                    let length =
                        a[i] == b[j]
                        ? cells[row - width + j] + 1
                        : max(cells[row - width + j + 1], cells[row + j])
                    cells.initializeElement(at: row + j + 1, to: length)
                }
            }
            count = (a.count + 1) * width
        }
    }

    private func length(_ i: Int, _ j: Int) -> UInt32 { self.lengths[i * (self.b.count + 1) + j] }

    var total: Int { Int(self.length(self.a.count, self.b.count)) }

    struct Match {
        var a: ClosedRange<Int>
        var b: ClosedRange<Int>
    }

    /// The subsequence, and the runs that it is made of, from the end.
    func trace() -> (text: [UInt8], matches: [Match]) {
        var text: [UInt8] = []
        var matches: [Match] = []
        var i = self.a.count
        var j = self.b.count
        while i > 0, j > 0 {
            if self.a[i - 1] == self.b[j - 1] {
                i -= 1
                j -= 1
                text.append(self.a[i])
                if let last = matches.last, last.a.lowerBound == i + 1, last.b.lowerBound == j + 1 {
                    matches[matches.count - 1] = Match(
                        a: i...last.a.upperBound, b: j...last.b.upperBound)
                } else {
                    matches.append(Match(a: i...i, b: j...j))
                }
            } else if self.length(i - 1, j) > self.length(i, j - 1) {
                i -= 1
            } else {
                j -= 1
            }
        }
        return (text.reversed(), matches)
    }
}

extension StringValueCommands {
    static func lcs(_ x: inout Execution) throws {
        let options = try LCSOptions(x)
        let a = try x.copyOfValue(x[1]).value ?? []
        let b = try x.copyOfValue(x[2]).value ?? []
        let (cells, overflow) = (a.count + 1).multipliedReportingOverflow(by: b.count + 1)
        guard !overflow, cells <= cellLimit else {
            throw CommandError.reply(
                "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
        }
        if cells > loopCellLimit, x.place == .loop { throw CommandError.deferToPool }
        let table = LCSTable(a, b)
        if options.wantsLength {
            x.reply.integer(table.total)
            return
        }
        let (text, all) = table.trace()
        guard options.wantsMatches else {
            text.withUnsafeBytes { x.reply.bulk($0) }
            return
        }
        let matches = all.filter { Int64($0.a.count) >= options.minimumMatch }
        x.reply.map(2)
        x.reply.bulk("matches")
        x.reply.array(matches.count)
        for match in matches {
            x.reply.array(options.wantsMatchLengths ? 3 : 2)
            for range in [match.a, match.b] {
                x.reply.array(2)
                x.reply.integer(range.lowerBound)
                x.reply.integer(range.upperBound)
            }
            if options.wantsMatchLengths { x.reply.integer(match.a.count) }
        }
        x.reply.bulk("len")
        x.reply.integer(table.total)
    }
}
