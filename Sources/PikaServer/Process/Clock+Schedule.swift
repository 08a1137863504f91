import Glibc

extension ScheduleClock {
    /// The machine's local time.
    static func current() -> ScheduleClock {
        let now = ServerClock.unixSeconds()
        var seconds = time_t(now)
        var parts = tm()
        localtime_r(&seconds, &parts)
        let weekDay = parts.tm_wday == 0 ? 7 : Int(parts.tm_wday)
        return ScheduleClock(unixSeconds: now, weekDay: weekDay, hour: Int(parts.tm_hour))
    }
}
