/// Events for a machine, each with the bytes that came with it, handled one after the other.
///
/// A write that fails makes the channel deliver what it has read from within `flush`: so an event
/// can come while another one is being handled, and has to wait for its turn.
struct EventTurns<Event, Bytes> {
    private var waiting: [(event: Event, bytes: Bytes?)] = []
    private var isTaking = false
    /// What came with the event that is being handled.
    private(set) var bytes: Bytes?

    /// Adds an event that somebody else takes.
    mutating func append(_ event: Event, _ bytes: Bytes? = nil) {
        self.waiting.append((event, bytes))
    }

    /// Whether the caller is the one who takes the events now; it does until ``next()`` is nil.
    mutating func begin() -> Bool {
        defer { self.isTaking = true }
        return !self.isTaking
    }

    /// The event whose turn it is; nil = none is left.
    mutating func next() -> Event? {
        guard !self.waiting.isEmpty else {
            self.bytes = nil
            self.isTaking = false
            return nil
        }
        let first = self.waiting.removeFirst()
        self.bytes = first.bytes
        return first.event
    }

    /// Drops what waits.
    mutating func clear() { self.waiting = [] }
}
