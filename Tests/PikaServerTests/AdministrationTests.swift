import FileIO
import Glibc
import Logging
import Testing

@testable import PikaServer

enum RealFileSystemForTests {
    static let shared = RealFileSystem()
    static var logger: Logger {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return logger
    }
}

@Suite("INFO and CONFIG over loopback", .serialized)
struct AdministrationTests {
    @Test("INFO has Pika's sections in order, and each has its fields")
    func infoSections() throws {
        let server = try LoopbackServer()
        let client = try server.client()
        guard case .bulk(let text?) = client.call("INFO") else {
            Issue.record("no INFO")
            return
        }
        let headings = text.split(separator: "\r\n").filter { $0.hasPrefix("# ") }
        #expect(
            headings.prefix(7) == [
                "# Server", "# Data", "# Clients", "# Stats", "# CPU", "# Replication(MASTER)",
                "# Keyspace",
            ])
        let fields = [
            "pika_version", "os", "arch_bits", "process_id", "tcp_port", "thread_num",
            "uptime_in_seconds", "uptime_in_days", "config_file", "server_id", "run_id", "db_size",
            "db_size_human", "log_size", "compression", "used_memory", "db_memtable_usage",
            "db_tablereader_usage", "db_fatal", "db_fatal_msg", "connected_clients",
            "total_connections_received", "instantaneous_ops_per_sec", "total_commands_processed",
            "total_net_input_bytes", "total_net_output_bytes", "is_bgsaving",
            "is_scaning_keyspace", "is_compact", "compact_cron", "compact_interval",
            "used_cpu_sys", "used_cpu_user", "role", "connected_slaves",
        ]
        for field in fields { #expect(text.contains("\r\n\(field):"), "\(field)") }
        #expect(text.contains("\r\ndb0 binlog_offset="))
    }

    @Test("INFO of one section shows that one; an unknown one nothing; two are a syntax error")
    func infoOneSection() throws {
        let client = try LoopbackServer().client()
        _ = client
        let server = try LoopbackServer()
        let other = try server.client()
        guard case .bulk(let text?) = other.call("INFO", "CPU") else {
            Issue.record("no INFO cpu")
            return
        }
        #expect(text.hasPrefix("# CPU\r\n"))
        #expect(other.call("INFO", "nothing") == .bulk(""))
        #expect(other.call("INFO", "server", "cpu") == .error("ERR syntax error"))
    }

    @Test("INFO keyspace 1 counts keys, and DBSIZE tells the last count")
    func keyScan() throws {
        let server = try LoopbackServer()
        let client = try server.client()
        client.call("SET", "a", "1")
        client.call("SETEX", "b", "100", "1")
        client.call("HSET", "h", "f", "v")
        #expect(client.call("DBSIZE") == .integer(0))
        client.call("INFO", "keyspace", "1")
        for _ in 0..<500 {
            if client.call("DBSIZE") == .integer(3) { break }
            usleep(10_000)
        }
        #expect(client.call("DBSIZE") == .integer(3))
        guard case .bulk(let text?) = client.call("INFO", "keyspace") else {
            Issue.record("no INFO keyspace")
            return
        }
        #expect(text.contains("db0 Strings_keys=2, expires=1, invalid_keys=0\r\n"))
        #expect(text.contains("db0 Hashes_keys=1, expires=0, invalid_keys=0\r\n"))
    }

    @Test("Redis's own items are taken where that promises nothing false")
    func redisItems() throws {
        let server = try LoopbackServer()
        let client = try server.client()
        func get(_ name: String) -> Reply { client.call("CONFIG", "GET", name) }
        #expect(get("appendonly") == .array([.bulk("appendonly"), .bulk("no")]))
        #expect(client.call("CONFIG", "SET", "list-max-listpack-size", "10") == .simple("OK"))
        #expect(
            get("list-max-listpack-size")
                == .array([.bulk("list-max-listpack-size"), .bulk("10")]))
        #expect(
            client.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
                == .error("ERR Invalid argument 'allkeys-lru' for CONFIG SET 'maxmemory-policy'"))
        #expect(
            client.call("CONFIG", "SET", "hz", "much", "timeout", "300")
                == .error("ERR Invalid argument 'much' for CONFIG SET 'hz'"))
        #expect(get("timeout") != .array([.bulk("timeout"), .bulk("300")]))
        #expect(
            client.call("CONFIG", "SET", "hz", "1", "HZ", "2")
                == .error(
                    "ERR CONFIG SET failed (possibly related to argument 'HZ') - duplicate "
                        + "parameter"))
        #expect(client.call("CONFIG", "SET", "maxmemory", "1kb") == .simple("OK"))
        #expect(
            client.call("SET", "k", "v")
                == .error("OOM command not allowed when used memory > 'maxmemory'."))
        #expect(client.call("CONFIG", "SET", "maxmemory", "0") == .simple("OK"))
        #expect(client.call("SET", "k", "v") == .simple("OK"))
        #expect(client.call("CONFIG", "SET", "HZ", "20", "timeout", "300") == .simple("OK"))
        #expect(get("timeout") == .array([.bulk("timeout"), .bulk("300")]))
    }

    @Test("CONFIG GET takes globs in any case, SET changes what is live")
    func config() throws {
        let server = try LoopbackServer()
        let client = try server.client()
        #expect(
            client.call("CONFIG", "GET", "MAXCLIENTS")
                == .array([.bulk("maxclients"), .bulk("20000")]))
        guard case .array(let all) = client.call("CONFIG", "GET", "*") else {
            Issue.record("no settings")
            return
        }
        #expect(all.count > 200)
        #expect(client.call("CONFIG", "GET", "nothing*") == .array([]))
        #expect(client.call("CONFIG", "SET", "timeout", "300") == .simple("OK"))
        #expect(
            client.call("CONFIG", "GET", "timeout") == .array([.bulk("timeout"), .bulk("300")]))
        #expect(
            client.call("CONFIG", "SET", "timeout", "soon")
                == .error("ERR Invalid argument 'soon' for CONFIG SET 'timeout'"))
        #expect(
            client.call("CONFIG", "SET", "port", "1")
                == .error(
                    "ERR CONFIG SET failed (possibly related to argument 'port') - can't set "
                        + "immutable config"))
        #expect(client.call("CONFIG", "SET", "requirepass", "pw") == .simple("OK"))
        #expect(
            try server.client().call("GET", "k") == .error("NOAUTH Authentication required."))
    }

    @Test("CONFIG REWRITE writes what was changed, and keeps the rest")
    func rewrite() throws {
        let server = try LoopbackServer("# a comment", "mystery : 1")
        let client = try server.client()
        client.call("CONFIG", "SET", "slave-priority", "7")
        #expect(client.call("CONFIG", "REWRITE") == .simple("OK"))
        let path = server.directory + "/pika.conf"
        let bytes = try RealFileSystem().readFile(path, limitBytes: ConfFile.sizeLimitBytes)
        let text = String(decoding: try #require(bytes), as: UTF8.self)
        #expect(text.contains("# a comment\nmystery : 1\n# Generated by CONFIG REWRITE\n"))
        #expect(text.contains("slave-priority : 7\n"))
    }

    @Test("CONFIG RESETSTAT sets counters to zero")
    func resetStatistics() throws {
        let server = try LoopbackServer()
        let client = try server.client()
        #expect(client.info("stats", "total_connections_received") == "1")
        #expect(client.call("CONFIG", "RESETSTAT") == .simple("OK"))
        #expect(client.info("stats", "total_connections_received") == "0")
    }

    @Test("The idle are closed after the timeout, the busy are not")
    func idle() throws {
        let server = try LoopbackServer("timeout : 1")
        let idle = try server.client()
        #expect(idle.call("PING") == .simple("PONG"))
        #expect(idle.read() == .closed)
        #expect(try server.client().call("PING") == .simple("PONG"))
    }
}
