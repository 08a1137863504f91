/// The value of `client-output-buffer-limit`.
struct OutputLimits: Equatable {
    /// What the shipped file says.
    static let usual = "pubsub 33554432 8388608 60"

    var pubsub: PushLimits

    /// Parses `pubsub hard soft seconds`; the other classes of Redis are taken only where they
    /// promise nothing: `normal 0 0 0`, and any limit of replicas, which have limits of their own.
    init?(_ text: String) {
        let words = text.lowercased().split(separator: " ", omittingEmptySubsequences: true)
        guard words.count % 4 == 0, !words.isEmpty else { return nil }
        pubsub = PushLimits()
        for start in stride(from: 0, to: words.count, by: 4) {
            guard let hard = Self.size(words[start + 1]), let soft = Self.size(words[start + 2]),
                let seconds = Int(words[start + 3]), (0...1_000_000_000).contains(seconds)
            else { return nil }
            switch words[start] {
            case "pubsub":
                pubsub = PushLimits(hardBytes: hard, softBytes: soft, softSeconds: seconds)
            case "normal":
                guard hard == 0, soft == 0 else { return nil }
            case "slave", "replica": break
            default: return nil
            }
        }
    }

    /// Bytes, with Redis's units.
    private static func size(_ word: Substring) -> Int? {
        var digits = word
        if digits.hasSuffix("b") { digits = digits.dropLast() }
        guard let value = ConfType.size(String(digits)), value >= 0 else { return nil }
        return value
    }

    /// As CONFIG GET shows it.
    var text: String {
        "pubsub \(pubsub.hardBytes) \(pubsub.softBytes) \(pubsub.softSeconds)"
    }
}
