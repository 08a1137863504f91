import RedisSync
import Testing

@Suite("Replica of a Redis")
struct ReplicaHandshakeTests {
    static let mark = String(repeating: "m", count: 40)

    /// All events, pieces of the same kind joined; `cut` bytes at a time.
    private func run(
        _ script: String, request: ReplicaRequest = ReplicaRequest(), cut: Int
    ) throws(HandshakeError) -> [String] {
        var machine = ReplicaHandshake(request)
        var lines: [String] = []
        var texts: (snapshot: String, stream: String) = ("", "")
        let bytes = Array(script.utf8)
        var events = machine.start()
        for start in stride(from: 0, to: bytes.count, by: cut) {
            events += try machine.received(bytes[start..<min(bytes.count, start + cut)])
        }
        _ = try machine.received([])
        for event in events {
            switch event {
            case .send(let bytes):
                let words = String(decoding: bytes, as: UTF8.self).split(separator: "\r\n")
                lines.append(words.filter { !"*$".contains($0.prefix(1)) }.joined(separator: " "))
            case .snapshot(let bytes): texts.snapshot += String(decoding: bytes, as: UTF8.self)
            case .stream(let bytes): texts.stream += String(decoding: bytes, as: UTF8.self)
            default: lines.append("\(event)")
            }
        }
        return lines + [texts.snapshot, texts.stream]
    }

    private let asked = [
        "PING", "REPLCONF listening-port 0", "REPLCONF capa eof capa psync2", "PSYNC ? -1",
    ]

    @Test("A snapshot of known size, keep-alives before it, the stream behind it, in any cuts")
    func sizedSnapshot() throws {
        for cut in 1...60 {
            let events = try self.run(
                "+PONG\r\n+OK\r\n+OK\r\n\n+FULLRESYNC abc 41\r\n\n\n$5\r\nREDIS*1\r\n", cut: cut)
            #expect(
                events == self.asked + [
                    #"fullSync(replicationID: Optional("abc"), offset: 41)"#,
                    "snapshotStart(sizeBytes: Optional(5))", "snapshotEnd", "REDIS", "*1\r\n",
                ])
        }
    }

    @Test("R2: A mark is found across every border between pieces, near misses do not count")
    func markedSnapshot() throws {
        let snapshot = "REDIS" + String(repeating: "m", count: 39) + "n"
        for cut in 1...150 {
            let events = try self.run(
                "+PONG\r\n+OK\r\n+OK\r\n+FULLRESYNC abc 0\r\n$EOF:\(Self.mark)\r\n"
                    + snapshot + Self.mark + "*1\r\n", cut: cut)
            #expect(events.suffix(3) == ["snapshotEnd", snapshot, "*1\r\n"])
        }
    }

    @Test("A partial sync asks for the byte behind the last one, and keeps a new history's name")
    func partialSync() throws {
        let request = ReplicaRequest(
            user: "u", password: [0x70], replicationID: "abc", lastOffset: 99)
        let events = try self.run(
            "-NOAUTH x\r\n+OK\r\n-ERR unknown\r\n+OK\r\n+CONTINUE def\r\n*1\r\n", request: request,
            cut: 3)
        #expect(
            events == [
                "PING", "AUTH u p", "REPLCONF listening-port 0", "REPLCONF capa eof capa psync2",
                "PSYNC abc 100", #"continued(newReplicationID: Optional("def"))"#, "", "*1\r\n",
            ])
    }

    @Test("Refusals are sorted into those to wait for, those of rights, and unknown servers")
    func refusals() {
        let head = "+PONG\r\n+OK\r\n+OK\r\n"
        for reply in ["-LOADING x", "-NOMASTERLINK x", "-ERR can't SYNC while failing over"] {
            #expect(throws: HandshakeError.transient(reply: reply)) {
                try self.run(head + reply + "\r\n", cut: 100)
            }
        }
        #expect(throws: HandshakeError.authentication(reply: "-NOPERM x")) {
            try self.run(head + "-NOPERM x\r\n", cut: 1)
        }
        #expect(throws: HandshakeError.unsupported(reply: "-ERR unknown command")) {
            try self.run(head + "-ERR unknown command\r\n", cut: 1)
        }
        #expect(throws: HandshakeError.authentication(reply: "-WRONGPASS x")) {
            try self.run(
                "+PONG\r\n-WRONGPASS x\r\n", request: ReplicaRequest(password: [1]), cut: 1)
        }
    }

    @Test("A server without PSYNC is asked by SYNC if that is allowed")
    func syncFallback() throws {
        let events = try self.run(
            "+PONG\r\n-ERR x\r\n-ERR x\r\n-ERR unknown command\r\n$3\r\nabc*1\r\n",
            request: ReplicaRequest(allowsSync: true), cut: 2)
        #expect(events.suffix(4).first == "snapshotEnd" || events.contains("SYNC"))
        #expect(events.contains("fullSync(replicationID: nil, offset: 0)"))
        #expect(events.suffix(2) == ["abc", "*1\r\n"])
    }
}

@Suite("Command stream")
struct CommandStreamCutterTests {
    static func encode(_ words: String...) -> [UInt8] {
        words.reduce(into: Array("*\(words.count)\r\n".utf8)) {
            $0 += Array("$\($1.utf8.count)\r\n\($1)\r\n".utf8)
        }
    }

    static let stream =
        encode("SELECT", "3") + [10] + encode("set", "a", "1\r\n2") + encode("PING") + [10, 10]
        + encode("MULTI") + encode("DEL", "a") + encode("SELECT", "4") + encode("INCR", "b")
        + encode("exec") + encode("replconf", "getack", "*")

    private func run(_ bytes: [UInt8], cut: Int) throws(CommandStreamError) -> [String] {
        var cutter = CommandStreamCutter(offset: 1000)
        var lines: [String] = []
        for start in stride(from: 0, to: bytes.count, by: cut) {
            cutter.feed(bytes[start..<min(bytes.count, start + cut)])
            while let command = try cutter.next() {
                let words = command.arguments.indices.map {
                    String(decoding: cutter.argument(command, $0), as: UTF8.self)
                }
                lines.append(
                    "\(command.kind) \(command.database) \(command.isInTransaction) "
                        + "\(command.endOffset) \(cutter.unitEnd) \(words)")
            }
        }
        return lines
    }

    @Test("Any cuts give the same commands, with offsets that count every byte of commands only")
    func cuts() throws {
        let whole = try self.run(Self.stream, cut: 10_000)
        #expect(
            whole == [
                #"select 3 false 1023 1023 ["SELECT", "3"]"#,
                #"write 3 false 1053 1053 ["set", "a", "1\r\n2"]"#,
                #"ping 3 false 1067 1067 ["PING"]"#,
                #"multi 3 false 1082 1067 ["MULTI"]"#,
                #"write 3 true 1102 1067 ["DEL", "a"]"#,
                #"select 4 true 1125 1067 ["SELECT", "4"]"#,
                #"write 4 true 1146 1067 ["INCR", "b"]"#,
                #"exec 4 false 1160 1160 ["exec"]"#,
                #"acknowledgementRequest 4 false 1197 1197 ["replconf", "getack", "*"]"#,
            ])
        for cut in 1...50 { #expect(try self.run(Self.stream, cut: cut) == whole) }
    }

    @Test("What is no command is refused with its offset")
    func damage() {
        #expect(throws: CommandStreamError.malformed(offset: 1000)) {
            try self.run(Array("PING\r\n".utf8), cut: 1)
        }
        #expect(throws: CommandStreamError.malformed(offset: 1014)) {
            try self.run(Self.encode("PING") + Array("*0\r\n".utf8), cut: 4)
        }
        #expect(throws: CommandStreamError.tooLarge(offset: 1000)) {
            try self.run(Array("*1\r\n$4294967295\r\n".utf8), cut: 4)
        }
        #expect(throws: CommandStreamError.misplacedTransaction(offset: 1000)) {
            try self.run(Self.encode("EXEC"), cut: 4)
        }
        #expect(throws: CommandStreamError.badSelect(offset: 1000)) {
            try self.run(Self.encode("SELECT", "x"), cut: 4)
        }
    }
}
