/// Follows the countdown in the items' `term` and says where atomic groups begin and end.
///
/// Feed it every item in log order. A run that does not count down by one to 0 is no group: its
/// items are complete single items. (Terms come through from a real 3.5.0, are lost by a 3.5.5, and
/// a real Pika promoted inside a group leaves a run unfinished.)
public struct GroupTracker: Sendable, Equatable {
    /// What an item means for the groups.
    public enum Step: Sendable, Equatable {
        /// The item, and everything before it, is complete.
        case complete

        /// The item begins a group: what came before is complete.
        case begins

        /// The item continues the group.
        case continues
    }

    /// The items of the group so far; 0 outside a group.
    public private(set) var itemsInGroup = 0

    private var expected: UInt32 = 0

    /// Creates a tracker that stands outside a group.
    public init() {}

    /// Whether a group is unfinished.
    public var isInsideGroup: Bool { itemsInGroup > 0 }

    /// Takes the next item's `term`.
    public mutating func take(itemsLeftInGroup term: UInt32) -> Step {
        if itemsInGroup > 0 && term == expected {
            if term == 0 {
                itemsInGroup = 0
                return .complete
            }
            itemsInGroup += 1
            expected = term - 1
            return .continues
        }
        guard term > 0, Int(term) < BinlogLimits.maxGroupItems else {
            itemsInGroup = 0
            return .complete
        }
        itemsInGroup = 1
        expected = term - 1
        return .begins
    }
}
