import Commands

/// A value was refused; carries what would have been right.
struct ConfValueError: Error, Equatable {
    var expected: String
}

/// A checked value: typed, as text, and what had to be repaired.
struct TakenValue: Equatable {
    enum Value: Equatable {
        case integer(Int)
        case decimal(Double)
        case flag(Bool)
        case text(String)
    }

    var value: Value
    var text: String
    var repair: String?
}

extension ConfType {
    /// The default, as it would stand in a file.
    public var defaultText: String {
        switch self {
        case .integer(let value, _, _, _, _, _): "\(value)"
        case .bytes(let value, _, _, _, _): "\(value)"
        case .decimal(let value, _, _): "\(value)"
        case .flag(let value, _): value ? "yes" : "no"
        case .choice(let value, _, _): value
        case .text(let value, _, _): value
        }
    }

    /// What values are right, in words.
    public var expected: String {
        switch self {
        case .integer(_, let range, _, _, let allowed, _):
            "an integer from \(range.lowerBound) to \(range.upperBound)"
                + allowed.map { ", or \($0)" }.joined()
        case .bytes(_, let range, _, _, _):
            "a size from \(range.lowerBound) to \(range.upperBound) bytes (suffix K, M or G)"
        case .decimal(_, let range, _):
            "a decimal number from \(range.lowerBound) to \(range.upperBound)"
        case .flag: "yes or no"
        case .choice(_, let words, _): "one of " + words.joined(separator: ", ")
        case .text(_, let form, _): form.expected
        }
    }

    /// Checks a value.
    ///
    /// - Throws: what was expected instead.
    func take(_ text: String, repairing: Bool) throws(ConfValueError) -> TakenValue {
        switch self {
        case .integer(let preset, let range, let below, let above, let allowed, _):
            if text.isEmpty && repairing { return TakenValue(preset) }
            guard let value = Int(text) else { throw ConfValueError(expected: expected) }
            if allowed.contains(value) { return TakenValue(value) }
            return try ranged(
                value, range, repairing ? below : .refuse, repairing ? above : .refuse)
        case .bytes(let preset, let range, let below, let above, _):
            if text.isEmpty && repairing { return TakenValue(preset) }
            guard let value = Self.size(text) else { throw ConfValueError(expected: expected) }
            return try ranged(
                value, range, repairing ? below : .refuse, repairing ? above : .refuse)
        case .decimal(let preset, let range, _):
            let found = text.isEmpty && repairing ? preset : Double(text)
            guard let value = found, range.contains(value) else {
                throw ConfValueError(expected: expected)
            }
            return TakenValue(value: .decimal(value), text: "\(value)")
        case .flag(let preset, _):
            guard let value = Self.flag(text, preset: repairing ? preset : nil) else {
                throw ConfValueError(expected: expected)
            }
            return TakenValue(value: .flag(value), text: value ? "yes" : "no")
        case .choice(let preset, let words, _):
            let word = text.isEmpty && repairing ? preset : text.lowercased()
            guard words.contains(word) else { throw ConfValueError(expected: expected) }
            return TakenValue(value: .text(word), text: word)
        case .text(let preset, let form, _):
            return try form.take(text, preset: preset, repairing: repairing)
        }
    }

    private func ranged(
        _ value: Int, _ range: ClosedRange<Int>, _ below: ConfItem.Repair, _ above: ConfItem.Repair
    ) throws(ConfValueError) -> TakenValue {
        if range.contains(value) { return TakenValue(value) }
        switch value < range.lowerBound ? below : above {
        case .refuse:
            throw ConfValueError(expected: expected)
        case .replace(let other):
            var taken = TakenValue(other)
            taken.repair = "\(value) is not \(expected); \(other) is used"
            return taken
        }
    }

    /// Parses a size with an optional suffix.
    static func size(_ text: String) -> Int? {
        var digits = text[...]
        var shift = 0
        switch digits.last {
        case "k", "K": shift = 10
        case "m", "M": shift = 20
        case "g", "G": shift = 30
        default: break
        }
        if shift > 0 { digits = digits.dropLast() }
        guard let number = Int(digits) else { return nil }
        let (value, overflow) = number.multipliedReportingOverflow(by: 1 << shift)
        return overflow ? nil : value
    }

    private static func flag(_ text: String, preset: Bool?) -> Bool? {
        switch text.lowercased() {
        case "yes", "true", "1": true
        case "no", "false", "0": false
        case "": preset
        default: nil
        }
    }
}

extension TakenValue {
    fileprivate init(_ value: Int) {
        self.init(value: .integer(value), text: "\(value)")
    }

    fileprivate init(_ text: String) {
        self.init(value: .text(text), text: text)
    }
}

extension TextForm {
    var expected: String {
        switch self {
        case .any: "text without blanks"
        case .file: "a file name"
        case .directory: "a directory"
        case .hexDigits(let count): "\(count) hexadecimal digits, or nothing"
        case .address: "host:port, or nothing"
        case .compactCron:
            "[week/]start-end/ratio with week 1 to 7, hours 0 to 23, ratio 0 to 100, or nothing"
        case .compactInterval: "hours/ratio with ratio 0 to 100, or nothing"
        case .words: "words separated by commas"
        case .repeated: "text"
        case .eventClasses: "letters out of Ag$lshzxeKEtmdn, or nothing"
        case .outputLimits: "pubsub, then bytes, bytes and seconds"
        }
    }

    fileprivate func take(
        _ text: String, preset: String, repairing: Bool
    ) throws(ConfValueError) -> TakenValue {
        switch self {
        case .any, .words, .repeated:
            return TakenValue(text)
        case .outputLimits:
            guard let limits = OutputLimits(text) else { throw ConfValueError(expected: expected) }
            return TakenValue(limits.text)
        case .eventClasses:
            guard let classes = EventClasses(text) else {
                throw ConfValueError(expected: expected)
            }
            return TakenValue(classes.text)
        case .file:
            return TakenValue(text.isEmpty ? preset : text)
        case .directory:
            let path = text.isEmpty ? preset : text
            return TakenValue(path.hasSuffix("/") ? path : path + "/")
        case .hexDigits(let count):
            let right = text.utf8.count == count && text.allSatisfy(\.isHexDigit)
            guard text.isEmpty || right else { throw ConfValueError(expected: expected) }
            return TakenValue(text)
        case .address:
            guard text.isEmpty || ConfAddress(text) != nil else {
                throw ConfValueError(expected: expected)
            }
            return TakenValue(text)
        case .compactCron, .compactInterval:
            let right = text.isEmpty || CompactSchedule(text, form: self) != nil
            if right { return TakenValue(text) }
            guard repairing else { throw ConfValueError(expected: expected) }
            var taken = TakenValue("")
            taken.repair = "\"\(text)\" is not \(expected); no schedule is used"
            return taken
        }
    }
}

/// `host:port` of an item.
public struct ConfAddress: Equatable, Sendable {
    /// A name or an address, without brackets.
    public let host: String
    /// The port.
    public let port: Int

    /// Parses `host:port`.
    ///
    /// The last colon separates, so that addresses with colons work.
    public init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":"), colon != text.startIndex,
            let port = Int(text[text.index(after: colon)...]), (1...65535).contains(port)
        else { return nil }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard !host.isEmpty else { return nil }
        self.host = String(host)
        self.port = port
    }
}

/// When the stores are compacted by themselves.
public enum CompactSchedule: Equatable, Sendable {
    /// Within these hours, on that day of the week (1 is Monday) or daily.
    case window(weekDay: Int?, startHour: Int, endHour: Int, freePercent: Int)
    /// Every so many hours.
    case every(hours: Int, freePercent: Int)

    init?(_ text: String, form: TextForm) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard let last = parts.last, let ratio = Int(last), (0...100).contains(ratio) else {
            return nil
        }
        if case .compactInterval = form {
            guard parts.count == 2, let hours = Int(parts[0]), (1...9999).contains(hours) else {
                return nil
            }
            self = .every(hours: hours, freePercent: ratio)
            return
        }
        guard parts.count == 2 || parts.count == 3 else { return nil }
        var weekDay: Int?
        if parts.count == 3 {
            guard let day = Int(parts[0]), (1...7).contains(day) else { return nil }
            weekDay = day
        }
        let hours = parts[parts.count - 2].split(separator: "-").map { Int($0) ?? -1 }
        guard hours.count == 2, hours.allSatisfy({ (0...23).contains($0) }) else { return nil }
        self = .window(weekDay: weekDay, startHour: hours[0], endHour: hours[1], freePercent: ratio)
    }
}
