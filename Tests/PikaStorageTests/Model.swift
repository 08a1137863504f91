import PikaStorage

/// A small generator with a seed: the same numbers in every run.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
    mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
    mutating func pick<T>(_ choices: [T]) -> T { choices[below(choices.count)] }
}

/// What the stores should hold, in dictionaries.
struct Model {
    struct Entry<Value> {
        var value: Value
        var expiry: Int64 = 0
    }

    var now: Int64
    var strings: [String: Entry<String>] = [:]
    var hashes: [String: Entry<[String: String]>] = [:]
    var lists: [String: Entry<[String]>] = [:]
    var sets: [String: Entry<Set<String>>] = [:]
    var zsets: [String: Entry<[String: Double]>] = [:]

    /// Drops what has expired by now.
    mutating func expire() {
        let now = now
        func isLive(_ expiry: Int64) -> Bool { expiry == 0 || expiry >= now }
        strings = strings.filter { isLive($0.value.expiry) }
        hashes = hashes.filter { isLive($0.value.expiry) && !$0.value.value.isEmpty }
        lists = lists.filter { isLive($0.value.expiry) && !$0.value.value.isEmpty }
        sets = sets.filter { isLive($0.value.expiry) && !$0.value.value.isEmpty }
        zsets = zsets.filter { isLive($0.value.expiry) && !$0.value.value.isEmpty }
    }

    func kinds(_ key: String) -> StoreKinds {
        var kinds: StoreKinds = []
        if strings[key] != nil { kinds.insert(.strings) }
        if hashes[key] != nil { kinds.insert(.hashes) }
        if lists[key] != nil { kinds.insert(.lists) }
        if sets[key] != nil { kinds.insert(.sets) }
        if zsets[key] != nil { kinds.insert(.zsets) }
        return kinds
    }

    mutating func delete(_ key: String) {
        strings[key] = nil
        hashes[key] = nil
        lists[key] = nil
        sets[key] = nil
        zsets[key] = nil
    }

    mutating func setExpiry(_ key: String, _ expiry: Int64) {
        strings[key]?.expiry = expiry
        hashes[key]?.expiry = expiry
        lists[key]?.expiry = expiry
        sets[key]?.expiry = expiry
        zsets[key]?.expiry = expiry
    }

    func withDeadline(_ key: String) -> StoreKinds {
        var kinds: StoreKinds = []
        if strings[key]?.expiry ?? 0 != 0 { kinds.insert(.strings) }
        if hashes[key]?.expiry ?? 0 != 0 { kinds.insert(.hashes) }
        if lists[key]?.expiry ?? 0 != 0 { kinds.insert(.lists) }
        if sets[key]?.expiry ?? 0 != 0 { kinds.insert(.sets) }
        if zsets[key]?.expiry ?? 0 != 0 { kinds.insert(.zsets) }
        return kinds
    }

    func sorted(_ key: String) -> [(String, Double)] {
        (zsets[key]?.value ?? [:]).map { ($0.key, $0.value) }.sorted {
            $0.1 != $1.1 ? $0.1 < $1.1 : Array($0.0.utf8).lexicographicallyPrecedes($1.0.utf8)
        }
    }
}

func flat(_ members: [(String, Double)]) -> [String] {
    members.flatMap { [$0.0, shortest($0.1)] }
}

/// Scores 0 and -0 alike: to the comparator their rows are one, and from high to low RocksDB may show
/// the bytes of an older one.
func foldingZeros(_ texts: [String]) -> [String] { texts.map { $0 == "-0" ? "0" : $0 } }

func byBytes(_ texts: some Sequence<String>) -> [String] {
    texts.sorted { Array($0.utf8).lexicographicallyPrecedes($1.utf8) }
}
