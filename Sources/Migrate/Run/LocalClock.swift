internal import Glibc
internal import MigrateCore

/// The clock of a time zone of the machine's database.
struct LocalClock: Sendable {
    private static let directory = "/usr/share/zoneinfo"
    private static let maxNameBytes = 128

    private static let minutesOfDay: Int64 = 24 * 60

    private let isUTC: Bool

    /// The clock of a zone by its name, such as `Europe/Berlin`; a process has one beside UTC's.
    init(zone: String) throws(RunError) {
        let isName =
            !zone.isEmpty && zone.utf8.count <= Self.maxNameBytes && !zone.hasPrefix("/")
            && !zone.contains("..")
        guard zone == "UTC" || (isName && access("\(Self.directory)/\(zone)", R_OK) == 0) else {
            throw .usage("limit.time-zone: this machine does not know the time zone \(zone)")
        }
        self.isUTC = zone == "UTC"
        guard !self.isUTC else { return }
        setenv("TZ", zone, 1)
        tzset()
    }

    /// Day and time.
    func moment(_ unixMilliseconds: Int64) -> LocalMoment {
        if self.isUTC {
            let minutes = max(0, unixMilliseconds) / 60_000
            // The first day was a Thursday.
            return LocalMoment(
                weekday: Int((minutes / Self.minutesOfDay + 3) % 7),
                minute: Int(minutes % Self.minutesOfDay))
        }
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
