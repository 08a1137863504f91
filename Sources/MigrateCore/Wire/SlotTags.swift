/// A short text for each slot of a cluster: a key with it in braces lies in that slot.
public enum SlotTags {
    /// Slots of a cluster.
    public static let slotCount = 16_384

    private static let digits = Array(
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)

    private static let tags: [[UInt8]] = {
        var found = [[UInt8]](repeating: [], count: Self.slotCount)
        var missing = Self.slotCount
        for first in Self.digits {
            for second in Self.digits {
                for third in Self.digits where missing > 0 {
                    let tag = [first, second, third]
                    let slot = KeyHash.slot(tag)
                    guard found[slot].isEmpty else { continue }
                    found[slot] = tag
                    missing -= 1
                }
            }
        }
        precondition(missing == 0, "\(missing) slots have no tag of three letters")
        return found
    }()

    /// The text for a slot.
    public static func tag(_ slot: Int) -> [UInt8] { Self.tags[slot] }
}
