internal import MigrateCore

// MARK: - Which keys go where

extension MigrateSettings {
    private static let slotCount = 16_384
    private static let kinds: [String: KeyKind] = [
        "string": .string, "list": .list, "set": .set, "zset": .sortedSet, "hash": .hash,
    ]

    func filter() throws(RunError) -> KeyFilter {
        var filter = KeyFilter()
        for pair in self.texts("map.databases") {
            let parts = pair.split(separator: "=").map { Int($0) }
            guard parts.count == 2, let source = parts[0], let target = parts[1], source >= 0,
                target >= 0
            else { throw .usage("map.databases: \(pair) is not of the form 0=1") }
            filter.databases[source] = target
        }
        for range in self.texts("map.slots") {
            let parts = range.split(separator: "-").map { Int($0) }
            guard let first = parts.first ?? nil, let last = parts.last ?? nil, first <= last,
                first >= 0, last < Self.slotCount, parts.count <= 2
            else { throw .usage("map.slots: \(range) is not of the form 0-8191") }
            filter.slots.append(first...last)
        }
        for name in self.texts("map.types") {
            guard let kind = Self.kinds[name] else { throw .usage("map.types: \(name) is no type") }
            filter.kinds.insert(kind)
        }
        filter.include = try self.patterns("include")
        filter.exclude = try self.patterns("exclude")
        filter.deniedCommands = Set(self.texts("map.commands-deny").map { $0.lowercased() })
        filter.allowedCommands = Set(self.texts("map.commands-allow").map { $0.lowercased() })
        filter.renaming = try self.renaming()
        filter.origin = try self.origin()
        return filter
    }

    private func patterns(_ list: String) throws(RunError) -> KeyPatterns {
        var regexes: [ByteRegex] = []
        for text in self.texts("map.\(list)-regexes") {
            do throws(RegexError) { regexes.append(try ByteRegex(text)) } catch {
                throw .usage(
                    "map.\(list)-regexes: \(text) \(error.reason), at byte \(error.offset)")
            }
        }
        return KeyPatterns(
            globs: self.texts("map.\(list)"), prefixes: self.texts("map.\(list)-prefixes"),
            regexes: regexes)
    }

    private func renaming() throws(RunError) -> KeyRenaming {
        var renaming = KeyRenaming()
        for text in self.texts("map.rename-prefixes") {
            let parts = text.split(separator: "=", omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty else {
                throw .usage("map.rename-prefixes: \(text) is not of the form old:=new:")
            }
            renaming.prefixes.append(
                KeyRenaming.PrefixChange(from: Array(parts[0].utf8), to: Array(parts[1].utf8)))
        }
        let template = self.text("map.template")
        if !template.isEmpty {
            guard let found = KeyTemplate(template) else {
                throw .usage("map.template: \(template) must have {key} once")
            }
            renaming.template = found
        }
        renaming.strip = Array(self.text("map.strip-prefix").utf8)
        renaming.add = Array(self.text("map.add-prefix").utf8)
        return renaming
    }

    private func origin() throws(RunError) -> OriginFilter {
        let partner = self.text("two-way.with")
        guard !partner.isEmpty else { return OriginFilter() }
        guard partner != self.text("job.name"), !partner.contains(":") else {
            throw .usage(
                "two-way.with: \(partner) must be the other direction's job.name, not this one's")
        }
        for (path, wanted) in [
            ("target.on-nonempty", "require-empty"), ("target.on-lost", "stop"),
            ("source.lost-writes", "stop"),
        ] where self.text(path) != wanted {
            throw .usage(
                "\(path) must be \"\(wanted)\" in a two-way sync: a copy would undo what the other"
                    + " end wrote")
        }
        return OriginFilter(partner: partner)
    }
}
