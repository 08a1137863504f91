internal import SyncProtocol

/// Why a list of files can't be a snapshot.
public enum SnapshotListError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A name that does not stay inside the snapshot's directory, or is of no known shape.
    case badName(String)
    /// The same file twice.
    case duplicateName(String)
    /// A store without its CURRENT file: RocksDB would take it for empty (F5).
    case storeMissing(String)
    /// More files than the limit.
    case tooManyFiles(count: Int, limit: Int)
    /// No `info`, in a list of a real Pika.
    case infoMissing

    /// A sentence for operators, without a final stop.
    public var description: String {
        switch self {
        case .badName(let name): "the list holds a file name that is not allowed: \(name)"
        case .duplicateName(let name): "the list holds \(name) twice"
        case .storeMissing(let store): "the list lacks \(store)/CURRENT"
        case .tooManyFiles(let count, let limit):
            "the list holds \(count) files, the limit is \(limit)"
        case .infoMissing: "the list lacks the info file"
        }
    }
}

/// What is known of a snapshot's files, checked: names are confined to the five stores' directories.
public enum SnapshotPlan {
    /// The directories of a database, in the order of Pika's lists.
    public static let stores = ["strings", "hashes", "lists", "zsets", "sets"]

    /// The file that a real Pika writes last: where its binlog stood.
    public static let infoName = "info"

    /// Checks the names of a list.
    ///
    /// - Parameter requiresInfo: The snapshot's position is only in `info` (a real Pika).
    public static func check(
        _ names: [String], requiresInfo: Bool
    ) throws(SnapshotListError) {
        guard names.count <= WireLimits.maxFilesPerSnapshot else {
            throw .tooManyFiles(count: names.count, limit: WireLimits.maxFilesPerSnapshot)
        }
        var seen = Set<String>(minimumCapacity: names.count)
        for name in names {
            guard Self.isAllowed(name) else { throw .badName(name) }
            guard seen.insert(name).inserted else { throw .duplicateName(name) }
        }
        for store in Self.stores where !seen.contains("\(store)/CURRENT") {
            throw .storeMissing(store)
        }
        if requiresInfo, !seen.contains(Self.infoName) { throw .infoMissing }
    }

    /// Whether a name is `info`, or a plain name in one of the five stores' directories.
    public static func isAllowed(_ name: String) -> Bool {
        guard name.utf8.count <= WireLimits.maxFileNameBytes else { return false }
        if Self.isPlain(name[...]) { return !Self.stores.contains(name) && !name.isEmpty }
        let parts = name.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, Self.stores.contains(String(parts[0])) else { return false }
        return Self.isPlain(parts[1])
    }

    private static func isPlain(_ part: Substring) -> Bool {
        guard !part.isEmpty, part != ".", part != ".." else { return false }
        return part.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "-"):
                true
            default:
                false
            }
        }
    }

    /// The order of the copy: `info` first (its position makes a resume at a real Pika possible),
    /// then as listed.
    public static func ordered(_ names: [String]) -> [Int] {
        names.indices.sorted { left, right in
            let (leftInfo, rightInfo) = (names[left] == infoName, names[right] == infoName)
            return leftInfo == rightInfo ? left < right : leftInfo
        }
    }
}

/// One file of a copy.
struct ReceivedFile: Equatable, Sendable {
    enum Check: Equatable, Sendable {
        /// Bytes are missing.
        case open
        /// All bytes are here; the shell reads them back.
        case running
        /// Read back: what was computed.
        case done(digest: UInt64)
    }

    let name: String
    /// nil until the end was seen (a real Pika tells no sizes).
    var sizeBytes: UInt64?
    /// The master's digest of the whole file, once it told.
    var digest: UInt64?
    /// Everything below is stored.
    var prefix: UInt64 = 0
    /// Stored ranges behind the prefix, in order.
    var islands: [Range<UInt64>] = []
    /// Ranges to be asked for before anything new: lost or wrong ones.
    var wanted: [Range<UInt64>] = []
    /// The next new byte to be asked for.
    var next: UInt64 = 0
    var check = Check.open
    /// How often the whole file was begun anew.
    var restarts = 0

    init(name: String, sizeBytes: UInt64?, digest: UInt64?) {
        self.name = name
        self.sizeBytes = sizeBytes
        self.digest = digest
    }

    /// Whether every byte is stored.
    var isWhole: Bool { self.sizeBytes == self.prefix }

    /// Whether there is something to ask for.
    var hasRequest: Bool {
        guard self.check == .open else { return false }
        if !self.wanted.isEmpty { return true }
        return self.sizeBytes.map { self.next < $0 } ?? true
    }

    /// Takes the next range to ask for; an unknown size gives ranges without end.
    mutating func takeRange(upTo bytes: UInt64) -> Range<UInt64>? {
        if let first = self.wanted.first {
            let count = min(bytes, first.upperBound - first.lowerBound)
            let range = first.lowerBound..<first.lowerBound + count
            if count == first.upperBound - first.lowerBound {
                self.wanted.removeFirst()
            } else {
                self.wanted[0] = range.upperBound..<first.upperBound
            }
            return range
        }
        let left = self.sizeBytes.map { $0 - min($0, self.next) } ?? .max
        // An empty file of a known size needs no request.
        guard left > 0 else { return nil }
        let range = self.next..<self.next + min(bytes, left)
        self.next = range.upperBound
        return range
    }

    /// Puts a range back that did not come, came short or was wrong.
    mutating func giveBack(_ range: Range<UInt64>) {
        guard !range.isEmpty else { return }
        self.wanted.append(range)
        self.wanted.sort { $0.lowerBound < $1.lowerBound }
    }

    /// Notes a stored range; returns how many bytes of it were stored before.
    mutating func store(_ range: Range<UInt64>) -> UInt64 {
        var twice = min(range.upperBound, max(range.lowerBound, self.prefix)) - range.lowerBound
        for island in self.islands {
            let overlap = island.clamped(to: range)
            twice += overlap.isEmpty ? 0 : overlap.upperBound - overlap.lowerBound
        }
        if range.upperBound > self.prefix {
            self.islands.append(max(range.lowerBound, self.prefix)..<range.upperBound)
            self.islands.sort { $0.lowerBound < $1.lowerBound }
        }
        while let first = self.islands.first, first.lowerBound <= self.prefix {
            self.prefix = max(self.prefix, first.upperBound)
            self.islands.removeFirst()
        }
        return twice
    }

    /// Takes over what an earlier run left; returns how many bytes that is.
    mutating func take(prefix: UInt64, islands: [Range<UInt64>]) -> UInt64 {
        self.prefix = prefix
        self.next = prefix
        var bytes = prefix
        // Without a size the ranges come one after the other: there are no islands then.
        guard self.sizeBytes != nil else { return bytes }
        self.islands = islands
        for island in islands {
            self.giveBack(self.next..<island.lowerBound)
            self.next = island.upperBound
            bytes += island.upperBound - island.lowerBound
        }
        return bytes
    }

    /// Begins the file anew.
    mutating func restart() {
        self.prefix = 0
        self.islands = []
        self.wanted = []
        self.next = 0
        self.check = .open
        self.restarts += 1
    }

    /// Takes ranges that were read back wrong out of what is stored.
    mutating func remove(_ ranges: [Range<UInt64>]) {
        let end = self.prefix
        self.check = .open
        guard let first = ranges.map(\.lowerBound).min() else { return }
        var kept: [Range<UInt64>] = []
        var position = first
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if range.lowerBound > position { kept.append(position..<range.lowerBound) }
            position = max(position, range.upperBound)
            self.giveBack(range)
        }
        if position < end { kept.append(position..<end) }
        self.islands = kept + self.islands
        self.prefix = first
    }
}
