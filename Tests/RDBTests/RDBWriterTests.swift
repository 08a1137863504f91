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
