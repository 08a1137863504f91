import Glibc

/// A client on a blocking socket: sends requests, reads replies.
final class BlockingClient {
    /// A reply, flat enough to compare.
    enum Reply: Equatable {
        case text(String)
        case error(String)
        case integer(Int)
        case bulk(String?)
        case array([Reply]?)
    }

    private let descriptor: Int32
    private var buffer: [UInt8] = []
    private var next = 0

    /// Connects to a server on the loopback; nil if it does not listen.
    init?(port: Int) {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port)).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let code = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        // The end of this object, which is whole, closes the socket.
        guard code == 0 else { return nil }
    }

    deinit { close(descriptor) }

    /// Sends a request; false if the connection is gone.
    func send(_ words: [String]) -> Bool {
        var bytes = Array("*\(words.count)\r\n".utf8)
        for word in words { bytes += Array("$\(word.utf8.count)\r\n\(word)\r\n".utf8) }
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(
                    descriptor, $0.baseAddress, $0.count, Int32(truncatingIfNeeded: MSG_NOSIGNAL))
            }
            guard count > 0 else { return false }
            sent += count
        }
        return true
    }

    /// Reads one reply; nil if the connection is gone.
    func receive() -> Reply? {
        guard let line = readLine() else { return nil }
        let rest = String(decoding: line.dropFirst(), as: UTF8.self)
        switch line.first {
        case UInt8(ascii: "+"): return .text(rest)
        case UInt8(ascii: "-"): return .error(rest)
        case UInt8(ascii: ":"): return Int(rest).map { .integer($0) }
        case UInt8(ascii: "$"):
            guard let count = Int(rest) else { return nil }
            guard count >= 0 else { return .bulk(nil) }
            guard let bytes = read(count: count + 2) else { return nil }
            return .bulk(String(decoding: bytes.dropLast(2), as: UTF8.self))
        case UInt8(ascii: "*"):
            guard let count = Int(rest) else { return nil }
            guard count >= 0 else { return .array(nil) }
            var elements: [Reply] = []
            for _ in 0..<count {
                guard let element = receive() else { return nil }
                elements.append(element)
            }
            return .array(elements)
        default: return nil
        }
    }

    /// Sends a request and reads its reply.
    func call(_ words: String...) -> Reply? {
        send(words) ? receive() : nil
    }

    private func readLine() -> ArraySlice<UInt8>? {
        var searched = next
        while true {
            while searched + 1 < buffer.count {
                if buffer[searched] == 13, buffer[searched + 1] == 10 {
                    let line = buffer[next..<searched]
                    next = searched + 2
                    return line
                }
                searched += 1
            }
            searched -= next
            guard fill() else { return nil }
            searched += next
        }
    }

    private func read(count: Int) -> ArraySlice<UInt8>? {
        while buffer.count - next < count {
            guard fill() else { return nil }
        }
        defer { next += count }
        return buffer[next..<next + count]
    }

    /// Reads more; moves what is left to the front.
    private func fill() -> Bool {
        buffer.removeFirst(next)
        next = 0
        var piece = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &piece, piece.count, 0)
        guard count > 0 else { return false }
        buffer += piece.prefix(count)
        return true
    }
}
