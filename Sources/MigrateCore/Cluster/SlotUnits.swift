/// What a slot of a sharded target has of the stream, as its marker's bytes say it.
///
/// The marker is what a batch is tied to: it is carried out only while the marker is the one that
/// the writer left there, so a second writer, a lost tail and an emptied node are all noticed.
public enum SlotMarker {
    /// The name of a slot's marker.
    public static func key(job: String, slot: Int) -> [UInt8] {
        KeyFilter.reservedPrefix + Array("\(job):{".utf8) + SlotTags.tag(slot) + Array("}".utf8)
    }

    /// The name of a node's last checkpoint, in a slot of that node.
    public static func lowKey(job: String, slot: Int) -> [UInt8] {
        KeyFilter.reservedPrefix + Array("\(job):low:{".utf8) + SlotTags.tag(slot)
            + Array("}".utf8)
    }

    /// The value of a slot that has nothing of the stream: the run's number alone.
    public static func fence(epoch: UInt64) -> [UInt8] {
        var writer = ByteWriter()
        writer.byte(Marker.version)
        writer.number(epoch)
        return writer.bytes
    }

    /// The value after another run has taken over: what was applied stays.
    public static func fenced(_ old: [UInt8], epoch: UInt64) -> [UInt8] {
        Self.fence(epoch: epoch) + old.dropFirst(Self.fenceBytes)
    }

    /// Bytes of a value without a position.
    public static let fenceBytes = 9

    /// What was applied; nil = nothing of the stream.
    public static func marker(_ value: [UInt8]) throws(StateCodecError) -> Marker? {
        value.count <= Self.fenceBytes ? nil : try Marker(decoding: value)
    }
}

/// Units of the stream for one slot, and the marker behind them: carried out whole or not at all.
public struct SlotUnits: Sendable {
    /// A script unpacks no more arguments of one command; longer ones go as a transaction.
    public static let maxScriptArguments = 4_000
    /// First word of the error of a marker that is another.
    public static let otherMarker = "PIKAMIGRATE"

    /// Compares the marker, carries the commands out, writes the marker.
    ///
    /// A slot that is being given away refuses names that are missing, in the middle of a script,
    /// too: a name that never is there finds that out before anything is done.
    ///
    /// `KEYS[1]` is the marker, further keys are those of the commands. `ARGV[1]` is the marker's
    /// value before, `ARGV[2]` after; then, for each command, its number of words and the words.
    /// Answers with one element a command: 1, or the error. A server that refuses to write at all
    /// says so instead, and nothing has happened.
    public static let script = """
        local probe = redis.pcall('EXISTS', KEYS[1] .. '?')
        if type(probe) == 'table' then
          return redis.error_reply('TRYAGAIN the slot is on the move')
        end
        if redis.call('GET', KEYS[1]) ~= ARGV[1] then
          return redis.error_reply('PIKAMIGRATE the marker is another')
        end
        local out, at, done = {}, 3, false
        while at <= #ARGV do
          local n = tonumber(ARGV[at])
          local r = redis.pcall(unpack(ARGV, at + 1, at + n))
          if type(r) == 'table' and r.err then
            if not done then
              for _, word in ipairs({'OOM', 'MISCONF', 'READONLY', 'NOREPLICAS'}) do
                if string.find(r.err, word, 1, true) then return r end
              end
            end
            out[#out + 1] = r
          else
            done = true
            out[#out + 1] = 1
          end
          at = at + n + 1
        end
        redis.call('SET', KEYS[1], ARGV[2])
        return out
        """

    /// The slot.
    public let slot: Int
    /// The commands.
    public private(set) var commands = CommandBuffer()
    /// The keys that they touch.
    public private(set) var keys: [[UInt8]] = []
    /// The end of the last unit.
    public private(set) var end: SourcePosition
    /// Up to where keys were read from the source.
    public private(set) var horizon: SourcePosition?

    /// Nothing yet.
    public init(slot: Int, end: SourcePosition) {
        self.slot = slot
        self.end = end
    }

    /// Adds a unit.
    public mutating func append(
        _ commands: CommandBuffer, keys: [[UInt8]], end: SourcePosition, horizon: SourcePosition?
    ) {
        self.commands.append(commands)
        for key in keys where !self.keys.contains(key) { self.keys.append(key) }
        self.end = end
        if let horizon { self.horizon = horizon }
    }

    /// Tells an older horizon until the stream is there.
    public mutating func keep(horizon: SourcePosition?) { self.horizon = self.horizon ?? horizon }

    /// Adds the units of a later one.
    public mutating func append(_ other: SlotUnits) {
        self.append(other.commands, keys: other.keys, end: other.end, horizon: other.horizon)
    }

    /// The marker behind the units.
    public func marker(epoch: UInt64) -> [UInt8] {
        Marker(epoch: epoch, position: self.end, horizon: self.horizon).encode()
    }

    /// All commands are short enough for the script.
    public var fitsScript: Bool {
        var walk = CommandWalk(self.commands)
        while let command = walk.next() {
            if command.count > Self.maxScriptArguments { return false }
        }
        return true
    }

    /// The script's call, by the digest that the server gave it.
    public func call(digest: [UInt8], job: String, before: [UInt8], after: [UInt8]) -> CommandBuffer
    {
        var words = 0
        var walk = CommandWalk(self.commands)
        while let command = walk.next() { words += 1 + command.count }
        var call = CommandBuffer()
        call.begin(3 + 1 + self.keys.count + 2 + words)
        call.argument("EVALSHA")
        call.argument(digest)
        call.argument(Int64(1 + self.keys.count))
        call.argument(SlotMarker.key(job: job, slot: self.slot))
        for key in self.keys { call.argument(key) }
        call.argument(before)
        call.argument(after)
        walk = CommandWalk(self.commands)
        while let command = walk.next() {
            call.argument(Int64(command.count))
            call.arguments(encoded: self.commands.bytes[command.body])
        }
        return call
    }

    /// The same as a transaction, behind a `WATCH` of the marker.
    public func transaction(job: String, after: [UInt8]) -> CommandBuffer {
        var window = CommandBuffer()
        window.append(["MULTI"])
        window.append(self.commands)
        window.append([Array("SET".utf8), SlotMarker.key(job: job, slot: self.slot), after])
        window.append(["EXEC"])
        return window
    }
}
