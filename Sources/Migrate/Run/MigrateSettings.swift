internal import FileIO
internal import MigrateCore
internal import TOMLKit

/// Settings of a run: the defaults, over them a file, over it flags.
public struct MigrateSettings: Sendable {
    /// Longest settings file, in bytes.
    static let maxFileBytes = 1 << 20

    private enum Value: Equatable {
        case text(String)
        case number(Int)
        case flag(Bool)
        case texts([String])

        var toml: String {
            switch self {
            case .text(let text): "\"\(text)\""
            case .number(let number): "\(number)"
            case .flag(let flag): "\(flag)"
            case .texts(let texts): "[" + texts.map { "\"\($0)\"" }.joined(separator: ", ") + "]"
            }
        }
    }

    private var values: [String: (value: Value, origin: String)] = [:]

    /// The file with all defaults.
    public static var shippedFile: String { SettingsTable.file }

    /// The defaults, a file if there is one, and `section.key=value` overrides.
    ///
    /// - Parameter overrides: Key, value as TOML or plain text, and where it comes from.
    public init(
        file: String?, overrides: [(key: String, value: String, origin: String)]
    ) throws(RunError) {
        try self.merge(SettingsTable.file, origin: "default")
        if let file {
            let bytes: [UInt8]?
            do throws(FileError) {
                bytes = try RealFileSystem().readFile(file, limitBytes: Self.maxFileBytes)
            } catch { throw .usage("the settings can't be read: \(error)") }
            guard let bytes else { throw .usage("there is no file \(file)") }
            try self.merge(String(decoding: bytes, as: UTF8.self), origin: file)
        }
        for (key, value, origin) in overrides { try self.override(key, value, origin) }
    }

    private mutating func merge(_ text: String, origin: String) throws(RunError) {
        let table: TOMLTable
        do { table = try TOMLTable(string: text) } catch {
            throw .usage("\(origin): \(error)")
        }
        for section in table.keys {
            guard let inner = table[section]?.table else {
                throw .usage("\(origin): \(SettingsTable.unknown(section))")
            }
            for name in inner.keys {
                let path = "\(section).\(name)"
                guard let row = SettingsTable.rows.first(where: { $0.path == path }) else {
                    throw .usage("\(origin): \(SettingsTable.unknown(path))")
                }
                guard let raw = inner[name], let value = Self.value(raw, row.kind) else {
                    throw .usage("\(origin): \(path) must be \(Self.expected(row.kind))")
                }
                self.values[path] = (value, origin)
            }
        }
    }

    private static func value(_ raw: any TOMLValueConvertible, _ kind: SettingRow.Kind) -> Value? {
        switch kind {
        case .text: return raw.string.map { .text($0) }
        case .number:
            guard let number = raw.int, number >= 0 else { return nil }
            return .number(number)
        case .flag: return raw.bool.map { .flag($0) }
        case .texts:
            guard let array = raw.array else { return nil }
            let texts = array.compactMap { $0.string }
            return texts.count == array.count ? .texts(texts) : nil
        case .choice(let words):
            guard let text = raw.string, words.contains(text) else { return nil }
            return .text(text)
        }
    }

    private static func expected(_ kind: SettingRow.Kind) -> String {
        switch kind {
        case .text: "a text"
        case .number: "a number, not negative"
        case .flag: "true or false"
        case .texts: "a list of texts"
        case .choice(let words): "one of \(words.joined(separator: ", "))"
        }
    }

    private mutating func override(
        _ key: String, _ value: String, _ origin: String
    ) throws(RunError) {
        guard let row = SettingsTable.rows.first(where: { $0.path == key }) else {
            throw .usage("\(origin): \(SettingsTable.unknown(key))")
        }
        let isText: Bool
        switch row.kind {
        case .text, .choice: isText = !value.hasPrefix("\"")
        case .number, .flag, .texts: isText = false
        }
        let text = isText ? "'\(value)'" : value
        guard !(isText && value.contains("'")) else {
            throw .usage("\(origin): \(key) has a character that is not possible here")
        }
        try self.merge("[\(row.section)]\n\(row.name) = \(text)\n", origin: origin)
    }

    /// What is in effect, and where it comes from.
    public func explain() -> String {
        var text = ""
        var section = ""
        for row in SettingsTable.rows {
            if row.section != section {
                section = row.section
                text += (text.isEmpty ? "" : "\n") + "[\(section)]\n"
            }
            guard let found = self.values[row.path] else { continue }
            text += "\(row.name) = \(found.value.toml)    # \(found.origin)\n"
        }
        return text
    }

    // MARK: - Typed

    func text(_ path: String) -> String {
        if case .text(let text)? = self.values[path]?.value { text } else { "" }
    }

    func number(_ path: String) -> Int {
        if case .number(let number)? = self.values[path]?.value { number } else { 0 }
    }

    func flag(_ path: String) -> Bool {
        if case .flag(let flag)? = self.values[path]?.value { flag } else { false }
    }

    func texts(_ path: String) -> [String] {
        if case .texts(let texts)? = self.values[path]?.value { texts } else { [] }
    }

    func endpoint(_ section: String, url given: String? = nil) throws(RunError) -> Endpoint {
        let url = given ?? self.text("\(section).url")
        let flag = section == "source" ? "--from" : "--to"
        guard !url.isEmpty else { throw .usage("no \(section): \(flag) or [\(section)] url") }
        var endpoint = try Endpoint(
            url: url,
            passwordVariable: "PIKA_MIGRATE_\(section == "source" ? "SOURCE" : "TARGET")_PASSWORD")
        let file = self.text("\(section).password-file")
        if !file.isEmpty { endpoint.passwordFile = file }
        if endpoint.tls != nil { endpoint.tls = try self.encryption(section) }
        return endpoint
    }

    private func encryption(_ section: String) throws(RunError) -> RedisTLS {
        func path(_ name: String) -> String? {
            let text = self.text("\(section).\(name)")
            return text.isEmpty ? nil : text
        }
        guard (path("cert-file") == nil) == (path("key-file") == nil) else {
            throw .usage("\(section).cert-file and \(section).key-file belong together")
        }
        do {
            return try RedisTLS(
                authorityFile: path("ca-file"), certificateFile: path("cert-file"),
                keyFile: path("key-file"), serverName: path("server-name"))
        } catch {
            let files = ["ca-file", "cert-file", "key-file"].compactMap { path($0) }
            throw .usage("\(files.joined(separator: ", ")) can't be used for TLS: \(error)")
        }
    }

    func policy() -> PlanPolicy {
        var policy = PlanPolicy()
        func choice(_ name: String) -> PlanPolicy.Choice {
            PlanPolicy.Choice(rawValue: self.text("policy.\(name)")) ?? .fail
        }
        policy.unknownCommand = choice("unknown-command")
        policy.stream = choice("stream")
        policy.module = choice("module")
        policy.nanScore = choice("nan-score")
        policy.program = choice("program")
        policy.hyperLogLog = .init(rawValue: self.text("policy.hyperloglog")) ?? .fail
        policy.farDeadline = .init(rawValue: self.text("policy.far-deadline")) ?? .fail
        policy.sameName = .init(rawValue: self.text("policy.same-name")) ?? .fail
        policy.keepsForeignKeys = self.text("target.on-nonempty") == "merge"
        policy.fieldDeadline = .init(rawValue: self.text("policy.field-deadline")) ?? .fail
        return policy
    }

    func limitPlan() throws(RunError) -> LimitPlan {
        var base: [LimitName: UInt64] = [:]
        for name in LimitName.allCases {
            base[name] = UInt64(self.number("limit.\(name.rawValue)"))
        }
        var windows: [LimitWindow] = []
        for text in self.texts("limit.schedule") {
            do throws(LimitWindowError) { windows.append(try LimitWindow(text)) } catch {
                throw .usage("limit.schedule: \(text) \(error.reason)")
            }
        }
        return LimitPlan(base: base, windows: windows)
    }
}
