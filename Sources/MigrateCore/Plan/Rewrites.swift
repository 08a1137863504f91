// MARK: - What a target does not know

extension Planner {
    /// The commands to send, none if nothing is to be done; nil = the keys have to be read instead.
    func rewrite(
        _ arguments: [[UInt8]], _ name: String, _ entry: CommandEntry, _ time: Int64,
        _ notes: inout [PlanNote]
    ) throws(PlanRefusal) -> [[[UInt8]]]? {
        switch entry.role {
        case .unrepeatable: return nil
        case .derived:
            return self.target.product == .redis && !self.target.missing.contains(name)
                ? [arguments] : nil
        case .stream:
            // Whatever the target knows: of a stream that the copy left out, it would have the rest.
            guard self.policy.stream == .skip else {
                throw PlanRefusal("the source sent \(name.uppercased()); [policy] stream is fail")
            }
            notes.append(PlanNote("stream"))
            return []
        case .hyperLogLog:
            if self.target.hasRedisHyperLogLog { return [arguments] }
            return try self.hyperLogLog(name, &notes)
        case .fieldDeadline:
            guard self.policy.fieldDeadline == .drop else {
                throw PlanRefusal("the source sent \(name.uppercased()) (field-deadline)")
            }
            notes.append(PlanNote("field-deadline"))
            return name == "hsetex" || name == "hgetex" ? nil : []
        case .overwrite: return try self.overwrite(arguments, name, time, &notes)
        default: return try self.write(arguments, name, time, &notes)
        }
    }

    private func hyperLogLog(
        _ name: String, _ notes: inout [PlanNote]
    ) throws(PlanRefusal) -> [[[UInt8]]]? {
        switch self.policy.hyperLogLog {
        case .fail:
            throw PlanRefusal(
                "the source sent \(name.uppercased()); a HyperLogLog of Redis can't be read by"
                    + " \(self.target.description), the hashes differ; [policy] hyperloglog can be"
                    + " raw or skip")
        case .raw: return nil
        case .skip:
            notes.append(PlanNote("hyperloglog"))
            return []
        }
    }

    private func write(
        _ arguments: [[UInt8]], _ name: String, _ time: Int64, _ notes: inout [PlanNote]
    ) throws(PlanRefusal) -> [[[UInt8]]]? {
        switch name {
        case "unlink" where self.target.missing.contains("unlink"):
            return [[Words.del] + arguments.dropFirst()]
        case "expire", "pexpire", "expireat", "pexpireat":
            return try self.expire(arguments, name, time, &notes)
        case "hset" where arguments.count > 4 && !self.target.hasMultiFieldHset:
            return [[Words.hmset] + arguments.dropFirst()]
        case "zadd" where self.hasFlag(arguments):
            return self.target.hasZaddFlags ? [arguments] : nil
        // It failed at the source if it is not in the stream; here it must not find more than there.
        case "msetnx" where self.target.keepsTypesApart: return nil
        case "setnx":
            // The source's Pika logs failing ones too: only a target in the same state knows.
            return [arguments]
        default: return self.target.missing.contains(name) ? nil : [arguments]
        }
    }

    /// A `ZADD` with anything between key and first score.
    private func hasFlag(_ arguments: [[UInt8]]) -> Bool {
        guard arguments.count > 2, let first = arguments[2].first else { return false }
        let letter = first | 0x20
        // Flags begin with n, x, g, l, c or i; so do `nan`, which no server accepts, and `inf`.
        if letter == UInt8(ascii: "i") { return arguments[2].count == 4 }
        return "nxglc".utf8.contains(letter)
    }

    private func expire(
        _ arguments: [[UInt8]], _ name: String, _ time: Int64, _ notes: inout [PlanNote]
    ) throws(PlanRefusal) -> [[[UInt8]]]? {
        // NX, XX, GT and LT: what became of it can only be read.
        guard arguments.count == 3, let number = Words.number(arguments[2]) else { return nil }
        guard let deadline = Self.deadline(name, number, time) else { return nil }
        switch try Deadline.fit(deadline, now: time, self.target, self.policy, &notes) {
        case .none: return [[Words.persist, arguments[1]]]
        case .past: return [[Words.del, arguments[1]]]
        case .seconds(let seconds): return [[Words.expireat, arguments[1], Words.text(seconds)]]
        case .milliseconds(let value): return [[Words.pexpireat, arguments[1], Words.text(value)]]
        }
    }

    private static func deadline(_ name: String, _ number: Int64, _ time: Int64) -> Int64? {
        let isMilliseconds = ["pexpire", "pexpireat", "psetex", "px", "pxat"].contains(name)
        let (scaled, overflow) = number.multipliedReportingOverflow(by: isMilliseconds ? 1 : 1_000)
        guard !overflow else { return nil }
        guard !["expireat", "pexpireat", "exat", "pxat", "pksetexat"].contains(name) else {
            return scaled
        }
        let (sum, tooFar) = scaled.addingReportingOverflow(time)
        return tooFar ? nil : sum
    }

    private func overwrite(
        _ arguments: [[UInt8]], _ name: String, _ time: Int64, _ notes: inout [PlanNote]
    ) throws(PlanRefusal) -> [[[UInt8]]]? {
        switch name {
        case "mset":
            guard self.removesOtherTypes else { return [arguments] }
            let keys = stride(from: 1, to: arguments.count, by: 2).map { arguments[$0] }
            return [[Words.del] + keys, arguments]
        case "getset":
            guard arguments.count == 3 else { return nil }
            return try self.set(arguments[1], arguments[2], nil, time, &notes)
        case "pksetexat" where arguments.count == 4 && Words.number(arguments[2]) == 0:
            return try self.setKeepingDeadline(arguments[1], arguments[3], time, &notes)
        case "setex", "psetex", "pksetexat":
            guard arguments.count == 4, let number = Words.number(arguments[2]),
                let deadline = Self.deadline(name, number, time)
            else { return nil }
            return try self.set(arguments[1], arguments[3], deadline, time, &notes)
        default: return try self.plainSet(arguments, time, &notes)
        }
    }

    /// What an overwrite must remove first: only the string goes where it goes at the source, too.
    private var removesOtherTypes: Bool {
        self.target.keepsTypesApart && !self.policy.sourceKeepsTypesApart
    }

    /// A deadline of 0, which a Pika 3.5.5 writes for INCR and APPEND: the value is new, the deadline
    /// stays, and the value of an APPEND to a new key is missing altogether.
    private func setKeepingDeadline(
        _ key: [UInt8], _ value: [UInt8], _ time: Int64, _ notes: inout [PlanNote]
    ) throws(PlanRefusal) -> [[[UInt8]]]? {
        if value.isEmpty, self.policy.canRead { return nil }
        if self.target.hasModernSet, !self.removesOtherTypes {
            return [[Words.set, key, value, Words.keepttl]]
        }
        return self.policy.canRead ? nil : try self.set(key, value, nil, time, &notes)
    }

    private func plainSet(
        _ arguments: [[UInt8]], _ time: Int64, _ notes: inout [PlanNote]
    ) throws(PlanRefusal) -> [[[UInt8]]]? {
        guard arguments.count >= 3 else { return nil }
        var deadline: Int64?
        var at = 3
        while at < arguments.count {
            let option = String(decoding: arguments[at], as: UTF8.self).lowercased()
            switch option {
            case "ex", "px", "exat", "pxat":
                guard at + 1 < arguments.count, let number = Words.number(arguments[at + 1]),
                    let found = Self.deadline(option, number, time)
                else { return nil }
                deadline = found
                at += 2
            case "keepttl":
                guard self.target.hasModernSet, !self.removesOtherTypes else { return nil }
                return [[Words.set, arguments[1], arguments[2], Words.keepttl]]
            // A Redis logs it only when it was carried out, a Pika also when it was not.
            case "nx", "xx": return nil
            case "get": at += 1
            default: return nil
            }
        }
        return try self.set(arguments[1], arguments[2], deadline, time, &notes)
    }

    private func set(
        _ key: [UInt8], _ value: [UInt8], _ deadline: Int64?, _ time: Int64,
        _ notes: inout [PlanNote]
    ) throws(PlanRefusal) -> [[[UInt8]]] {
        let before = self.removesOtherTypes ? [[Words.del, key]] : []
        switch try Deadline.fit(deadline, now: time, self.target, self.policy, &notes) {
        case .none: return before + [[Words.set, key, value]]
        case .past: return [[Words.del, key]]
        case .seconds(let seconds):
            return before + [[Words.pksetexat, key, Words.text(seconds), value]]
        case .milliseconds(let at) where self.target.hasModernSet:
            return before + [[Words.set, key, value, Words.pxat, Words.text(at)]]
        case .milliseconds(let at):
            return before + [
                [Words.set, key, value], [Words.pexpireat, key, Words.text(at)],
            ]
        }
    }
}

/// Words of commands.
enum Words {
    static let del = Array("DEL".utf8)
    static let set = Array("SET".utf8)
    static let hmset = Array("HMSET".utf8)
    static let persist = Array("PERSIST".utf8)
    static let expireat = Array("EXPIREAT".utf8)
    static let pexpireat = Array("PEXPIREAT".utf8)
    static let pksetexat = Array("PKSETEXAT".utf8)
    static let pxat = Array("PXAT".utf8)
    static let keepttl = Array("KEEPTTL".utf8)

    static func number(_ text: [UInt8]) -> Int64? { Int64(String(decoding: text, as: UTF8.self)) }
    static func text(_ number: Int64) -> [UInt8] { Array(String(number).utf8) }
}
