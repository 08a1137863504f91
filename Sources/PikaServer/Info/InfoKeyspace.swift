import Keyspace
import PikaStorage

extension InfoText {
    /// The section `# Keyspace`: the last key scan.
    ///
    /// - Parameter isStarting: the request itself has started the scan.
    mutating func keyspace(_ results: [KeyScanner.Result], isStarting: Bool) {
        heading("Keyspace")
        heading(
            isStarting
                ? "Start async statistics" : "Use \"info keyspace 1\" do async statistics")
        for (index, result) in results.enumerated() {
            let started = result.startedSeconds
            heading("Time:" + (started == 0 ? "0" : ServerClock.text(started)))
            switch result.phase {
            case .none: break
            case .waiting: heading("Duration: In Waiting")
            case .processing: heading("Duration: In Processing")
            case .done(let seconds): heading("Duration: \(seconds)s")
            case .stopped(let reason): heading("Duration: Stopped, \(reason)")
            }
            for (kind, name) in Self.keyspaceKinds {
                let count = result.counts[kind] ?? KeyStatistics()
                raw(
                    "db\(index) \(name)_keys=\(count.keys), expires=\(count.expiring), "
                        + "invalid_keys=\(count.invalid)")
            }
            blank()
        }
    }

    private static let keyspaceKinds: [(StoreKind, String)] = [
        (.strings, "Strings"), (.hashes, "Hashes"), (.lists, "Lists"), (.zsets, "Zsets"),
        (.sets, "Sets"),
    ]
}
