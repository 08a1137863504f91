import Foundation
import PikaStorage
import SyncProtocol
import Testing

/// A directory that goes away with the test.
final class TemporaryDirectory {
    let path: String

    init() throws {
        var template = Array(
            (NSTemporaryDirectory() + "pika-storage-" + String(repeating: "X", count: 6))
                .utf8CString)
        guard mkdtemp(&template) != nil else { throw POSIXError(.EIO) }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// A path inside.
    func callAsFunction(_ name: String) -> String { path + "/" + name }
}

/// The `db` directory of a recorded server, copied so that a test may write to it.
func copyFixture(_ name: String, into directory: TemporaryDirectory) throws -> String {
    let source = try #require(Bundle.module.url(forResource: "Fixtures", withExtension: nil))
        .appendingPathComponent(name)
    let target = directory(name)
    try FileManager.default.copyItem(at: source, to: URL(fileURLWithPath: target))
    return target
}

func fixtureText(_ name: String) throws -> String {
    let folder = try #require(Bundle.module.url(forResource: "Fixtures", withExtension: nil))
    return try String(contentsOf: folder.appendingPathComponent(name), encoding: .utf8)
}

let testEnvironment = StoreEnvironment(blockCacheBytes: 8 << 20, writeBufferBytes: 64 << 20)

/// Options with which tests see flushes and compactions early.
func smallOptions(memtableBytes: Int = 1 << 20) -> StoreOptions {
    var options = StoreOptions()
    options.memtableBytes = memtableBytes
    return options
}

func openStore(
    _ path: String, _ kind: StoreKind, options: StoreOptions = smallOptions(),
    hooks: StoreHooks = StoreHooks()
) throws -> Store {
    try Store.open(
        path: path, kind: kind, options: options, environment: testEnvironment, hooks: hooks)
}

/// The five stores of one database.
final class TestDatabase {
    let directory: TemporaryDirectory
    private(set) var stores: [Store] = []
    let set: TransactionSet

    init(
        _ directory: TemporaryDirectory, path: String? = nil, options: StoreOptions = smallOptions()
    )
        throws
    {
        self.directory = directory
        let path = path ?? directory("db0")
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: true)
        for kind in StoreKind.allCases {
            stores.append(
                try openStore(path + "/" + kind.directoryName, kind, options: options))
        }
        set = TransactionSet(
            strings: stores[0], hashes: stores[1], lists: stores[2], sets: stores[3],
            zsets: stores[4])
    }

    func commit(_ applied: AppliedPosition? = nil) throws {
        for kind in StoreKind.allCases {
            _ = try set[kind].commit(applied: applied, mode: .waiting)
        }
    }

    func close() throws {
        for store in stores {
            if let failure = store.close() { throw failure }
        }
        stores = []
    }

    deinit { for store in stores { store.close() } }
}

/// Calls `body` with the bytes of an array.
func with<R>(_ array: [UInt8], _ body: (Bytes) throws -> R) rethrows -> R {
    try array.withUnsafeBytes(body)
}

/// Calls `body` with the bytes of a text.
func with<R>(_ text: String, _ body: (Bytes) throws -> R) rethrows -> R {
    try Array(text.utf8).withUnsafeBytes(body)
}

/// Calls `body` with an argument list.
func with<R>(
    list arrays: [[UInt8]], _ body: (UnsafeBufferPointer<Bytes>) throws -> R
) rethrows -> R {
    // One block for all, so that the pointers stay good.
    let all = UnsafeMutableRawBufferPointer.allocate(
        byteCount: max(arrays.reduce(0) { $0 + $1.count }, 1), alignment: 1)
    defer { all.deallocate() }
    var slices: [Bytes] = []
    var offset = 0
    for array in arrays {
        let part = UnsafeMutableRawBufferPointer(rebasing: all[offset..<offset + array.count])
        part.copyBytes(from: array)
        slices.append(Bytes(part))
        offset += array.count
    }
    return try slices.withUnsafeBufferPointer(body)
}

func with<R>(
    list texts: [String], _ body: (UnsafeBufferPointer<Bytes>) throws -> R
) rethrows -> R {
    try with(list: texts.map { Array($0.utf8) }, body)
}

/// Bytes from hexadecimal digits; blanks and bars are skipped.
func hex(_ text: String) -> [UInt8] {
    let digits = text.compactMap { $0.hexDigitValue }
    return stride(from: 0, to: digits.count - 1, by: 2).map {
        UInt8(digits[$0] << 4 | digits[$0 + 1])
    }
}

/// All rows of a family, own writes included.
func rows(_ transaction: StoreTransaction, _ family: Family) throws -> [[UInt8]: [UInt8]] {
    var rows: [[UInt8]: [UInt8]] = [:]
    try transaction.scan(family, prefix: .none, from: nil) { key, value in
        rows[Array(key)] = Array(value)
        return true
    }
    return rows
}

func position(_ offset: UInt64, now: Int64 = 1_700_000_000, file: UInt32 = 0) -> AppliedPosition {
    AppliedPosition(
        historyID: .zero, position: BinlogPosition(fileNumber: file, offset: offset),
        highestEffectiveNow: now)
}

/// Names and sizes of the files in a directory.
func listing(_ path: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: path).sorted().map { name in
        let attributes = try FileManager.default.attributesOfItem(atPath: path + "/" + name)
        return "\(name) \(attributes[.size] ?? 0)"
    }
}

/// The seed of random tests: PIKA_TEST_SEED, or a new one.
let testSeed: UInt64 = {
    guard let text = ProcessInfo.processInfo.environment["PIKA_TEST_SEED"] else {
        return UInt64.random(in: 0...999_999)
    }
    return UInt64(text) ?? text.utf8.reduce(0) { $0 &* 31 &+ UInt64($1) }
}()
