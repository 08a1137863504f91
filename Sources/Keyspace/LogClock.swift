/// The log's clock: what "now" means for an item, wherever and whenever it is applied.
///
/// The effective now of an item is its exec_time, but at most two seconds before the highest
/// effective now of the items before it: groups may be appended in another order than they were
/// sampled, and a machine's clock may be set back.
struct LogClock: Equatable, Sendable {
    /// Seconds by which an item's time may lie before that of its predecessors.
    static let toleranceSeconds: Int64 = 2

    /// The highest effective now so far; 0 if there was none.
    var highest: Int64 = 0

    /// The effective now of an item that is logged next.
    func effective(execTimeSeconds: Int64) -> Int64 {
        max(execTimeSeconds, highest - Self.toleranceSeconds)
    }

    /// Moves on behind an item; returns its effective now.
    @discardableResult
    mutating func advance(execTimeSeconds: Int64) -> Int64 {
        let effective = effective(execTimeSeconds: execTimeSeconds)
        highest = max(highest, effective)
        return effective
    }
}
