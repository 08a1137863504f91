import Foundation
import TestKit
import Testing

@testable import PikaStorage

@Suite("How stores are opened")
struct StoreOptionsTests {
    @Test("Strings wait until level 0 holds as much as level 1, other types for four files")
    func triggers() {
        var options = StoreOptions()
        options.memtableBytes = 16 << 20
        #expect(options.level0Trigger(of: .strings) == 16)
        options.memtableBytes = 1 << 20
        #expect(options.level0Trigger(of: .strings) == 16, "no more files, however small")
        options.memtableBytes = 128 << 20
        #expect(options.level0Trigger(of: .strings) == 4)
        for kind in StoreKind.allCases where kind != .strings {
            #expect(options.level0Trigger(of: kind) == 4)
        }
    }

    @Test("With mapped files every key is read, its store compacted and opened again")
    func mappedFiles() throws {
        let directory = try TemporaryDirectory()
        var options = smallOptions()
        options.mapsFiles = true
        options.compression = .snappy
        var store = try openStore(directory("strings"), .strings, options: options)
        for round in 0..<3 {
            let strings = Strings(store.makeTransaction())
            for number in 0..<100 {
                try with("key \(number)") { key in
                    try with("\(round) \(number)") { try strings.set(key, $0) }
                }
            }
            #expect(try strings.transaction.commit(applied: nil, mode: .waiting) == .done)
            try store.flush()
            if round == 1 { try store.compact() }
        }
        store.close(flush: true)
        store = try openStore(directory("strings"), .strings, options: options)
        defer { store.close(flush: false) }
        let strings = Strings(store.makeTransaction())
        for number in 0..<100 {
            try with("key \(number)") { key in
                let value = try strings.withValue(key, now: 1) { value, _ in
                    value.map { Array($0) }
                }
                #expect(value == Array("2 \(number)".utf8))
            }
        }
        let maps = try #require(FileHandle(forReadingAtPath: "/proc/self/maps"))
        let mappings = String(decoding: try maps.readToEnd() ?? Data(), as: UTF8.self)
        let isMapped = mappings.contains(directory("strings"))
        #expect(isMapped)
    }

    @Test("Twelve flushes of strings stay twelve files, and every key is read from them")
    func filesStay() throws {
        let directory = try TemporaryDirectory()
        let store = try openStore(directory("strings"), .strings, options: smallOptions())
        defer { store.close(flush: false) }
        let strings = Strings(store.makeTransaction())
        for number in 0..<12 {
            try with("key \(number)") { key in
                try strings.set(key, key)
                try with("shared") { try strings.set($0, key) }
            }
            #expect(try strings.transaction.commit(applied: nil, mode: .waiting) == .done)
            try store.flush()
        }
        let tables = try FileManager.default.contentsOfDirectory(atPath: directory("strings"))
            .filter { $0.hasSuffix(".sst") }
        #expect(tables.count == 12)
        for number in 0..<12 {
            try with("key \(number)") { key in
                let value = try strings.withValue(key, now: 1) { value, _ in
                    value.map { Array($0) }
                }
                #expect(value == Array("key \(number)".utf8))
            }
        }
    }
}
