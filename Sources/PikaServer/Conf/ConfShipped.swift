extension ConfTable {
    /// The settings file that is shipped: every item with unit, default, range and meaning.
    public static var shippedFile: String {
        var lines = [
            "# Settings of pika.",
            "#",
            "# name : value, one item a line. Blanks in a line are dropped; a line that starts with",
            "# # is a comment. Sizes take the suffixes K, M and G. Items marked live can be changed",
            "# by CONFIG SET while the server runs, and are kept by CONFIG REWRITE.",
            "# Files of Pika 3.5.0 and 3.5.5 can be used as they are.",
        ]
        for group in groups {
            lines += ["", "", "## " + group.title]
            for item in group.items { lines += [""] + item.shippedLines }
        }
        return lines.map { $0 + "\n" }.joined()
    }
}

extension ConfItem {
    /// The item as it stands in the shipped file: comment, then the line itself.
    fileprivate var shippedLines: [String] {
        var facts: [String] = []
        if !unit.isEmpty { facts.append("Unit: \(unit)") }
        facts.append("Range: \(type.expected)")
        facts.append("Default: \(type.defaultText.isEmpty ? "empty" : type.defaultText)")
        if used { facts.append("Live: \(live ? "yes" : "no")") }
        if origin == .pika355 { facts.append("Since: Pika 3.5.5") }
        if origin == .ours { facts.append("Real Pika: unknown, ignored") }
        let paragraphs = [
            doc.split(separator: "\n").joined(separator: " "), facts.joined(separator: ". ") + ".",
        ]
        let comment = paragraphs.flatMap { Self.wrapped($0, width: 92) }.map { "# " + $0 }
        let line = "\(name) : \(type.defaultText)".trimmingSuffix
        return comment + [commented ? "# " + line : line]
    }

    private static func wrapped(_ text: String, width: Int) -> [String] {
        var lines: [String] = []
        var line = ""
        for word in text.split(separator: " ") {
            if !line.isEmpty, line.count + 1 + word.count > width {
                lines.append(line)
                line = ""
            }
            line += line.isEmpty ? String(word) : " " + word
        }
        return line.isEmpty ? lines : lines + [line]
    }
}

extension String {
    fileprivate var trimmingSuffix: String {
        var text = self[...]
        while text.last == " " { text.removeLast() }
        return String(text)
    }
}
