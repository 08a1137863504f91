import Keyspace
import PikaStorage
import RESP
import Synchronization

/// CLIENT and its subcommands.
enum ClientCommands {
    static let rows: [CommandRow] = [
        CommandRow(
            "client", arity: -2, flags: [.admin, .commitsFirst, .container], keys: .none,
            group: .connection, since: "2.4.0",
            summary: "Names, lists and closes connections.", handler: client)
    ]

    static let badName = CommandError.reply(
        "ERR Client names cannot contain spaces, newlines or special characters.")

    /// Visible ASCII only, as in Redis.
    static func isValidName(_ name: Bytes) -> Bool {
        name.allSatisfy { (0x21...0x7e).contains($0) }
    }
}

extension Execution {
    /// Redis's error for a subcommand that there is not.
    func unknownSubcommand(_ command: StaticString) -> CommandError {
        .text(
            "ERR unknown subcommand '\(Bytes(rebasing: self[1].prefix(128)).text)'. Try \(command) HELP."
        )
    }

    /// Throws unless a subcommand got this many words, the command's included.
    func requireCount(
        _ range: ClosedRange<Int>, _ command: StaticString, _ subcommand: StaticString
    ) throws(CommandError) {
        guard range.contains(self.count) else { throw .arity("\(command)|\(subcommand)") }
    }

    /// A list of simple strings, as HELP subcommands answer it.
    mutating func help(_ lines: [StaticString]) {
        self.reply.array(lines.count)
        for line in lines { self.reply.simple(line) }
    }
}

extension ClientCommands {
    static func client(_ x: inout Execution) throws {
        let word = x[1]
        if word.isWord("id") {
            try x.requireCount(2...2, "client", "id")
            x.reply.integer(Int64(x.client.record.id))
        } else if word.isWord("getname") {
            try x.requireCount(2...2, "client", "getname")
            let name = x.client.record.name
            if name.isEmpty { x.reply.null() } else { x.reply.bulk(name) }
        } else if word.isWord("setname") {
            try x.requireCount(3...3, "client", "setname")
            guard isValidName(x[2]) else { throw badName }
            x.client.record.name = x[2].text
            x.reply.ok()
        } else if word.isWord("setinfo") {
            try x.requireCount(4...4, "client", "setinfo")
            x.reply.ok()
        } else if word.isWord("list") {
            try list(&x)
        } else if word.isWord("info") {
            try x.requireCount(2...2, "client", "info")
            var text = line(x, x.client.record)
            text.withUTF8 { x.reply.verbatim(Bytes($0)) }
        } else if word.isWord("kill") {
            try kill(&x)
        } else if word.isWord("unblock") {
            try unblock(&x)
        } else if word.isWord("no-evict") || word.isWord("no-touch") {
            try x.requireCount(3...3, "client", "no-evict")
            guard x[2].isWord("on") || x[2].isWord("off") else { throw CommandError.syntax }
            x.reply.ok()
        } else if word.isWord("pause") {
            try pause(&x)
        } else if word.isWord("unpause") {
            try x.requireCount(2...2, "client", "unpause")
            x.environment.pause.end()
            x.reply.ok()
        } else if word.isWord("reply") {
            try reply(&x)
        } else if word.isWord("tracking") || word.isWord("caching") {
            // Nothing tells when a client's copy of a key is out of date.
            guard x.count > 2, x[2].isWord("off") else {
                throw CommandError.reply("ERR client side caching is not supported by this server")
            }
            x.reply.ok()
        } else if word.isWord("getredir") {
            try x.requireCount(2...2, "client", "getredir")
            x.reply.integer(-1)
        } else if word.isWord("trackinginfo") {
            try x.requireCount(2...2, "client", "trackinginfo")
            trackingInfo(&x)
        } else if word.isWord("help") {
            x.help([
                "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
                "GETNAME", "ID", "INFO", "KILL <ip:port> | all | <option> ...",
                "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB)] [ID <id> ...]", "SETNAME <name>",
                "UNBLOCK <clientid> [TIMEOUT|ERROR]",
                "HELP",
            ])
        } else {
            throw x.unknownSubcommand("CLIENT")
        }
    }

    private static func pause(_ x: inout Execution) throws {
        try x.requireCount(3...4, "client", "pause")
        guard let milliseconds = Decimal.parseInteger(x[2]) else {
            throw CommandError.reply("ERR timeout is not an integer or out of range")
        }
        guard milliseconds >= 0 else { throw CommandError.reply("ERR timeout is negative") }
        var mode = Pause.Mode.all
        if x.count == 4 {
            if x[3].isWord("write") {
                mode = .writes
            } else if !x[3].isWord("all") {
                throw CommandError.reply("ERR CLIENT PAUSE mode must be WRITE or ALL")
            }
        }
        x.environment.pause.begin(mode, milliseconds: milliseconds, x.environment.services)
        x.reply.ok()
    }

    private static func reply(_ x: inout Execution) throws {
        try x.requireCount(3...3, "client", "reply")
        if x[2].isWord("on") {
            x.client.replyMode = .on
            x.reply.ok()
        } else if x[2].isWord("off") {
            x.client.replyMode = .off
        } else if x[2].isWord("skip") {
            if x.client.replyMode == .on { x.client.replyMode = .skipping }
        } else {
            throw CommandError.syntax
        }
    }

    private static func trackingInfo(_ x: inout Execution) {
        x.reply.map(3)
        x.reply.bulk("flags")
        x.reply.set(1)
        x.reply.bulk("off")
        x.reply.bulk("redirect")
        x.reply.integer(-1)
        x.reply.bulk("prefixes")
        x.reply.array(0)
    }

    /// Unix seconds now: connections are listed on the machine's clock.
    private static func line(_ x: borrowing Execution, _ record: ClientRecord) -> String {
        let now = max(x.now, record.lastRequestSeconds.load(ordering: .relaxed))
        let idle = now - record.lastRequestSeconds.load(ordering: .relaxed)
        let isOwn = record.id == x.client.record.id
        let row = isOwn ? x.rowIndex : record.lastCommand.load(ordering: .relaxed)
        var command = row >= 0 ? "\(x.environment.table.rows[row].name)" : "NULL"
        if isOwn { command += "|" + x[1].lowercasedText }
        let memory = ClientMemory(x, record, isOwn: isOwn)
        let subscribed = record.subscriptions
        return "id=\(record.id) addr=\(record.address) laddr=\(record.localAddress)"
            + " fd=\(record.descriptor) name=\(record.name) age=\(now - record.createdSeconds)"
            + " idle=\(idle) flags=\(flags(record)) db=\(record.database.load(ordering: .relaxed))"
            + " sub=\(subscribed.channels) psub=\(subscribed.patterns) ssub=\(subscribed.shards)"
            + " multi=\(record.queuedCommands.load(ordering: .relaxed)) \(memory.text)"
            + " events=\(memory.outputBytes > 0 ? "rw" : "r") cmd=\(command) user=default redir=-1"
            + " resp=\(record.protocolVersion.load(ordering: .relaxed))\n"
    }

    /// Letters for what a connection is doing: monitor, listening, waiting, none of them.
    private static func flags(_ record: ClientRecord) -> String {
        var letters = ""
        if record.isMonitor.load(ordering: .relaxed) { letters += "O" }
        if record.isSubscribed { letters += "P" }
        if record.waiter != nil { letters += "b" }
        return letters.isEmpty ? "N" : letters
    }

    private static func list(_ x: inout Execution) throws {
        var wanted: Set<UInt64>?
        var type: ClientType?
        if x.count > 2 {
            if x[2].isWord("type"), x.count == 4 {
                type = try clientType(x[3])
            } else if x[2].isWord("id"), x.count > 3 {
                wanted = try Set(
                    (3..<x.count).map { index in
                        guard let id = Decimal.parseInteger(x[index]), id > 0 else {
                            throw CommandError.reply("ERR Invalid client ID")
                        }
                        return UInt64(id)
                    })
            } else if !x[2].isWord("order") {
                throw CommandError.syntax
            }
        }
        let records = x.environment.services.clients()
        try x.limit(records.count)
        var text = ""
        for record in records
        where type?.includes(record) ?? true && wanted?.contains(record.id) ?? true {
            text += line(x, record)
        }
        text.withUTF8 { x.reply.verbatim(Bytes($0)) }
    }

    fileprivate static func clientType(_ word: Bytes) throws(CommandError) -> ClientType {
        if word.isWord("normal") { return .normal }
        if word.isWord("pubsub") { return .pubsub }
        // Replicas and masters have a port of their own.
        guard word.isWord("master") || word.isWord("replica") || word.isWord("slave") else {
            throw .text("ERR Unknown client type '\(word.text)'")
        }
        return .replication
    }

    private static func unblock(_ x: inout Execution) throws {
        try x.requireCount(3...4, "client", "unblock")
        var reason = KeyWaiter.Interruption.timeout
        if x.count == 4 {
            if x[3].isWord("error") {
                reason = .error
            } else if !x[3].isWord("timeout") {
                throw CommandError.reply(
                    "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
            }
        }
        let id = try x.integer(2)
        let waiter = x.environment.services.clients().first { Int64($0.id) == id }?.waiter
        waiter?.interrupt(reason)
        x.reply.integer(waiter == nil ? 0 : 1)
    }

    private static func kill(_ x: inout Execution) throws {
        guard x.count >= 3 else { throw CommandError.arity("client|kill") }
        let records = x.environment.services.clients()
        if x.count == 3 {
            let address = x[2].text
            let isAll = x[2].isWord("all")
            let victims = records.filter { isAll || $0.address == address }
            guard !victims.isEmpty else { throw CommandError.reply("ERR No such client") }
            close(&x, victims)
            x.reply.ok()
            return
        }
        var filter = KillFilter()
        try filter.parse(x)
        let own = x.client.record.id
        let victims = records.filter { filter.matches($0) && !(filter.skipsMe && $0.id == own) }
        close(&x, victims)
        x.reply.integer(victims.count)
    }

    /// The caller's own connection is closed behind its reply.
    private static func close(_ x: inout Execution, _ victims: [ClientRecord]) {
        let own = x.client.record.id
        if victims.contains(where: { $0.id == own }) { x.client.closesAfterReply = true }
        x.environment.services.kill(clientIDs: victims.map(\.id).filter { $0 != own })
    }
}

/// What a connection holds, in bytes.
private struct ClientMemory {
    let inputBytes: Int
    let inputCapacity: Int
    let argumentBytes: Int
    let queuedBytes: Int
    /// Replies of the commands before this one, or those that wait for the disk.
    let replyBytes: Int
    let outputBytes: Int

    init(_ x: borrowing Execution, _ record: ClientRecord, isOwn: Bool) {
        self.inputBytes = record.inputBytes.load(ordering: .relaxed)
        // Of another connection both may be between two reads.
        self.inputCapacity = max(
            self.inputBytes, record.inputCapacity.load(ordering: .relaxed))
        self.argumentBytes = isOwn ? x.arguments.reduce(0) { $0 + $1.count } : 0
        self.queuedBytes = record.queuedBytes.load(ordering: .relaxed)
        self.replyBytes =
            isOwn ? x.reply.count : record.heldReplyBytes.load(ordering: .relaxed)
        self.outputBytes =
            record.outputBytes.load(ordering: .relaxed) + (record.outlet?.waitingBytes ?? 0)
    }

    /// Fields of CLIENT LIST.
    ///
    /// No reply buffer is a connection's own, and how many buffers wait for a socket is not known.
    var text: String {
        let total =
            self.inputCapacity + self.argumentBytes + self.queuedBytes + self.replyBytes
            + self.outputBytes
        return "qbuf=\(self.inputBytes) qbuf-free=\(self.inputCapacity - self.inputBytes)"
            + " argv-mem=\(self.argumentBytes) multi-mem=\(self.queuedBytes) rbs=0 rbp=0"
            + " obl=\(self.replyBytes) oll=\(self.outputBytes > 0 ? 1 : 0)"
            + " omem=\(self.outputBytes) tot-mem=\(total)"
    }
}

/// What CLIENT LIST and CLIENT KILL tell apart.
private enum ClientType {
    case normal
    case pubsub
    case replication

    func includes(_ record: ClientRecord) -> Bool {
        switch self {
        case .normal: !record.isSubscribed
        case .pubsub: record.isSubscribed
        case .replication: false
        }
    }
}

/// The options of CLIENT KILL.
private struct KillFilter {
    var id: UInt64?
    var address: String?
    var localAddress: String?
    var type: ClientType?
    var skipsMe = true

    mutating func parse(_ x: borrowing Execution) throws {
        guard x.count % 2 == 0 else { throw CommandError.syntax }
        for index in stride(from: 2, to: x.count, by: 2) {
            let value = x[index + 1]
            if x[index].isWord("id") {
                guard let id = Decimal.parseInteger(value), id > 0 else {
                    throw CommandError.reply("ERR client-id should be greater than 0")
                }
                self.id = UInt64(id)
            } else if x[index].isWord("addr") {
                self.address = value.text
            } else if x[index].isWord("laddr") {
                self.localAddress = value.text
            } else if x[index].isWord("type") {
                self.type = try ClientCommands.clientType(value)
            } else if x[index].isWord("user") {
                guard value.isWord("default") else {
                    throw CommandError.text("ERR No such user '\(value.text)'")
                }
            } else if x[index].isWord("skipme") {
                guard value.isWord("yes") || value.isWord("no") else { throw CommandError.syntax }
                self.skipsMe = value.isWord("yes")
            } else {
                throw CommandError.syntax
            }
        }
    }

    func matches(_ record: ClientRecord) -> Bool {
        (self.type?.includes(record) ?? true) && (self.id == nil || self.id == record.id)
            && (self.address == nil || self.address == record.address)
            && (self.localAddress == nil || self.localAddress == record.localAddress)
    }
}
