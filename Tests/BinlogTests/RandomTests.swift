import Binlog
import FileIO
import SyncProtocol
import TestKit
import Testing

/// Random lives of a log against a list of what was appended.
///
/// Rules that must hold whatever happens: after a kill every whole group is there; after a power
/// loss everything durable is there, and what is there is a prefix of what was appended, in whole
/// groups.
struct RandomLife {
    private var random: SeededRandom
    private let bench: Bench
    private var log: BinlogLog

    /// The appended items in order, with the marks of group ends.
    private var items: [SeenItem] = []
    private var groupEnds: [BinlogMark] = [.zero]
    private var published = BinlogMark.zero

    init(seed: UInt64) throws {
        random = SeededRandom(seed: seed)
        bench = Bench(
            fileSizeLimitBytes: [1_024, 5_000, 70_000].randomElement(using: &random) ?? 1_024)
        log = try bench.open()
    }

    mutating func run(steps: Int) throws {
        for step in 0..<steps {
            switch Int.random(in: 0..<100, using: &random) {
            case 0..<55: try append()
            case 55..<65: published = groupEnds.last ?? .zero
            case 65..<78: try sync()
            case 78..<84: try failAppend()
            case 84..<87: try cutBack()
            case 87..<89: try newFile()
            case 89..<91: purge()
            case 91..<96: try kill()
            default: try losePower(seed: UInt64(step))
            }
        }
        try kill()
        try check()
    }

    private mutating func randomGroup() -> BinlogItems {
        var items = BinlogItems()
        let count = Int.random(in: 1...4, using: &random)
        for _ in 0..<count {
            let size =
                random.chance(0.05)
                ? Int.random(in: 60_000...140_000, using: &random)
                : Int.random(in: 1...300, using: &random)
            let fill = UInt8.random(in: 0...255, using: &random)
            [UInt8](repeating: fill, count: size).withUnsafeBytes { items.appendItem(content: $0) }
        }
        return items
    }

    private mutating func append() throws {
        let before = log.end.position
        let group = randomGroup()
        let end = try log.append(
            group, execTimeSeconds: UInt32(items.count), atomicGroup: random.chance(0.7))
        items += try log.seen(from: before)
        groupEnds.append(end)
    }

    private mutating func sync() throws {
        let outcome = try log.sync(published: published)
        #expect(outcome.durable == log.end.position)
    }

    private mutating func failAppend() throws {
        bench.disk.inject(
            InjectedFault(
                random.chance(0.8) ? .write : .create,
                onCall: Int.random(in: 1...3, using: &random),
                code: 28, bytesWrittenBefore: Int.random(in: 0...200, using: &random)))
        let end = log.end
        let group = randomGroup()
        let before = log.end.position
        do throws(BinlogError) {
            groupEnds.append(try log.append(group, execTimeSeconds: 1, atomicGroup: true))
            bench.disk.clearFaults()
        } catch {
            bench.disk.clearFaults()
            #expect(log.end == end)
            return
        }
        items += try log.seen(from: before)
    }

    /// A store refused the last group after it was appended.
    private mutating func cutBack() throws {
        guard groupEnds.count >= 2 else { return }
        let target = groupEnds[groupEnds.count - 2]
        guard target.position >= published.position, target.position >= log.start else { return }
        try log.truncate(to: target)
        groupEnds.removeLast()
        items.removeAll { $0.end > target.position }
    }

    private mutating func newFile() throws {
        groupEnds.append(try log.startNewFile())
        if published == groupEnds[groupEnds.count - 2] {
            published = groupEnds[groupEnds.count - 1]
        }
    }

    private mutating func purge() {
        let file = log.files()[0].number
        if let first = try? log.purge([file]).first {
            items.removeAll { $0.end.fileNumber <= first }
        }
    }

    private mutating func kill() throws {
        let end = log.end
        bench.disk.crash(.kill)
        log = try bench.open()
        #expect(log.end == end)
        published = log.end
        try check()
    }

    private mutating func losePower(seed: UInt64) throws {
        let durable = log.durable
        bench.disk.crash(random.chance(0.3) ? .powerLoss : .tornPowerLoss(seed: seed))
        log = try bench.open(.powerLoss, .own, requiredEnd: durable)
        let end = log.end
        #expect(end.position >= durable)
        #expect(groupEnds.contains(end), "end \(end) is no group end")
        items.removeAll { $0.end > end.position }
        groupEnds.removeAll { $0.position > end.position }
        try check()
        // A position is never used twice for different items.
        let start = try log.startNewFile()
        groupEnds.append(start)
        published = start
    }

    private func check() throws {
        let seen = try log.seen()
        #expect(seen.count == items.count)
        #expect(seen == items.filter { $0.end > log.start })
    }
}

@Suite("Random lives of a binlog")
struct RandomTests {
    @Test("Kills, power losses, failing writes, cuts and purges", arguments: 0..<12)
    func life(seed: Int) throws {
        var life = try RandomLife(seed: UInt64(seed) &* 7_919 &+ 11)
        try life.run(steps: 120)
    }

    @Test("No bytes make the reader trap or loop", arguments: 0..<4)
    func garbage(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        let bench = Bench()
        let log = try bench.open()
        for _ in 0..<30 {
            try log.append(
                group(contentBytes: Int.random(in: 1...9_000, using: &random)),
                execTimeSeconds: 1, atomicGroup: false)
        }
        let good = bench.bytes("write2file0")
        for _ in 0..<60 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                let at = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[at] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.removeLast(bytes.count - at)
                default: bytes.insert(contentsOf: random.bytes(9), at: at)
                }
                if bytes.isEmpty { bytes = [1] }
            }
            let disk = Bench()
            try disk.disk.makeDirectory(disk.directory)
            disk.disk.setContents(disk.path("write2file0"), bytes)
            for recovery in [BinlogRecovery.sameBoot, .foreignWriter] {
                do throws(BinlogError) {
                    let opened = try disk.open(recovery)
                    #expect(opened.end.position.offset <= UInt64(bytes.count))
                } catch {
                    #expect(error.isAboutContent)
                }
            }
        }
    }
}
