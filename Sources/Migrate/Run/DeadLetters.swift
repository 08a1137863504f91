internal import FileIO
internal import MigrateCore
internal import Synchronization

/// What the target rejected: one JSON line each, without values.
final class DeadLetters: Sendable {
    /// Most lines of one run; after that the run ends.
    static let maxLetters = 100_000

    let path: String
    private let keepsGoing: Bool
    private let state: Mutex<(file: (any File)?, offset: UInt64, count: UInt64)>

    /// - Parameter keepsGoing: A rejected command does not end the run.
    init(path: String, keepsGoing: Bool) {
        self.path = path
        self.keepsGoing = keepsGoing
        self.state = Mutex((nil, 0, 0))
    }

    var count: UInt64 { self.state.withLock { $0.count } }

    /// Writes a letter; throws unless the run goes on.
    func add(
        _ reply: String, _ commands: CommandBuffer, at index: Int, worker: Int
    ) throws(RunError) {
        let (name, key) = Self.nameAndKey(commands, index)
        let line =
            "{\"command\":\"\(name)\",\"key\":\"\(Self.escaped(key))\",\"worker\":\(worker),"
            + "\"reply\":\"\(Self.escaped(Array(reply.utf8)))\"}\n"
        do throws(FileError) { try self.write(Array(line.utf8)) } catch {
            throw .io("the rejected command can't be noted: \(error)")
        }
        guard self.keepsGoing, self.count <= Self.maxLetters else {
            throw .rejected("the target rejects \(name): \(reply); see \(self.path)")
        }
    }

    private func write(_ bytes: [UInt8]) throws(FileError) {
        let result = self.state.withLock { state -> Result<Void, FileError> in
            do throws(FileError) {
                let file: any File
                if let open = state.file {
                    file = open
                } else {
                    file = try RealFileSystem().open(self.path, .openOrCreate)
                    state.offset = try file.size()
                    state.file = file
                }
                try file.write(bytes, at: state.offset)
                state.offset += UInt64(bytes.count)
                state.count += 1
                return .success(())
            } catch { return .failure(error) }
        }
        try result.get()
    }

    /// Name and first argument of a command in a buffer.
    private static func nameAndKey(_ commands: CommandBuffer, _ index: Int) -> (String, [UInt8]) {
        if let continuation = commands.continuation {
            guard index > 0 else { return ("SET", continuation.key) }
        }
        var rest = commands.bytes.dropFirst(commands.continuation?.byteCount ?? 0)
        func line() -> Int? {
            guard let end = rest.firstIndex(of: 10) else { return nil }
            let text = String(
                decoding: rest[rest.startIndex..<end].dropFirst().dropLast(), as: UTF8.self)
            rest = rest[(end + 1)...]
            return Int(text)
        }
        var at = commands.continuation == nil ? 0 : 1
        while let count = line() {
            var words: [[UInt8]] = []
            for _ in 0..<count {
                guard let size = line(), rest.count >= size + 2 else { return ("?", []) }
                if words.count < 2, at == index { words.append(Array(rest.prefix(size))) }
                rest = rest.dropFirst(size + 2)
            }
            if at == index {
                return (
                    String(decoding: words.first ?? [], as: UTF8.self),
                    words.dropFirst().first ?? []
                )
            }
            at += 1
        }
        return ("?", [])
    }

    static func escaped(_ bytes: [UInt8]) -> String {
        var text = ""
        for byte in bytes.prefix(512) {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                text += "\\" + String(UnicodeScalar(byte))
            case 0x20..<0x7f: text.unicodeScalars.append(UnicodeScalar(byte))
            default:
                let digits = String(byte, radix: 16)
                text += "\\u00" + (digits.count == 1 ? "0" : "") + digits
            }
        }
        return text
    }
}
