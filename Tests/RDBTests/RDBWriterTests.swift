import RDB
import Testing

@Suite("RDB writer")
struct RDBWriterTests {
    @Test("A file that was written decodes to what was written, however it was taken")
    func roundTrip() throws {
        for version in [9, 11] {
            for takesOften in [false, true] {
                let bytes = Self.file(version: version, takesOften: takesOften)
                let lines = try Transcript.of(bytes) { 100 }.lines
                #expect(
                    lines == [
                        "header redis \(version)", "aux 61 62", "select 0", "resize 5 1",
                        "key 0 73 type 0 deadline 5 idle - frequency -: string 76",
                        "key 0 6c type 1 deadline - idle - frequency -: list 61,-",
                        "key 0 74 type 2 deadline - idle - frequency -: set 6d",
                        "select 3",
                        "key 3 68 type 4 deadline - idle - frequency -: hash 66=76",
                        "key 3 7a type 5 deadline - idle - frequency -: "
                            + "sortedSet 6d=3ff8000000000000",
                        "end verified",
                    ])
            }
        }
    }

    @Test("Keys of unknown length decode and check, wherever the bytes before their end were taken")
    func openKeys() throws {
        for seed in 0..<40 {
            var random = SystemRandomNumberGenerator()
            var file: [UInt8] = []
            var writer = RDBWriter()
            let take: (inout RDBWriter) -> Void = { writer in
                guard Int.random(in: 0..<3, using: &random) == 0 || seed == 0 else { return }
                file += writer.takeBytes()
            }
            func end(_ writer: inout RDBWriter) {
                guard let patch = writer.endOpenKey() else { return }
                for (index, byte) in patch.bytes.enumerated() {
                    file[Int(patch.offset) + index] = byte
                }
            }
            writer.selectDatabase(0)
            take(&writer)
            writer.beginOpenKey([0x6c], kind: .list, deadlineMilliseconds: 5)
            for number in 0..<300 {
                take(&writer)
                writer.append([UInt8(truncatingIfNeeded: number)])
            }
            end(&writer)
            take(&writer)
            writer.beginOpenKey([0x73], kind: .string, deadlineMilliseconds: nil)
            for _ in 0..<9 {
                take(&writer)
                writer.append(piece: [UInt8](repeating: 7, count: 1_000))
            }
            end(&writer)
            writer.beginOpenKey([0x7a], kind: .sortedSet, deadlineMilliseconds: nil)
            take(&writer)
            writer.append(member: [0x6d], score: 1.5)
            take(&writer)
            end(&writer)
            writer.end()
            file += writer.takeBytes()
            let lines = try Transcript.of(file) { 100 }.lines
            #expect(lines.last == "end verified")
            #expect(lines.contains { $0.hasSuffix("sortedSet 6d=3ff8000000000000") })
            #expect(lines.contains { $0.contains("list 00,01,02,") && $0.hasSuffix(",2a,2b") })
        }
    }

    @Test("The checksum of bytes with zeros behind them is found without the zeros")
    func zeros() {
        for count in [0, 1, 7, 8, 9, 255, 4_096, 70_001] {
            let bytes: [UInt8] = [1, 2, 3, 250]
            let whole = CRC64.checksum(bytes + [UInt8](repeating: 0, count: count))
            let moved = CRC64(value: CRC64.checksum(bytes)).followedByZeros(UInt64(count))
            #expect(moved.value == whole, "\(count) zeros")
        }
    }

    /// One key of each kind.
    static func file(version: Int, takesOften: Bool = false) -> [UInt8] {
        var writer = RDBWriter(version: version)
        var bytes: [UInt8] = []
        let take: (inout RDBWriter) -> Void = { writer in
            if takesOften { bytes += writer.takeBytes() }
        }
        writer.auxiliary("a", "b")
        writer.selectDatabase(0)
        writer.resizeDatabase(keys: 5, expiring: 1)
        take(&writer)
        writer.beginKey([0x73], kind: .string, elementCount: 1, deadlineMilliseconds: 5)
        take(&writer)
        writer.append([0x76])
        writer.beginKey([0x6c], kind: .list, elementCount: 2, deadlineMilliseconds: nil)
        writer.append([0x61])
        take(&writer)
        writer.append([])
        writer.beginKey([0x74], kind: .set, elementCount: 1, deadlineMilliseconds: nil)
        writer.append([0x6d])
        writer.selectDatabase(3)
        writer.beginKey([0x68], kind: .hash, elementCount: 1, deadlineMilliseconds: nil)
        writer.append(field: [0x66], value: [0x76])
        take(&writer)
        writer.beginKey([0x7a], kind: .sortedSet, elementCount: 1, deadlineMilliseconds: nil)
        writer.append(member: [0x6d], score: 1.5)
        writer.end()
        bytes += writer.takeBytes()
        return bytes
    }
}
