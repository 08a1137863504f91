/// A file or a directory in memory, with what a power loss would leave of it.
final class MemoryNode {
    static let pageSize = 4_096
    static let sectorSize = 512

    let inode: UInt64
    let isDirectory: Bool

    /// What every process sees.
    var data: [UInt8] = []
    var entries: [String: MemoryNode] = [:]

    /// What is on the device for sure.
    private(set) var durableData: [UInt8] = []
    var durableEntries: [String: MemoryNode] = [:]

    var modifiedSeconds: Int64 = 0
    private var dirtyPages: Set<Int> = []

    init(inode: UInt64, isDirectory: Bool) {
        self.inode = inode
        self.isDirectory = isDirectory
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
        let end = offset + bytes.count
        if data.count < end {
            noteDirty(from: data.count, to: end)
            data.append(contentsOf: repeatElement(0, count: end - data.count))
        }
        noteDirty(from: offset, to: end)
        data.withUnsafeMutableBytes { target in
            UnsafeMutableRawBufferPointer(rebasing: target[offset..<end]).copyMemory(from: bytes)
        }
    }

    func truncate(to size: Int) {
        if size < data.count {
            data.removeLast(data.count - size)
        } else {
            noteDirty(from: data.count, to: size)
            data.append(contentsOf: repeatElement(0, count: size - data.count))
        }
    }

    private func noteDirty(from start: Int, to end: Int) {
        guard end > start else { return }
        for page in (start / Self.pageSize)...((end - 1) / Self.pageSize) {
            dirtyPages.insert(page)
        }
    }

    /// What `fdatasync` does.
    func synchronize() {
        if durableData.count > data.count {
            durableData.removeLast(durableData.count - data.count)
        }
        for page in dirtyPages.sorted() {
            let start = page * Self.pageSize
            let end = min(start + Self.pageSize, data.count)
            guard end > start else { continue }
            if durableData.count < end {
                durableData.append(contentsOf: repeatElement(0, count: end - durableData.count))
            }
            durableData.replaceSubrange(start..<end, with: data[start..<end])
        }
        dirtyPages.removeAll()
    }

    /// The content becomes what a power loss leaves.
    func losePower(_ loss: inout PowerLoss) {
        var left = durableData
        if data.count != durableData.count, loss.keepsUnsynced() {
            if data.count < left.count {
                left.removeLast(left.count - data.count)
            } else {
                left.append(contentsOf: repeatElement(0, count: data.count - left.count))
            }
        }
        for page in dirtyPages.sorted() {
            let start = page * Self.pageSize
            let end = min(start + Self.pageSize, data.count, left.count)
            guard end > start else { continue }
            switch loss.fateOfPage() {
            case .kept:
                left.replaceSubrange(start..<end, with: data[start..<end])
            case .lost:
                break
            case .torn:
                for sector in stride(from: start, to: end, by: Self.sectorSize)
                where loss.keepsUnsynced() {
                    let stop = min(sector + Self.sectorSize, end)
                    left.replaceSubrange(sector..<stop, with: data[sector..<stop])
                }
            }
        }
        data = left
        durableData = left
        dirtyPages.removeAll()
    }
}

/// What a power loss does to that which was not synced.
struct PowerLoss {
    enum Fate {
        case kept
        case lost
        case torn
    }

    /// Nil: everything unsynced is lost.
    var random: SeededRandom?

    mutating func keepsUnsynced() -> Bool { random?.chance(0.5) ?? false }

    mutating func fateOfPage() -> Fate {
        guard random != nil else { return .lost }
        let dice = Int.random(in: 0..<10, using: &self)
        return dice < 4 ? .lost : dice < 8 ? .kept : .torn
    }
}

extension PowerLoss: RandomNumberGenerator {
    mutating func next() -> UInt64 {
        random?.next() ?? 0
    }
}
