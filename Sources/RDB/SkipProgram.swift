/// Parts of a value that is read past: enough to find its end.
indirect enum SkipStep: Sendable {
    case string
    case length
    case bytes(Int)
    /// A length, then so many times the steps.
    case counted([SkipStep])
    case times(UInt64, [SkipStep])
    /// Items of a module, to the item 0.
    case moduleItems
}

/// Reads past streams and modules, part by part, in bounded memory.
struct SkipProgram: Sendable {
    /// What is still to come, the next part last.
    private var stack: [SkipStep]

    init(_ steps: [SkipStep]) { self.stack = steps.reversed() }

    var isDone: Bool { self.stack.isEmpty }

    /// Goes on as far as the bytes reach; `cursor` is behind the last complete part.
    mutating func run(_ cursor: inout ByteCursor, limit: Int) throws(RDBError) {
        while let step = self.stack.popLast() {
            let start = cursor.at
            do throws(RDBError) {
                try self.run(step, &cursor, limit)
            } catch {
                cursor.at = start
                self.stack.append(step)
                throw error
            }
        }
    }

    private mutating func run(
        _ step: SkipStep, _ cursor: inout ByteCursor, _ limit: Int
    ) throws(RDBError) {
        switch step {
        case .string: try cursor.skipString(limit: limit)
        case .length: _ = try cursor.length()
        case .bytes(let count): try cursor.skip(count)
        case .counted(let body): self.stack.append(.times(try cursor.length(), body))
        case .times(let count, let body):
            guard count > 0 else { return }
            self.stack.append(.times(count - 1, body))
            self.stack.append(contentsOf: body.reversed())
        case .moduleItems:
            switch try cursor.length() {
            case 0: return
            case 1, 2: _ = try cursor.length()
            case 3: try cursor.skip(4)
            case 4: try cursor.skip(8)
            case 5: try cursor.skipString(limit: limit)
            default: throw .corrupt(.moduleItem, offset: cursor.offset)
            }
            self.stack.append(.moduleItems)
        }
    }

    /// The value of a stream, by its encoding: 15, 19, 21, 26 or 27.
    static func stream(_ encoding: UInt8) -> SkipProgram {
        // Length, last id; from 19 on first id, greatest deleted id, entries added.
        var steps: [SkipStep] = [.counted([.string, .string])]
        steps += Array(repeating: .length, count: encoding >= 19 ? 8 : 3)
        var consumer: [SkipStep] = [.string, .bytes(encoding >= 21 ? 16 : 8)]
        consumer.append(.counted([.bytes(16)]))
        var group: [SkipStep] = [.string]
        group += Array(repeating: .length, count: encoding >= 19 ? 3 : 2)
        group += [.counted([.bytes(24), .length]), .counted(consumer)]
        if encoding >= 27 { group.append(.counted([.bytes(16)])) }
        steps.append(.counted(group))
        if encoding >= 26 {
            steps += [.length, .length]
            steps.append(.counted([.string, .counted([.string, .length, .length])]))
            steps += [.length, .length]
        }
        return SkipProgram(steps)
    }
}

/// Names of numbers that are only known by name.
enum RDBNames {
    private static let letters = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")

    /// The nine letters of a module's type.
    static func module(_ id: UInt64) -> String {
        var name = ""
        for letter in 0..<9 {
            let shift = 10 + 6 * (8 - UInt64(letter))
            name.append(Self.letters[Int((id >> shift) & 63)])
        }
        return name
    }

    static func type(_ number: UInt8) -> String {
        switch number {
        case 6: "module value of the first format"
        case 28: "array of Redis 8.8"
        default: Self.foreign(number) ?? "unknown type of value"
        }
    }

    static func record(_ number: UInt8) -> String {
        number == 243 ? "key metadata of Redis 8.6" : Self.type(number)
    }

    private static func foreign(_ number: UInt8) -> String? {
        switch number {
        case 200...224: "private record of Dragonfly"
        case 100...102, 107, 121: "private record of Redis Enterprise"
        case 192: "private record of Ctrip"
        default: nil
        }
    }
}
