/// A fault in a settings file, or in a CONFIG SET.
public struct ConfError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The file that was read; nil for CONFIG SET.
    public var file: String?
    /// The line in that file, counted from 1.
    public var line: Int?
    /// The item's name, empty where the fault is not one item's.
    public var item: String
    /// The value found.
    public var value: String
    /// What would have been right.
    public var expected: String

    /// The fault in one line, as compilers write it.
    public var description: String {
        var place = ""
        if let file { place += file + ":" }
        if let line { place += "\(line):" }
        if !place.isEmpty { place += " " }
        if item.isEmpty { return "\(place)\(value): \(expected)" }
        return "\(place)item \"\(item)\" has the value \"\(value)\": expected \(expected)"
    }
}

/// Something in a settings file that the operator should look at, though the server starts.
public struct ConfWarning: Equatable, Sendable, CustomStringConvertible {
    /// The file that was read.
    public var file: String
    /// The line in that file, counted from 1.
    public var line: Int
    /// The item's name.
    public var item: String
    /// What was found, and what was done about it.
    public var text: String

    /// The warning in one line.
    public var description: String { "\(file):\(line): item \"\(item)\": \(text)" }
}
