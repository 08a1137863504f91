import Keyspace
import PikaStorage
import RESP

/// Decides whether the keys of a pipeline are worth giving to threads that read ahead.
public struct AheadRule {
    /// Reads that are faster are not worth waking a thread for a pipeline of the usual sixteen.
    public static let worthwhileNanoseconds = 5_000
    /// Reads that are slower wait for the disk, which serves several at once.
    static let diskNanoseconds = 40_000
    /// Fewer keys are not given away.
    static let leastKeys = 4
    /// Lists in a row of which the threads read nothing, since they got no core: then none are
    /// posted for `restLists`.
    static let uselessLimit = 16
    /// See `uselessLimit`.
    static let restLists = 1_000

    /// Reads that take less are left to the loop.
    let leastNanoseconds: Int
    private var useless = 0
    private var rest = 0
    private var readCount = 0

    init(leastNanoseconds: Int) { self.leastNanoseconds = leastNanoseconds }

    /// Whether a list may be posted; false while the threads have a rest.
    mutating func mayPost() -> Bool {
        guard rest > 0 else { return true }
        rest -= 1
        return false
    }

    /// How many threads are to read the next list; 0: there is to be none.
    ///
    /// - Parameters:
    ///   - readNanoseconds: what a read takes.
    ///   - readCount: what the threads have read so far.
    mutating func threads(readNanoseconds: Int, readCount: Int) -> Int {
        guard readNanoseconds >= leastNanoseconds else { return 0 }
        if readCount == self.readCount { useless += 1 } else { useless = 0 }
        self.readCount = readCount
        if useless > Self.uselessLimit {
            useless = 0
            rest = Self.restLists
            return 0
        }
        return readNanoseconds < Self.diskNanoseconds ? 1 : ReadAhead.threadLimit
    }
}

/// The keys of a loop's pipelines on their way to the threads that read ahead.
struct PipelineReads: ~Copyable {
    let ahead: ReadAhead
    private var parser: RequestParser
    private var rule: AheadRule
    private let get: Int
    private let mget: Int
    /// Requests from this offset on were not looked at; past any input when none are to be.
    private(set) var next = Int.max
    private var isPosted = false

    /// Inputs that are shorter hold too few requests, in bytes.
    private static let leastInput = 80
    /// Bytes of the input that are looked at in one go: they are parsed twice.
    static let windowBytes = 16 << 10

    /// Nil: nothing is to be read ahead.
    init?(_ environment: CommandEnvironment) {
        guard let leastNanoseconds = environment.readAheadNanoseconds else { return nil }
        self.rule = AheadRule(leastNanoseconds: leastNanoseconds)
        self.ahead = ReadAhead(environment.keyspace)
        self.parser = RequestParser(limits: environment.limits)
        let names = environment.table.rows.map { "\($0.name)" }
        self.get = names.firstIndex(of: "get") ?? -1
        self.mget = names.firstIndex(of: "mget") ?? -1
    }

    /// A burst begins.
    @inline(__always)
    mutating func begin(inputBytes: Int, readNanoseconds: Int) {
        let isSlow = readNanoseconds >= self.rule.leastNanoseconds
        self.next = isSlow && inputBytes >= Self.leastInput ? 0 : .max
    }

    /// Gives away the keys of the requests from an offset on.
    mutating func look(
        _ input: UnsafeRawBufferPointer, from position: Int, _ table: CommandTable,
        _ group: WriteGroup
    ) {
        // A thread still reads a key of the last list: at the next request, then.
        guard self.ahead.begin() else { return }
        let windowEnd = min(input.count, position + Self.windowBytes)
        guard self.rule.mayPost() else {
            self.next = .max
            return
        }
        let window = UnsafeRawBufferPointer(rebasing: input[..<windowEnd])
        var end = position
        var isFull = false
        while !isFull,
            case .request(let next) = self.parser.parse(window, from: end, authenticated: true)
        {
            end = next
            let arguments = self.parser.arguments
            guard let row = table.find(arguments[0]) else { continue }
            guard row == self.get || row == self.mget else { continue }
            for key in arguments.dropFirst() where !isFull { isFull = !self.ahead.add(key) }
        }
        // A request that is longer than the window is passed by.
        self.next = isFull ? end : windowEnd < input.count ? max(end, windowEnd) : .max
        guard self.ahead.keyCount >= AheadRule.leastKeys else { return }
        let threads = self.rule.threads(
            readNanoseconds: group.readNanoseconds, readCount: self.ahead.readCount)
        guard threads > 0 else { return }
        self.ahead.post(database: group.database.index, threads: threads)
        self.isPosted = true
    }

    /// The burst is over.
    @inline(__always)
    mutating func end() {
        self.next = .max
        guard self.isPosted else { return }
        self.isPosted = false
        self.ahead.withdraw()
    }
}
