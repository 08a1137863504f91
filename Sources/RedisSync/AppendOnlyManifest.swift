/// One file of a Redis 7 append-only directory.
public struct AppendOnlyFile: Sendable, Equatable {
    /// What the file is to the data.
    public enum Role: UInt8, Sendable, Equatable {
        /// The state to begin with: an RDB file, or commands.
        case base
        /// Commands since then.
        case increment
        /// Kept for removal: not part of the data.
        case history
    }

    /// Its name, within the manifest's directory.
    public let name: String
    /// Its place among the files of its role.
    public let sequence: UInt64
    /// What it is.
    public let role: Role
}

/// Why a manifest is refused.
public enum AppendOnlyManifestError: Error, Sendable, Equatable {
    /// A line that is not `file NAME seq N type b|i|h …`; lines count from 1.
    case badLine(Int)
    /// A name with a directory in it.
    case unsafeName(String)
    /// More than one base, or increments out of order.
    case badOrder(line: Int)
}

/// Reads `*.manifest`: which files hold the data, in the order to be read.
///
/// Each file is then an RDB if it begins with `REDIS` (decode it, and go on with the bytes behind
/// its end), and commands for `CommandStreamCutter` otherwise.
public enum AppendOnlyManifest {
    /// The files that make up the data: the base first, increments in order, no history.
    public static func files(
        of text: String
    ) throws(AppendOnlyManifestError) -> [AppendOnlyFile] {
        var files: [AppendOnlyFile] = []
        var number = 0
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            number += 1
            if line.allSatisfy(\.isWhitespace) || line.first == "#" { continue }
            let file = try Self.file(line, number)
            if file.role == .history { continue }
            if let last = files.last {
                guard file.role == .increment,
                    last.role == .base || last.sequence < file.sequence
                else { throw .badOrder(line: number) }
            }
            files.append(file)
        }
        return files
    }

    private static func file(
        _ line: Substring, _ number: Int
    ) throws(AppendOnlyManifestError) -> AppendOnlyFile {
        guard let words = Self.words(line), words.count >= 6, words.count % 2 == 0 else {
            throw .badLine(number)
        }
        var values: [String: String] = [:]
        for index in stride(from: 0, to: words.count, by: 2) {
            values[words[index]] = words[index + 1]
        }
        let roles: [String: AppendOnlyFile.Role] = ["b": .base, "i": .increment, "h": .history]
        guard let name = values["file"], let sequence = values["seq"].flatMap({ UInt64($0) }),
            let role = values["type"].flatMap({ roles[$0] })
        else { throw .badLine(number) }
        guard !name.isEmpty, !name.contains("/"), name != "..", name != "." else {
            throw .unsafeName(name)
        }
        return AppendOnlyFile(name: name, sequence: sequence, role: role)
    }

    /// Words between blanks; a word in double quotes may hold blanks and `\`-escaped characters.
    private static func words(_ line: Substring) -> [String]? {
        var words: [String] = []
        var rest = line[...]
        while true {
            rest = rest.drop { $0.isWhitespace }
            guard let first = rest.first else { return words }
            guard first == "\"" else {
                let word = rest.prefix { !$0.isWhitespace }
                words.append(String(word))
                rest = rest.dropFirst(word.count)
                continue
            }
            rest = rest.dropFirst()
            var word = ""
            var isClosed = false
            while let character = rest.popFirst() {
                if character == "\"" {
                    isClosed = true
                    break
                }
                if character == "\\", let escaped = rest.popFirst() {
                    word.append(escaped)
                } else {
                    word.append(character)
                }
            }
            guard isClosed else { return nil }
            words.append(word)
        }
    }
}
