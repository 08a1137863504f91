import Binlog
import FileIO
import SyncProtocol
import TestKit
import Testing

@Suite("Binlog format")
struct FormatTests {
    static let time: UInt32 = 1_700_000_000

    @Test("The worked example of the format's description is written byte for byte")
    func workedExample() throws {
        let bench = Bench()
        let log = try bench.open()
        let first = try log.append(
            group([["set", "foo", "bar"]]), execTimeSeconds: Self.time, atomicGroup: false)
        #expect(first.position == position(0, 73))
        let second = try log.append(
            group([["pksetexat", "k", "1700000060", "v"]]), execTimeSeconds: Self.time,
            atomicGroup: false)
        #expect(second.position == position(0, 165))
        let expected = hex(
            """
            41 00 00 00 f1 53 65 01
            01 00 00 f1 53 65 00 00 00 00 01 00 00 00 00 00 00 00
            00 00 00 00 00 00 00 00 00 00 00 00 1f 00 00 00
            2a 33 0d 0a 24 33 0d 0a 73 65 74 0d 0a 24 33 0d 0a 66 6f 6f 0d 0a
            24 33 0d 0a 62 61 72 0d 0a
            54 00 00 00 f1 53 65 01
            01 00 00 f1 53 65 00 00 00 00 02 00 00 00 00 00 00 00
            00 00 00 00 49 00 00 00 00 00 00 00 32 00 00 00
            2a 34 0d 0a 24 39 0d 0a 70 6b 73 65 74 65 78 61 74 0d 0a
            24 31 0d 0a 6b 0d 0a 24 31 30 0d 0a 31 37 30 30 30 30 30 30 36 30 0d 0a
            24 31 0d 0a 76 0d 0a
            """)
        #expect(bench.bytes("write2file0") == expected)
        try log.close()
        let manifest = bench.bytes("manifest")
        #expect(manifest.count == 65_536)
        #expect(
            Array(manifest[..<24])
                == hex(
                    "00 00 00 00 a5 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 00 00 00 00"))
        #expect(manifest[24...].allSatisfy { $0 == 0 })
    }

    /// Records of a file as (type, length), zero filling as (0, bytes).
    private func records(_ bytes: [UInt8], from start: Int) -> [[Int]] {
        var found: [[Int]] = []
        var at = start
        while at < bytes.count {
            let room = 65_536 - at % 65_536
            if room < 8 {
                found.append([0, room])
                #expect(bytes[at..<(at + room)].allSatisfy { $0 == 0 })
                at += room
                continue
            }
            let length = Int(bytes[at]) | Int(bytes[at + 1]) << 8 | Int(bytes[at + 2]) << 16
            found.append([Int(bytes[at + 7]), length])
            at += 8 + length
        }
        return found
    }

    @Test(
        "A 65-byte item near a block's end is split as in the description's table",
        arguments: [
            (9, [[2, 1], [4, 64]], 65_608),
            (8, [[2, 0], [4, 65]], 65_609),
            (7, [[0, 7], [1, 65]], 65_609),
            (1, [[0, 1], [1, 65]], 65_609),
            (65_536, [[1, 65]], 65_609),
        ])
    func splitTable(left: Int, expected: [[Int]], end: UInt64) throws {
        let bench = Bench()
        let log = try bench.open()
        // One item that ends `left` bytes before the block's end.
        let before = 65_536 - (left == 65_536 ? 0 : left)
        try log.append(
            group(contentBytes: before - 8 - 34), execTimeSeconds: Self.time,
            atomicGroup: false)
        #expect(log.end.position == position(0, UInt64(before)))
        try log.append(
            group([["set", "foo", "bar"]]), execTimeSeconds: Self.time, atomicGroup: false)
        #expect(log.end.position == position(0, end))
        #expect(records(bench.bytes("write2file0"), from: before) == expected)
        let items = try log.seen()
        #expect(items.count == 2)
        #expect(items[1].text == "*3\r\n$3\r\nset\r\n$3\r\nfoo\r\n$3\r\nbar\r\n")
        #expect(items[1].end == position(0, end))
        #expect(try log.seen(from: position(0, UInt64(before))) == [items[1]])
        let again = try bench.open()
        #expect(again.end == log.end)
    }

    @Test("An item over several blocks has First, Middle and Last records")
    func longItem() throws {
        let bench = Bench()
        let log = try bench.open()
        try log.append(
            group(contentBytes: 200_000), execTimeSeconds: Self.time, atomicGroup: false)
        let kinds = records(bench.bytes("write2file0"), from: 0)
        #expect(kinds == [[2, 65_528], [3, 65_528], [3, 65_528], [4, 200_034 - 3 * 65_528]])
        #expect(try log.seen().map(\.bytes.count) == [200_034])
    }

    @Test("The file rolls before a put when it is longer than the limit, and not at the limit")
    func rollRule() throws {
        let bench = Bench(fileSizeLimitBytes: 1_024)
        let log = try bench.open()
        try log.append(
            group(contentBytes: 1_024 - 42), execTimeSeconds: 1, atomicGroup: false)
        #expect(log.end.position == position(0, 1_024))
        try log.append(group([["del", "a"]]), execTimeSeconds: 1, atomicGroup: false)
        #expect(log.end.position.fileNumber == 0)
        let before = log.end.position
        try log.append(group([["del", "b"]]), execTimeSeconds: 1, atomicGroup: false)
        #expect(log.end.position.fileNumber == 1)
        let last = try #require(try log.seen().last)
        // The header names the end before the put: the old file.
        #expect(last.header.fileNumber == 0)
        #expect(last.header.offset == before.offset)
        #expect(last.header.logicIndex == 3)
        #expect(log.files().map(\.endOffset) == [before.offset, nil])
        let manifest = bench.bytes("manifest")
        #expect(manifest[0] == 1)
    }

    @Test("The terms of an atomic group count down to 0, also over a roll")
    func groupTerms() throws {
        let bench = Bench(fileSizeLimitBytes: 1_024)
        let log = try bench.open()
        let commands = (0..<40).map { ["set", "key\($0)", "value"] }
        try log.append(group(commands), execTimeSeconds: 1, atomicGroup: true)
        let items = try log.seen()
        #expect(items.map(\.header.itemsLeftInGroup) == (0..<40).reversed().map { UInt32($0) })
        #expect(items.last?.end.fileNumber == 2)
    }

    @Test("An item's header survives encoding, and no prefix of an item decodes")
    func headerPrefixes() throws {
        let header = BinlogItemHeader(
            execTimeSeconds: 0x0102_0304, itemsLeftInGroup: 5, logicIndex: 1 << 40,
            fileNumber: 7, offset: 1 << 33, contentLength: 3)
        var item = [UInt8](repeating: 0xEE, count: 37)
        item.withUnsafeMutableBytes { raw in
            if let base = raw.baseAddress { header.encode(to: base) }
        }
        #expect(try item.withUnsafeBytes { try BinlogItemHeader(item: $0) } == header)
        for count in 0..<item.count {
            let prefix = Array(item[..<count])
            #expect(throws: BinlogItemError.self) {
                try prefix.withUnsafeBytes { _ = try BinlogItemHeader(item: $0) }
            }
        }
        // Type and length are checked; every other byte is a field.
        for offset in [0, 1, 30, 31, 32, 33] {
            var flipped = item
            flipped[offset] ^= 0x10
            #expect(throws: BinlogItemError.self) {
                try flipped.withUnsafeBytes { _ = try BinlogItemHeader(item: $0) }
            }
        }
    }

    @Test("Item contents can be taken back one by one")
    func itemsBuffer() {
        var items = group([["set", "a", "1"], ["set", "b", "2"], ["del", "c"]])
        let count = items.count
        #expect(count == 3)
        items.removeItems(from: 1)
        let left = items.count
        #expect(left == 1)
        items.beginItem(argumentCount: 2)
        items.cancelItem()
        let bytes = items.byteCount
        #expect(bytes == 27)
        let content = Array(items.content(0))
        #expect(String(decoding: content, as: UTF8.self).hasPrefix("*3\r\n$3\r\nset"))
        var long = BinlogItems(reservingBytes: 1, items: 1)
        for index in 0..<300 {
            long.beginItem(argumentCount: 100)
            Array(repeating: UInt8(index & 0xFF), count: index * 10).withUnsafeBytes {
                long.appendArgument($0)
            }
            long.endItem()
        }
        let wanted = Array("*100\r\n$1230\r\n".utf8)
        let found = Array(long.content(123).prefix(wanted.count))
        #expect(found == wanted)
        long.reset()
        let isEmpty = long.isEmpty
        #expect(isEmpty)
    }
}
