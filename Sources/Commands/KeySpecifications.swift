import RESP

/// What a command does with some of its keys, and where they are: Redis 7's key specifications, by
/// which cluster-aware clients and proxies find keys.
struct KeySpecification {
    /// Where the first of the keys is.
    enum Begin {
        /// At an index, the command word being 0.
        case index(Int)
        /// Behind a word, looked for from an index on.
        case keyword(StaticString, from: Int)
    }

    /// Which arguments from there on are keys.
    enum Find {
        /// Up to the one `last` behind the first (negative: from the end), each `step` apart.
        case range(last: Int, step: Int)
        /// As many as the first argument says; they follow it.
        case counted
    }

    var begin: Begin
    var find: Find
    /// RO, RW, OW or RM, and what the command does with the value.
    var flags: [StaticString]
}

extension CommandRow {
    /// The key specifications, in the order in which COMMAND GETKEYS lists the keys.
    var keySpecifications: [KeySpecification] {
        var found: [KeySpecification] = []
        let use = self.keyUse
        if self.keys.first > 0 {
            let hasDestination = self.replacesFirstKey && self.keys.last != self.keys.first
            if hasDestination {
                found.append(self.range(self.keys.first, self.keys.first, 1, Self.overwritten))
                found.append(
                    self.range(self.keys.first + 1, self.keys.last, self.keys.step, Self.read))
            } else {
                let isDestination = self.replacesFirstKey
                found.append(
                    self.range(
                        self.keys.first, self.keys.last, self.keys.step,
                        isDestination ? Self.overwritten : use))
            }
        }
        if self.keys.countAt > 0 {
            let flags = self.replacesFirstKey ? Self.read : use
            found.append(
                KeySpecification(
                    begin: .index(Int(self.keys.countAt)), find: .counted, flags: flags))
        }
        if self.keys.storeFrom > 0 {
            let words: [StaticString] = self.group == .geo ? ["STORE", "STOREDIST"] : ["STORE"]
            for word in words {
                found.append(
                    KeySpecification(
                        begin: .keyword(word, from: Int(self.keys.storeFrom)),
                        find: .range(last: 0, step: 1), flags: Self.overwritten))
            }
        }
        return found
    }

    /// What the command does with the key at an index of a request.
    func keyFlags(at index: Int, in request: UnsafeBufferPointer<Bytes>) -> [StaticString] {
        if self.keys.storeFrom > 0, index == self.keys.destinationIndex(in: request) {
            return Self.overwritten
        }
        guard self.replacesFirstKey else { return self.keyUse }
        return index == self.keys.first ? Self.overwritten : Self.read
    }

    private static let read: [StaticString] = ["RO", "access"]
    private static let overwritten: [StaticString] = ["OW", "update"]

    private func range(
        _ first: Int, _ last: Int, _ step: Int, _ flags: [StaticString]
    ) -> KeySpecification {
        KeySpecification(
            begin: .index(first),
            find: .range(last: last < 0 ? last : last - first, step: step), flags: flags)
    }

    /// The first key is a destination whose old value does not matter.
    private var replacesFirstKey: Bool { TypeRule(self).replaced == .first }

    private var keyUse: [StaticString] {
        if TypeRule(self).replaced == .all { return Self.overwritten }
        guard self.flags.contains(.write), !self.flags.contains(.readsUnlessStored) else {
            return Self.read
        }
        return self.flags.contains(.sliced) ? ["RM", "delete"] : ["RW", "access", "update"]
    }
}

extension ReplyWriter {
    /// A key specification as COMMAND INFO shows it.
    mutating func keySpecification(_ specification: KeySpecification) {
        self.map(3)
        self.bulk("flags")
        self.set(specification.flags.count)
        for flag in specification.flags { self.simple(flag) }
        self.bulk("begin_search")
        self.map(2)
        self.bulk("type")
        switch specification.begin {
        case .index(let index):
            self.bulk("index")
            self.bulk("spec")
            self.map(1)
            self.bulk("index")
            self.integer(index)
        case .keyword(let word, let from):
            self.bulk("keyword")
            self.bulk("spec")
            self.map(2)
            self.bulk("keyword")
            self.bulk(word)
            self.bulk("startfrom")
            self.integer(from)
        }
        self.bulk("find_keys")
        self.map(2)
        self.bulk("type")
        let fields: [(StaticString, Int)]
        switch specification.find {
        case .range(let last, let step):
            self.bulk("range")
            fields = [("lastkey", last), ("keystep", step), ("limit", 0)]
        case .counted:
            self.bulk("keynum")
            fields = [("keynumidx", 0), ("firstkey", 1), ("keystep", 1)]
        }
        self.bulk("spec")
        self.map(fields.count)
        for (name, value) in fields {
            self.bulk(name)
            self.integer(value)
        }
    }
}
