import TestKit
import Testing

@testable import PikaStorage

@Suite("Elements that are known to be there")
struct KnownElementsTests {
    @Test("A table is the largest power of two within its limit, and none without room for a line")
    func size() throws {
        #expect(KnownElements(limitBytes: 63) == nil)
        #expect(try #require(KnownElements(limitBytes: 64)).sizeBytes == 64)
        #expect(try #require(KnownElements(limitBytes: 1000)).sizeBytes == 512)
    }

    @Test("What was put in is known until it is taken out, or others needed its place")
    func placesAreTakenOver() throws {
        let known = try #require(KnownElements(limitBytes: 64))
        let names = (0..<40).map { "element \($0)" }
        func isKnown(_ name: String) -> Bool { with(name) { known.contains($0) } }
        for name in names {
            with(name) { known.insert($0) }
            with(name) { known.insert($0) }
            #expect(isKnown(name))
        }
        let kept = names.filter(isKnown)
        #expect((1...4).contains(kept.count), "a line has four places")
        for name in kept {
            with(name) { known.remove($0) }
            #expect(!isKnown(name))
        }
        #expect(names.allSatisfy { !isKnown($0) })
    }

    @Test("Writers of different elements in one line never make one known that was taken out")
    func linesAreShared() async throws {
        let known = try #require(KnownElements(limitBytes: 64))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for writer in 0..<4 {
                group.addTask {
                    for round in 0..<20_000 {
                        let name = "writer \(writer) element \(round % 3)"
                        try with(name) { row in
                            known.insert(row)
                            known.remove(row)
                            try #require(!known.contains(row))
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    @Test(
        "Hashes and sets count right, whatever was remembered, evicted, deleted or taken back",
        arguments: [64, 512, 1 << 20])
    func elementsAgreeWithModel(cacheBytes: Int) throws {
        let directory = try TemporaryDirectory()
        var options = StoreOptions()
        options.rowCacheBytes = 8 * cacheBytes
        let hashStore = try openStore(directory("hashes"), .hashes, options: options)
        defer { hashStore.close(flush: false) }
        let setStore = try openStore(directory("sets"), .sets, options: options)
        defer { setStore.close(flush: false) }
        let hashes = (0..<2).map { _ in Hashes(hashStore.makeTransaction()) }
        let sets = (0..<2).map { _ in Sets(setStore.makeTransaction()) }
        let now: Int64 = 1_700_000_000
        var random = SeededRandom(seed: testSeed)
        var committed = (fields: Set<String>(), members: Set<String>())
        for round in 0..<600 {
            let who = Int(random.next() % 2)
            var model = committed
            for _ in 0..<random.next() % 30 {
                let name = "element \(random.next() % 150)"
                let comment: Comment = "round \(round), PIKA_TEST_SEED=\(testSeed)"
                try with("k") { key in
                    try with(name) { element in
                        var elements = element
                        try withUnsafePointer(to: &elements) { pointer in
                            let list = UnsafeBufferPointer(start: pointer, count: 1)
                            switch random.next() % 5 {
                            case 0...1:
                                let isNew = try hashes[who].set(key, element, element, now: now)
                                try #require(isNew == model.fields.insert(name).inserted, comment)
                            case 2:
                                let count = try hashes[who].delete(key, list, now: now)
                                try #require(
                                    count == (model.fields.remove(name) == nil ? 0 : 1), comment)
                            case 3:
                                let count = try sets[who].add(key, list, now: now)
                                try #require(
                                    count == (model.members.insert(name).inserted ? 1 : 0), comment)
                            default:
                                let count = try sets[who].remove(key, list, now: now)
                                try #require(
                                    count == (model.members.remove(name) == nil ? 0 : 1), comment)
                            }
                        }
                    }
                }
            }
            if random.next() % 5 == 0 {
                hashes[who].transaction.reset()
                sets[who].transaction.reset()
            } else {
                #expect(try hashes[who].transaction.commit(applied: nil, mode: .waiting) == .done)
                #expect(try sets[who].transaction.commit(applied: nil, mode: .waiting) == .done)
                committed = model
            }
        }
        let known = try #require(hashStore.knownElements)
        #expect(known.sizeBytes == cacheBytes)
        #expect(setStore.rowCacheUsageBytes >= cacheBytes)
    }
}
