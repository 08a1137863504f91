import Glibc

/// Why a load can't be made.
struct LoadError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }

    /// A system call that failed.
    static func system(_ call: String) -> LoadError {
        LoadError("\(call): \(String(cString: strerror(errno)))")
    }
}

/// The monotonic clock in nanoseconds.
func nanoseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

/// One client: a non-blocking socket, requests on their way out, replies on their way in.
struct Connection {
    let descriptor: Int32
    private var output: [UInt8] = []
    private var sent = 0
    private var input = [UInt8](repeating: 0, count: 64 << 10)
    private var inputCount = 0
    /// The moments from which the replies that are still owed are counted, oldest first.
    private var owed: [Int64] = []
    private var owedStart = 0
    /// Replies that still belong to the oldest of them.
    private var missing = 0

    init(port: UInt16) throws(LoadError) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        self.descriptor = descriptor
        guard descriptor >= 0 else { throw .system("socket") }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let connected = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard connected == 0 else { throw .system("connect to port \(port)") }
        var one: Int32 = 1
        setsockopt(
            descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one,
            socklen_t(MemoryLayout<Int32>.size))
        guard fcntl(descriptor, F_SETFL, O_NONBLOCK) == 0 else { throw .system("fcntl") }
    }

    /// Whether bytes wait to be sent.
    var hasOutput: Bool { sent < output.count }

    /// Requests that wait for their replies.
    var owedCount: Int { owed.count - owedStart }

    /// Adds a request of the script; its time counts from `moment`.
    mutating func enqueue(_ script: Script, at moment: Int64) {
        if !hasOutput {
            output.removeAll(keepingCapacity: true)
            sent = 0
        }
        script.append(to: &output)
        if owedCount == 0 {
            owed.removeAll(keepingCapacity: true)
            owedStart = 0
        }
        owed.append(moment)
    }

    /// Sends what the socket takes.
    mutating func flush() throws(LoadError) {
        while hasOutput {
            let count = output.withUnsafeBytes {
                send(descriptor, $0.baseAddress.map { $0 + sent }, $0.count - sent, 0)
            }
            if count < 0 {
                if errno == EAGAIN || errno == EINTR { return }
                throw .system("send")
            }
            sent += count
        }
    }

    /// Reads what is there; calls `done` with the moment of each request that is answered now.
    mutating func receive(
        repliesPerRequest: Int, _ done: (Int64) -> Void
    ) throws(LoadError) {
        if inputCount == input.count {
            input.append(contentsOf: repeatElement(0, count: inputCount))
        }
        let start = inputCount
        let count = input.withUnsafeMutableBytes {
            recv(descriptor, $0.baseAddress.map { $0 + start }, $0.count - start, 0)
        }
        guard count != 0 else { throw LoadError("the server closed a connection") }
        if count < 0 {
            if errno == EAGAIN || errno == EINTR { return }
            throw .system("recv")
        }
        inputCount += count
        var position = 0
        while position < inputCount, let end = try Reply.end(in: input, position, inputCount) {
            position = end
            missing += 1
            guard missing == repliesPerRequest else { continue }
            missing = 0
            guard owedStart < owed.count else { throw LoadError("a reply that nobody asked for") }
            done(owed[owedStart])
            owedStart += 1
        }
        if position > 0 {
            input.withUnsafeMutableBytes { bytes in
                bytes.copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: bytes[position..<inputCount]))
            }
            inputCount -= position
        }
    }
}

/// The form of replies (RESP2).
enum Reply {
    /// The end of the reply at `start`; nil while it is not complete.
    ///
    /// - Throws: an error reply: a load that fails measures nothing.
    static func end(in bytes: [UInt8], _ start: Int, _ count: Int) throws(LoadError) -> Int? {
        guard let line = lineEnd(bytes, start, count) else { return nil }
        switch bytes[start] {
        case UInt8(ascii: "+"), UInt8(ascii: ":"): return line
        case UInt8(ascii: "$"):
            let length = number(bytes, start, line)
            guard length >= 0 else { return line }
            return line + length + 2 <= count ? line + length + 2 : nil
        case UInt8(ascii: "*"):
            var position = line
            for _ in 0..<max(0, number(bytes, start, line)) {
                guard position < count, let end = try end(in: bytes, position, count) else {
                    return nil
                }
                position = end
            }
            return position
        default:
            throw LoadError(
                "the server answered: \(String(decoding: bytes[start..<(line - 2)], as: UTF8.self))"
            )
        }
    }

    private static func lineEnd(_ bytes: [UInt8], _ start: Int, _ count: Int) -> Int? {
        var index = start
        while index + 1 < count {
            if bytes[index] == UInt8(ascii: "\r") { return index + 2 }
            index += 1
        }
        return nil
    }

    private static func number(_ bytes: [UInt8], _ start: Int, _ line: Int) -> Int {
        var value = 0
        for byte in bytes[(start + 1)..<(line - 2)] {
            if byte == UInt8(ascii: "-") { return -1 }
            value = value &* 10 &+ Int(byte &- UInt8(ascii: "0"))
        }
        return value
    }
}
