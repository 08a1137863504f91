/// Finds what somebody may have meant.
enum NearestName {
    /// More changes than this are another word.
    static let maxChanges = 3

    /// The name that takes the fewest changes; nil if none is near.
    static func of(_ word: String, among names: [String]) -> String? {
        let found = names.map { (name: $0, changes: Self.changes(word, $0)) }
            .min { $0.changes < $1.changes }
        guard let found, found.changes <= min(Self.maxChanges, word.count / 2) else { return nil }
        return found.name
    }

    /// Letters that are put in, taken out, exchanged or swapped with the next one.
    private static func changes(_ one: String, _ other: String) -> Int {
        let one = Array(one.utf8)
        let other = Array(other.utf8)
        var before: [Int] = []
        var last = Array(0...other.count)
        for row in one.indices {
            var next = [row + 1]
            for column in other.indices {
                let isEqual = one[row] == other[column]
                var best = min(
                    last[column] + (isEqual ? 0 : 1), last[column + 1] + 1, next[column] + 1)
                if row > 0, column > 0, one[row] == other[column - 1], one[row - 1] == other[column]
                {
                    best = min(best, before[column - 1] + 1)
                }
                next.append(best)
            }
            before = last
            last = next
        }
        return last[other.count]
    }
}

extension SettingsTable {
    /// Says that there is no such key, and which one may be meant.
    static func unknown(_ path: String) -> String {
        let paths = Self.rows.map(\.path)
        let name = path.split(separator: ".").last.map(String.init) ?? path
        // Most often the section is wrong, or nothing but a letter.
        let meant =
            NearestName.of(path, among: paths)
            ?? Self.rows.first { $0.name == name }?.path
            ?? NearestName.of(name, among: Self.rows.map(\.name)).flatMap { near in
                Self.rows.first { $0.name == near }?.path
            }
            ?? NearestName.of(path, among: Array(Set(Self.rows.map(\.section))).sorted())
        return "unknown key \(path)" + (meant.map { "; is \($0) meant?" } ?? "")
    }
}
