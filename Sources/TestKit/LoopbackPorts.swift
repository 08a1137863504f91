import Glibc
import Synchronization

/// Ports of the loopback for servers of tests.
///
/// Tests run beside each other in one process, and kill and restart their servers: a port that is
/// free for a moment may still be somebody's. So each is given out once, with the two that a Pika
/// listens on beside it, and all lie below those that the kernel gives to outgoing connections.
public enum LoopbackPorts {
    /// A Pika listens at its port and at these distances from it.
    private static let distances = [0, 2_000, 10_001]
    private static let bases = 12_000...20_700
    private static let attempts = 1_000

    private static let given = Mutex<Set<Int>>([])

    /// A port that nobody in this process was given, free now like those beside it.
    /// - Throws: ``NoFreePort`` when none was found.
    public static func next() throws(NoFreePort) -> Int {
        for _ in 0..<self.attempts {
            let port = Int.random(in: self.bases)
            let ports = self.distances.map { port + $0 }
            let isNew = self.given.withLock { given in
                guard given.isDisjoint(with: ports) else { return false }
                given.formUnion(ports)
                return true
            }
            if isNew, ports.allSatisfy(self.canBind) { return port }
        }
        throw NoFreePort(attempts: self.attempts)
    }

    private static func canBind(_ port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port)).bigEndian
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}

/// No port of the loopback is left for a server of a test.
public struct NoFreePort: Error, Sendable {
    /// How many were looked at.
    public var attempts: Int
}
