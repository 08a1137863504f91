/// A time of the week, on the clock of the schedule's time zone.
public struct LocalMoment: Sendable, Equatable {
    /// 0 = Monday.
    public var weekday: Int
    /// Minutes since midnight.
    public var minute: Int

    /// A time from its parts.
    public init(weekday: Int, minute: Int) {
        self.weekday = weekday
        self.minute = minute
    }
}

/// Why a window of the schedule makes no sense.
public struct LimitWindowError: Error, Sendable, Equatable {
    /// For the operator.
    public var reason: String
}

/// Limits for a part of the day: `mon-fri 08:00-18:00 snapshot-bytes=20000000 stream-commands=5000`.
///
/// Days are `mon` to `sun`, with `-` and `,`; without any, all. A window that ends before it begins
/// goes on past midnight and belongs to the day on which it begins. Its last minute is the one
/// before its end; `24:00` is the end of a day.
public struct LimitWindow: Sendable, Equatable {
    private static let dayNames = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    private static let minutesOfDay = 24 * 60

    /// What it says; a limit that it does not name is left as it is.
    public let limits: [LimitName: UInt64]
    private let days: Set<Int>
    private let first: Int
    private let end: Int

    /// Reads a window.
    public init(_ text: String) throws(LimitWindowError) {
        var words = text.split(separator: " ")[...]
        guard let head = words.first else { throw LimitWindowError(reason: "is empty") }
        if head.contains(":") {
            self.days = Set(0..<7)
        } else {
            self.days = try Self.days(head)
            words = words.dropFirst()
        }
        let times = (words.popFirst() ?? "").split(
            separator: "-", omittingEmptySubsequences: false)
        guard times.count == 2, let first = Self.minute(times[0]), let end = Self.minute(times[1]),
            first < Self.minutesOfDay, first != end
        else { throw LimitWindowError(reason: "has no time like 08:00-18:00") }
        self.first = first
        self.end = end
        var limits: [LimitName: UInt64] = [:]
        for word in words {
            let parts = word.split(separator: "=", omittingEmptySubsequences: false)
            guard parts.count == 2, let name = LimitName(rawValue: String(parts[0])),
                let number = UInt64(parts[1]), limits[name] == nil
            else { throw LimitWindowError(reason: "has \(word), which is no limit") }
            limits[name] = number
        }
        guard !limits.isEmpty else { throw LimitWindowError(reason: "has no limit") }
        self.limits = limits
    }

    /// Whether it holds.
    public func contains(_ moment: LocalMoment) -> Bool {
        if self.first < self.end {
            return self.days.contains(moment.weekday)
                && (self.first..<self.end).contains(moment.minute)
        }
        if moment.minute >= self.first { return self.days.contains(moment.weekday) }
        return moment.minute < self.end && self.days.contains((moment.weekday + 6) % 7)
    }

    private static func days(_ text: Substring) throws(LimitWindowError) -> Set<Int> {
        var days: Set<Int> = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map {
                Self.dayNames.firstIndex(of: $0.lowercased())
            }
            guard ends.count <= 2, let first = ends.first ?? nil, let last = ends.last ?? nil else {
                throw LimitWindowError(reason: "has \(part), which is no day")
            }
            // `sat-mon` goes over the week's end.
            for step in 0...((last - first + 7) % 7) { days.insert((first + step) % 7) }
        }
        return days
    }

    private static func minute(_ text: Substring) -> Int? {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, parts.allSatisfy({ $0.count == 2 }), let hour = Int(parts[0]),
            let minute = Int(parts[1]), (0..<60).contains(minute), hour >= 0
        else { return nil }
        let sum = hour * 60 + minute
        return sum <= Self.minutesOfDay ? sum : nil
    }
}
