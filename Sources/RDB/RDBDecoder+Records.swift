extension RDBDecoder {
    /// Nine bytes: `REDIS` and four digits, or `VALKEY` and three.
    mutating func readHeader(_ cursor: inout ByteCursor) throws(RDBError) -> RDBEvent? {
        let start = UnsafeBufferPointer(start: cursor.base, count: min(cursor.count, 6))
        if start.count >= 3, start.prefix(3).elementsEqual("VCS".utf8) { throw .compressedEnvelope }
        let isValkey = start.first == UInt8(ascii: "V")
        let magic = isValkey ? "VALKEY" : "REDIS"
        guard zip(start, magic.utf8).allSatisfy(==) else { throw .badMagic }
        try cursor.need(9)
        var version = 0
        for index in magic.utf8.count..<9 {
            let digit = cursor.base[index] &- UInt8(ascii: "0")
            guard digit <= 9 else { throw .badMagic }
            version = version * 10 + Int(digit)
        }
        self.dialect = isValkey ? .valkey : .redis
        let known = isValkey ? version == 80 : (1...self.limits.maxRedisVersion).contains(version)
        guard known else { throw .unsupportedVersion(dialect: self.dialect, version: version) }
        self.version = version
        cursor.at = 9
        self.state = .record
        return .header(dialect: self.dialect, version: version)
    }

    /// One record up to the value; nil if it was one that only prepares the next.
    mutating func readRecord(_ cursor: inout ByteCursor) throws(RDBError) -> RDBEvent? {
        let offset = cursor.offset
        let limit = self.limits.maxElementBytes
        let number = try cursor.byte()
        switch number {
        case 255: self.state = .checksum
        case 254:
            self.database = try cursor.length()
            return .selectDatabase(self.database)
        case 253: self.deadline = Int64(try cursor.little(Int32.self)) * 1000
        case 252: self.deadline = try cursor.little(Int64.self)
        case 251:
            return .resizeDatabase(keys: try cursor.length(), expiring: try cursor.length())
        case 250:
            return .auxiliary(
                name: try cursor.string(limit: limit), value: try cursor.string(limit: limit))
        case 249: self.frequency = try cursor.byte()
        case 248: self.idle = try cursor.length()
        case 247:
            let name = RDBNames.module(try cursor.length())
            let skipped: [SkipStep] = [.length, .length, .moduleItems]
            self.state = .skip(SkipProgram(skipped), then: .moduleAuxiliary(name: name))
        case 246:
            try cursor.skipString(limit: limit)
            try cursor.skipString(limit: limit)
            if try cursor.length() != 0 { try cursor.skipString(limit: limit) }
            return .function(source: try cursor.string(limit: limit))
        case 245: return .function(source: try cursor.string(limit: limit))
        case 244:
            return .slotInfo(
                slot: try cursor.length(), keys: try cursor.length(), expiring: try cursor.length())
        case 243 where self.dialect == .valkey:
            let skipped: [SkipStep] = [.string, .counted([.length, .length])]
            self.state = .skip(SkipProgram(skipped), then: .slotImport)
        case 29...243:
            throw .unsupportedRecord(
                number: number, name: RDBNames.record(number), offset: offset)
        default: return try self.readKey(number, &cursor)
        }
        return nil
    }

    private mutating func readKey(
        _ encoding: UInt8, _ cursor: inout ByteCursor
    ) throws(RDBError) -> RDBEvent {
        let offset = cursor.offset - 1
        let name = try cursor.string(limit: self.limits.maxElementBytes)
        let value = try ValueState(
            encoding: encoding, dialect: self.dialect, key: name, offset: offset)
        var moduleName: String?
        if value.kind == .module { moduleName = RDBNames.module(try cursor.length()) }
        let key = RDBKey(
            database: self.database, name: name, kind: value.kind, encoding: encoding,
            deadlineMilliseconds: self.deadline, idleSeconds: self.idle,
            frequency: self.frequency, moduleName: moduleName,
            hasFieldDeadlines: value.hasFieldDeadlines)
        self.deadline = nil
        self.idle = nil
        self.frequency = nil
        switch value.kind {
        case .stream: self.state = .skip(.stream(encoding), then: .keyEnd)
        case .module: self.state = .skip(SkipProgram([.moduleItems]), then: .keyEnd)
        default: self.state = .value(value)
        }
        return .keyStart(key)
    }
}
