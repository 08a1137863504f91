import Glibc
import PikaStorage
import RESP
import Synchronization

/// The connections that MONITOR shows every command to.
final class Monitors: Sendable {
    /// Bytes of one argument that a line shows.
    static let argumentLimitBytes = 16 * 1024

    private let clients = Mutex<[UInt64: ClientRecord]>([:])
    private let count = Atomic<Int>(0)

    /// Read once per command.
    @inline(__always) var isEmpty: Bool { self.count.load(ordering: .relaxed) == 0 }

    func add(_ client: ClientRecord) {
        self.clients.withLock {
            $0[client.id] = client
            self.count.store($0.count, ordering: .relaxed)
        }
    }

    func remove(_ client: ClientRecord) {
        self.clients.withLock {
            $0[client.id] = nil
            self.count.store($0.count, ordering: .relaxed)
        }
    }

    /// Shows a command to all of them.
    func show(_ arguments: UnsafeBufferPointer<Bytes>, of client: ClientRecord, database: Int) {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        let micros = "\(now.tv_nsec / 1000)"
        let zeros = String(repeating: "0", count: max(0, 6 - micros.utf8.count))
        var line = Array("+\(now.tv_sec).\(zeros)\(micros) [\(database) \(client.address)]".utf8)
        for argument in arguments {
            line.append(UInt8(ascii: " "))
            line.appendQuoted(argument, limitBytes: Self.argumentLimitBytes)
        }
        line += [0x0d, 0x0a]
        self.clients.withLock { clients in
            for monitor in clients.values { monitor.outlet?.push(line) }
        }
    }
}

extension [UInt8] {
    /// Appends bytes in quotes, with escapes for what is not printable.
    fileprivate mutating func appendQuoted(_ bytes: Bytes, limitBytes: Int) {
        self.append(UInt8(ascii: "\""))
        for byte in bytes.prefix(limitBytes) {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): self += [UInt8(ascii: "\\"), byte]
            case 0x0a: self += Array("\\n".utf8)
            case 0x0d: self += Array("\\r".utf8)
            case 0x09: self += Array("\\t".utf8)
            case 0x07: self += Array("\\a".utf8)
            case 0x08: self += Array("\\b".utf8)
            case 0x20...0x7e: self.append(byte)
            default:
                let digits = String(byte, radix: 16)
                self += Array(("\\x" + (digits.utf8.count == 1 ? "0" : "") + digits).utf8)
            }
        }
        self.append(UInt8(ascii: "\""))
        if bytes.count > limitBytes {
            self += Array("... (\(bytes.count - limitBytes) more bytes)".utf8)
        }
    }
}
