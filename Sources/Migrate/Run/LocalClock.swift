internal import Glibc
internal import MigrateCore

/// The clock of a time zone of the machine's database.
struct LocalClock: Sendable {
    private static let directory = "/usr/share/zoneinfo"
    private static let maxNameBytes = 128

    /// The clock of a zone by its name, such as `Europe/Berlin`; a process has one.
    init(zone: String) throws(RunError) {
        let isName =
            !zone.isEmpty && zone.utf8.count <= Self.maxNameBytes && !zone.hasPrefix("/")
            && !zone.contains("..")
        guard zone == "UTC" || (isName && access("\(Self.directory)/\(zone)", R_OK) == 0) else {
            throw .usage("limit.time-zone: this machine does not know the time zone \(zone)")
        }
        setenv("TZ", zone == "UTC" ? "UTC0" : zone, 1)
        tzset()
    }

    /// Day and time.
    func moment(_ unixMilliseconds: Int64) -> LocalMoment {
        var seconds = time_t(unixMilliseconds / 1_000)
        var parts = tm()
        guard localtime_r(&seconds, &parts) != nil else {
            return LocalMoment(weekday: 0, minute: 0)
        }
        // There, 0 is Sunday.
        return LocalMoment(
            weekday: Int(parts.tm_wday + 6) % 7, minute: Int(parts.tm_hour * 60 + parts.tm_min))
    }
}
