import ArgumentParser
import Binlog
import FileIO
import SyncProtocol

/// The `binlog-dump` tool: a log as JSON lines.
@main
struct BinlogDump: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "binlog-dump",
        abstract: "Prints the items of a binlog directory or of one write2file<N> as JSON lines.",
        discussion: """
            One line an item: end position, header fields, and the command. Bytes that are not \
            printable ASCII, and backslashes, are written as \\xHH. Nothing is changed on disk.
            """)

    @Argument(help: "A directory log_db<N>, or a file write2file<N>.")
    var path: String

    @Flag(help: "Compare with the sidecars (write2file<N>.sum) instead of printing items.")
    var verify = false

    @Option(help: "Print at most that many bytes of an argument.")
    var maxArgumentBytes = 256

    @Option(help: "Print items that end behind this position only (file:offset).")
    var from: String?

    func run() throws {
        let inspector = BinlogInspector(fileSystem: RealFileSystem())
        let start = try from.map(parse) ?? .zero
        let files = try inspector.files(at: path)
        var isClean = true
        for file in files where file.number >= start.fileNumber {
            if verify {
                let result = try inspector.verify(file)
                isClean = isClean && result.problem == nil
                print(line(result))
            } else {
                try inspector.forEachItem(in: file) { item, header, end in
                    guard end > start else { return }
                    print(line(item, header, end))
                } onProblem: { problem in
                    isClean = false
                    print(object([("file", text(file.path)), ("problem", text(problem))]))
                }
            }
        }
        if !isClean { throw ExitCode(1) }
    }

    private func parse(_ text: String) throws -> BinlogPosition {
        let parts = text.split(separator: ":")
        guard parts.count == 2, let file = UInt32(parts[0]), let offset = UInt64(parts[1]) else {
            throw ValidationError("--from takes file:offset, got \(text)")
        }
        return BinlogPosition(fileNumber: file, offset: offset)
    }

    private func line(_ result: BinlogInspector.Verification) -> String {
        var fields = [
            ("file", text(result.file.path)),
            ("items", "\(result.itemCount)"),
            ("end", text(result.end.position.description)),
            ("digest", text(String(result.end.digest, radix: 16))),
            ("verified", result.verifiedEnd.map { text($0.description) } ?? "null"),
            ("blocks_checked", "\(result.blocksChecked)"),
        ]
        if let problem = result.problem { fields.append(("problem", text(problem))) }
        return object(fields)
    }

    private func line(
        _ item: UnsafeRawBufferPointer, _ header: BinlogItemHeader, _ end: BinlogPosition
    ) -> String {
        let content = UnsafeRawBufferPointer(rebasing: item[BinlogItemHeader.encodedSize...])
        let command =
            arguments(content).map { "[" + $0.map(text).joined(separator: ",") + "]" } ?? "null"
        return object([
            ("end", text(end.description)),
            ("exec_time", "\(header.execTimeSeconds)"),
            ("term", "\(header.itemsLeftInGroup)"),
            ("logic_id", "\(header.logicIndex)"),
            ("filenum", "\(header.fileNumber)"),
            ("offset", "\(header.offset)"),
            ("bytes", "\(item.count)"),
            ("command", command),
        ])
    }

    /// The bulk strings of a RESP array; nil if it is none.
    private func arguments(_ content: UnsafeRawBufferPointer) -> [String]? {
        var rest = content[...]
        func number(_ mark: UInt8) -> Int? {
            guard rest.first == mark,
                let end = rest.firstIndex(of: UInt8(ascii: "\r")), end + 1 < rest.endIndex,
                let value = Int(String(decoding: rest[(rest.startIndex + 1)..<end], as: UTF8.self))
            else { return nil }
            rest = rest[(end + 2)...]
            return value
        }
        guard let count = number(UInt8(ascii: "*")), count >= 0, count <= content.count else {
            return nil
        }
        var found: [String] = []
        for _ in 0..<count {
            guard let length = number(UInt8(ascii: "$")), length >= 0, rest.count >= length + 2
            else { return nil }
            found.append(printable(rest.prefix(min(length, maxArgumentBytes)), of: length))
            rest = rest.dropFirst(length + 2)
        }
        return found
    }

    private func printable(_ bytes: Slice<UnsafeRawBufferPointer>, of length: Int) -> String {
        var text = ""
        for byte in bytes {
            if byte >= 0x20, byte < 0x7F, byte != UInt8(ascii: "\\") {
                text.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                let digits = String(byte, radix: 16)
                text += "\\x" + (digits.count == 1 ? "0" : "") + digits
            }
        }
        return length > bytes.count ? text + "... (\(length) bytes)" : text
    }

    private func object(_ fields: [(String, String)]) -> String {
        "{" + fields.map { "\"\($0.0)\":\($0.1)" }.joined(separator: ",") + "}"
    }

    /// A JSON string of printable ASCII.
    private func text(_ value: String) -> String {
        var quoted = "\""
        for scalar in value.unicodeScalars {
            if scalar == "\"" || scalar == "\\" { quoted += "\\" }
            quoted.unicodeScalars.append(scalar)
        }
        return quoted + "\""
    }
}
