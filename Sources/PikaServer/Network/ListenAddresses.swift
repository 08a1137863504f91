import NIOCore

/// The addresses that the server listens on, on all of its ports.
public enum ListenAddresses {
    /// All addresses, or those of one interface and 127.0.0.1.
    ///
    /// - Throws: when there is no such interface, or it has no address.
    public static func hosts(interface: String) throws(ServerError) -> [String] {
        guard !interface.isEmpty else { return ["0.0.0.0"] }
        var hosts = ["127.0.0.1"]
        do {
            for device in try System.enumerateDevices() where device.name == interface {
                guard let address = device.address, let host = address.ipAddress else { continue }
                // Link-local addresses of version 6 need a scope, which clients would have to know.
                if host.hasPrefix("fe80:") || hosts.contains(host) { continue }
                hosts.append(host)
            }
        } catch {
            throw ServerError(.network, "network interfaces can't be listed: \(error)")
        }
        if hosts.count == 1 && interface != "lo" {
            throw ServerError(.network, "network-interface \"\(interface)\" has no address here")
        }
        return hosts
    }
}
