import FileIO
import Glibc
import Logging
import Synchronization
import TestKit

@testable import PikaServer

/// A reply as the tests look at it.
indirect enum Reply: Equatable {
    case simple(String)
    case error(String)
    case integer(Int)
    case bulk(String?)
    case array([Reply])
    case closed
}

/// A client with a blocking socket.
final class LoopbackClient {
    private let descriptor: Int32
    private var buffer: [UInt8] = []

    init(port: Int) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port)).bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        if result != 0 { throw ServerError(.network, "connect: errno \(errno)") }
    }

    deinit { close(descriptor) }

    func send(_ text: String) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            bytes = bytes.dropFirst(count)
        }
    }

    /// Closes the client's half of the connection.
    func endSending() { shutdown(descriptor, Int32(SHUT_WR)) }

    static func encode(_ words: [String]) -> String {
        words.reduce("*\(words.count)\r\n") { $0 + "$\($1.utf8.count)\r\n\($1)\r\n" }
    }

    @discardableResult
    func call(_ words: String...) -> Reply {
        send(Self.encode(words))
        return read()
    }

    /// The next reply, or `closed`.
    func read() -> Reply {
        guard let line = readLine() else { return .closed }
        let rest = String(line.dropFirst())
        switch line.first {
        case "+": return .simple(rest)
        case "-": return .error(rest)
        case ":": return .integer(Int(rest) ?? .min)
        case "$", "=":
            guard let count = Int(rest), count >= 0 else { return .bulk(nil) }
            while buffer.count < count + 2 { if !fill() { return .closed } }
            let text = String(decoding: buffer.prefix(count), as: UTF8.self)
            buffer.removeFirst(count + 2)
            return .bulk(text)
        case "*", "%", "~":
            guard let count = Int(rest), count >= 0 else { return .bulk(nil) }
            return .array((0..<count * (line.first == "%" ? 2 : 1)).map { _ in read() })
        default: return .error("not a reply: \(line)")
        }
    }

    private func readLine() -> String? {
        while true {
            if let end = buffer.firstIndex(of: 10) {
                let line = String(decoding: buffer[..<end].dropLast(), as: UTF8.self)
                buffer.removeFirst(end + 1)
                return line
            }
            guard fill() else { return nil }
        }
    }

    private func fill() -> Bool {
        var piece = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &piece, piece.count, 0)
        guard count > 0 else { return false }
        buffer += piece.prefix(count)
        return true
    }

    /// A field of INFO.
    func info(_ section: String, _ field: String) -> String? {
        guard case .bulk(let text?) = call("INFO", section) else { return nil }
        for line in text.split(separator: "\r\n") where line.hasPrefix(field + ":") {
            return String(line.dropFirst(field.count + 1))
        }
        return nil
    }
}

/// A server in this process, in a directory of its own that goes with it.
final class LoopbackServer {
    let server: Server
    let conf: Conf
    let directory: String
    let shutdownCalls = Counter()

    final class Counter: Sendable {
        let value = Atomic<Int>(0)
    }

    init(_ settings: String...) throws {
        var template = Array(
            "/tmp/pika-server-tests-\(String(repeating: "X", count: 6))".utf8CString)
        guard let made = mkdtemp(&template) else { throw ServerError(.process, "mkdtemp") }
        directory = String(cString: made)
        let fileSystem = RealFileSystem()
        let path = directory + "/pika.conf"
        let counter = shutdownCalls
        var started: (Server, Conf)?
        var lastError = ServerError(.network, "no port")
        for _ in 0..<20 where started == nil {
            let port = try LoopbackPorts.next()
            let lines = [
                "port : \(port)", "log-path : \(directory)/log/", "db-path : \(directory)/db/",
                "dump-path : \(directory)/dump/", "db-sync-path : \(directory)/dbsync/",
                "write-buffer-size : 16M", "block-cache : 8M",
            ]
            let text = (lines + settings).map { $0 + "\n" }.joined()
            try fileSystem.writeAtomically(path, Array(text.utf8))
            let conf = try Conf(path: path, fileSystem: fileSystem)
            do throws(ServerError) {
                var logger = Logger(label: "test")
                logger.logLevel = .error
                let server = try Server(
                    conf: conf, fileSystem: fileSystem, logger: logger,
                    onShutdown: { counter.value.add(1, ordering: .relaxed) })
                started = (server, conf)
            } catch {
                if error.code == .keyspace { throw error }
                lastError = error
            }
        }
        guard let (server, conf) = started else { throw lastError }
        self.server = server
        self.conf = conf
    }

    deinit {
        server.stop()
        try? RealFileSystem().removeTree(directory)
    }

    func client() throws -> LoopbackClient { try LoopbackClient(port: server.port) }
}
