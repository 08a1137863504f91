import Keyspace
import PikaStorage
import RESP

/// One step of BITFIELD.
private struct BitfieldStep {
    enum Action { case get, set, increment }
    enum Overflow { case wrap, saturate, fail }

    var action: Action
    var isSigned: Bool
    var width: Int
    var offset: Int
    var value: Int64 = 0
    var overflow = Overflow.wrap

    var minimum: Int128 { self.isSigned ? -(Int128(1) << (self.width - 1)) : 0 }
    var maximum: Int128 { (Int128(1) << (self.isSigned ? self.width - 1 : self.width)) - 1 }

    /// The field in `value`; bits behind its end are clear.
    func read(_ value: [UInt8]) -> Int128 {
        var result: Int128 = 0
        for bit in self.offset..<self.offset + self.width {
            let byte = bit >> 3 < value.count ? value[bit >> 3] : 0
            result = result << 1 | Int128(byte >> UInt8(7 - bit & 7) & 1)
        }
        return result > self.maximum ? result - (Int128(1) << self.width) : result
    }

    func write(_ number: Int128, to value: inout [UInt8]) {
        for index in 0..<self.width {
            let bit = self.offset + self.width - 1 - index
            let mask = UInt8(0x80) >> UInt8(bit & 7)
            if number >> index & 1 == 1 {
                value[bit >> 3] |= mask
            } else {
                value[bit >> 3] &= ~mask
            }
        }
    }

    /// The number in the range of the field; nil when it is refused.
    func fitted(_ number: Int128) -> Int128? {
        guard number < self.minimum || number > self.maximum else { return number }
        switch self.overflow {
        case .fail: return nil
        case .saturate: return number < self.minimum ? self.minimum : self.maximum
        case .wrap:
            let mask = (Int128(1) << self.width) - 1
            let cut = number & mask
            return cut > self.maximum ? cut - (Int128(1) << self.width) : cut
        }
    }
}

extension BitCommands {
    static func bitfield(_ x: inout Execution, isReadOnly: Bool) throws {
        let steps = try bitfieldSteps(x, isReadOnly: isReadOnly)
        try x.limit(steps.count)
        var value = try x.copyOfValue(x.key).value ?? []
        var written: Range<Int>?
        var changes = false
        if let end = steps.filter({ $0.action != .get }).map({ $0.offset + $0.width }).max() {
            let bytes = (end + 7) / 8
            try x.limitBytes(bytes)
            if value.count < bytes {
                changes = true
                value.append(contentsOf: repeatElement(0, count: bytes - value.count))
            }
        }
        x.reply.array(steps.count)
        for step in steps {
            let old = step.read(value)
            var answer = old
            if step.action != .get {
                // A value for an unsigned field is taken as its 64 bits.
                let given =
                    step.isSigned
                    ? Int128(step.value) : Int128(UInt64(bitPattern: step.value))
                let wanted = step.action == .set ? given : old + Int128(step.value)
                guard let fitted = step.fitted(wanted) else {
                    x.reply.null()
                    continue
                }
                step.write(fitted, to: &value)
                if fitted != old { changes = true }
                if step.action == .increment { answer = fitted }
                let bytes = step.offset / 8..<(step.offset + step.width + 7) / 8
                let low = min(written?.lowerBound ?? bytes.lowerBound, bytes.lowerBound)
                let high = max(written?.upperBound ?? bytes.upperBound, bytes.upperBound)
                written = low..<high
            }
            x.reply.integer(Int64(truncatingIfNeeded: answer))
        }
        if let written {
            try x.writePatch(x.key, written.lowerBound, Array(value[written]))
            if changes { x.notify(.setbit, x.key) }
        }
    }

    private static func bitfieldSteps(
        _ x: borrowing Execution, isReadOnly: Bool
    ) throws(CommandError) -> [BitfieldStep] {
        var steps: [BitfieldStep] = []
        var overflow = BitfieldStep.Overflow.wrap
        var index = 2
        while index < x.count {
            let word = x[index]
            let left = x.count - index - 1
            if word.isWord("overflow"), left >= 1 {
                overflow = try bitfieldOverflow(x[index + 1])
                index += 2
                continue
            }
            let action: BitfieldStep.Action
            if word.isWord("get"), left >= 2 {
                action = .get
            } else if word.isWord("set"), left >= 3 {
                action = .set
            } else if word.isWord("incrby"), left >= 3 {
                action = .increment
            } else {
                throw .syntax
            }
            guard !isReadOnly || action == .get else {
                throw .reply("ERR BITFIELD_RO only supports the GET subcommand")
            }
            let (isSigned, width) = try bitfieldType(x[index + 1])
            var step = BitfieldStep(
                action: action, isSigned: isSigned, width: width,
                offset: try bitfieldOffset(x[index + 2], width: width))
            step.overflow = overflow
            if action != .get { step.value = try x.integer(index + 3) }
            steps.append(step)
            index += action == .get ? 3 : 4
        }
        return steps
    }

    private static func bitfieldOverflow(
        _ word: Bytes
    ) throws(CommandError) -> BitfieldStep.Overflow {
        if word.isWord("wrap") { return .wrap }
        if word.isWord("sat") { return .saturate }
        if word.isWord("fail") { return .fail }
        throw .reply("ERR Invalid OVERFLOW type specified")
    }

    private static func bitfieldType(
        _ text: Bytes
    ) throws(CommandError) -> (isSigned: Bool, width: Int) {
        let first = text.first.map { lowercase($0) }
        let isSigned = first == UInt8(ascii: "i")
        guard isSigned || first == UInt8(ascii: "u"),
            let width = Decimal.parseInteger(text.dropping(1)), width >= 1,
            width <= (isSigned ? 64 : 63)
        else {
            throw .reply(
                "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."
            )
        }
        return (isSigned, Int(width))
    }

    private static func bitfieldOffset(_ text: Bytes, width: Int) throws(CommandError) -> Int {
        let fault = CommandError.reply("ERR bit offset is not an integer or out of range")
        let isScaled = text.first == UInt8(ascii: "#")
        guard let value = Decimal.parseInteger(isScaled ? text.dropping(1) : text), value >= 0
        else { throw fault }
        let (scaled, overflow) = value.multipliedReportingOverflow(by: isScaled ? Int64(width) : 1)
        guard !overflow, scaled <= bitLimit - Int64(width) else { throw fault }
        return Int(scaled)
    }
}
