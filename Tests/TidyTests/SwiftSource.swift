/// A Swift file with comments and text literals blanked out, so that words can be looked for.
struct SwiftSource {
    /// Same length and lines as the file.
    let code: [UInt8]
    private let lineStarts: [Int]

    init(_ text: String) {
        let blanked = Blanker(Array(text.utf8)).run()
        code = blanked
        lineStarts =
            [0] + blanked.indices.filter { blanked[$0] == UInt8(ascii: "\n") }.map { $0 + 1 }
    }

    /// Line number, from 1, of a byte.
    func line(of index: Int) -> Int {
        var low = 0
        var high = lineStarts.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if lineStarts[middle] <= index { low = middle } else { high = middle }
        }
        return low + 1
    }

    /// Where `token` occurs in code, not as a part of a longer word.
    func occurrences(of token: String) -> [Int] {
        let bytes = Array(token.utf8)
        guard let first = bytes.first, code.count >= bytes.count else { return [] }
        let wholeWord = isWord(first)
        return code.withUnsafeBufferPointer { code in
            var found: [Int] = []
            var index = 0
            while index <= code.count - bytes.count {
                if code[index] == first,
                    bytes.indices.allSatisfy({ code[index + $0] == bytes[$0] }),
                    !wholeWord || index == 0 || !isWord(code[index - 1])
                {
                    found.append(index)
                }
                index += 1
            }
            return found
        }
    }

    /// A function, initializer, deinitializer or subscript with a body.
    struct Function {
        var line: Int
        var lineCount: Int
    }

    func functions() -> [Function] {
        var found: [Function] = []
        for keyword in ["func ", "init", "deinit", "subscript"] {
            for start in occurrences(of: keyword) where isDeclaration(keyword, at: start) {
                guard let open = bodyStart(after: start + keyword.utf8.count),
                    let close = matchingBrace(of: open)
                else { continue }
                let first = line(of: start)
                found.append(Function(line: first, lineCount: line(of: close) - first + 1))
            }
        }
        return found
    }

    private func isDeclaration(_ keyword: String, at start: Int) -> Bool {
        let end = start + keyword.utf8.count
        if !keyword.hasSuffix(" "), end < code.count, isWord(code[end]) { return false }
        return start == 0 || code[start - 1] != UInt8(ascii: ".")
    }

    /// The brace that opens a declaration's body; nil for a requirement or a call.
    private func bodyStart(after start: Int) -> Int? {
        var depth = 0
        for index in start..<code.count {
            switch code[index] {
            case UInt8(ascii: "("), UInt8(ascii: "["): depth += 1
            case UInt8(ascii: ")"), UInt8(ascii: "]"): depth -= 1
            case UInt8(ascii: "{") where depth == 0: return index
            case UInt8(ascii: "}") where depth == 0: return nil
            case UInt8(ascii: "\n") where depth == 0 && startsDeclaration(index + 1): return nil
            default: break
            }
            if depth < 0 { return nil }
        }
        return nil
    }

    private func startsDeclaration(_ start: Int) -> Bool {
        var index = start
        while index < code.count, code[index] == UInt8(ascii: " ") { index += 1 }
        let rest = code[index..<min(code.count, index + 12)]
        return ["func ", "init", "var ", "let ", "case ", "static ", "public ", "mutating "]
            .contains { rest.starts(with: Array($0.utf8)) }
    }

    private func matchingBrace(of open: Int) -> Int? {
        var depth = 0
        for index in open..<code.count {
            if code[index] == UInt8(ascii: "{") { depth += 1 }
            if code[index] == UInt8(ascii: "}") { depth -= 1 }
            if depth == 0 { return index }
        }
        return nil
    }
}

func isWord(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
        true
    default: false
    }
}

/// Replaces comments and text literals (interpolations included) by spaces.
private struct Blanker {
    private var bytes: [UInt8]
    private var index = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    private func has(_ text: String) -> Bool {
        bytes[index...].starts(with: Array(text.utf8))
    }

    private mutating func blank(_ count: Int = 1) {
        for _ in 0..<count where index < bytes.count {
            if bytes[index] != UInt8(ascii: "\n") { bytes[index] = UInt8(ascii: " ") }
            index += 1
        }
    }

    func run() -> [UInt8] {
        var copy = self
        while copy.index < copy.bytes.count { copy.step() }
        return copy.bytes
    }

    private mutating func step() {
        switch bytes[index] {
        case UInt8(ascii: "/") where has("//"):
            while index < bytes.count, bytes[index] != UInt8(ascii: "\n") { blank() }
        case UInt8(ascii: "/") where has("/*"): comment()
        case UInt8(ascii: "\""): literal(hashes: 0)
        case UInt8(ascii: "#"):
            var hashes = 0
            while index + hashes < bytes.count, bytes[index + hashes] == UInt8(ascii: "#") {
                hashes += 1
            }
            guard index + hashes < bytes.count, bytes[index + hashes] == UInt8(ascii: "\"") else {
                index += hashes
                return
            }
            blank(hashes)
            literal(hashes: hashes)
        default: index += 1
        }
    }

    private mutating func comment() {
        var depth = 0
        repeat {
            if has("/*") {
                depth += 1
                blank(2)
            } else if has("*/") {
                depth -= 1
                blank(2)
            } else {
                blank()
            }
        } while depth > 0 && index < bytes.count
    }

    private mutating func literal(hashes: Int) {
        let fence = String(repeating: "#", count: hashes)
        let quote = has("\"\"\"") ? "\"\"\"" : "\""
        blank(quote.utf8.count)
        while index < bytes.count, !has(quote + fence) {
            if has("\\" + fence + "(") {
                blank(hashes + 2)
                interpolation()
            } else if has("\\" + fence) {
                blank(hashes + 2)
            } else {
                blank()
            }
        }
        blank(quote.utf8.count + hashes)
    }

    private mutating func interpolation() {
        var depth = 1
        while index < bytes.count, depth > 0 {
            switch bytes[index] {
            case UInt8(ascii: "("):
                depth += 1
                blank()
            case UInt8(ascii: ")"):
                depth -= 1
                blank()
            case UInt8(ascii: "\""): literal(hashes: 0)
            default: blank()
            }
        }
    }
}
