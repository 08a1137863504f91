import ArgumentParser
import CFileShim
import Glibc

@main
struct BenchLoad: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench-load",
        abstract: "Makes a load of requests and prints its rate and latencies as JSON.",
        discussion: """
            Without --rate each client sends its next requests when the last ones are answered. \
            With --rate requests are due at random moments (Poisson), whatever the server does, and \
            latency counts from the moment a request was due: a server that falls behind can't hide \
            it. One thread, which sleeps while it has nothing to do, as clients do: one that polls \
            has used up its share of a core, and loses that core for whole ticks of the kernel \
            whenever the server does something in the background.
            """)

    @Option(help: "The port on this machine.") var port: UInt16
    @Option(help: "Connections.") var clients = 50
    @Option(help: "Requests in all.") var requests = 100_000
    @Option(help: "Requests per second; as fast as they are answered without it.")
    var rate: Double?
    @Option(help: "Requests that a client sends at once.") var pipeline = 1
    @Option(help: "Random numbers are below this.") var keys: UInt32 = 100_000
    @Option(help: "Bytes of a value.") var bytes = 64
    @Argument(help: "Requests, used in turn; commands of one are separated by ';'.")
    var scripts: [String]

    func validate() throws {
        guard clients > 0, requests > 0, pipeline > 0, keys > 0, bytes >= 0, !scripts.isEmpty,
            rate.map({ $0 > 0 }) ?? true
        else { throw ValidationError("counts must be positive") }
    }

    func run() throws {
        signal(SIGPIPE, SIG_IGN)
        guard pika_wake_up_precisely() == 0 else { throw LoadError.system("prctl") }
        let scripts = try self.scripts.map { try Script($0, keys: keys, dataBytes: bytes) }
        guard let replies = scripts.first?.replies, scripts.allSatisfy({ $0.replies == replies })
        else { throw ValidationError("all requests must have equally many commands") }
        var load = try Load(port: port, clients: clients, requests: requests, scripts: scripts)
        let started = nanoseconds()
        if let rate {
            try load.runOpen(rate: rate)
        } else {
            try load.runClosed(pipeline: pipeline)
        }
        let seconds = Double(nanoseconds() - started) / 1e9
        let latencies = load.latencies.sorted()
        func quantile(_ part: Double) -> Double {
            guard !latencies.isEmpty else { return 0 }
            return Double(latencies[Int(Double(latencies.count - 1) * part)]) / 1000
        }
        print(
            "{\"requests\": \(latencies.count), \"seconds\": \(seconds), "
                + "\"rate\": \(Double(latencies.count) / seconds), \"p50_us\": \(quantile(0.5)), "
                + "\"p99_us\": \(quantile(0.99)), \"p999_us\": \(quantile(0.999)), "
                + "\"max_us\": \(quantile(1))}")
    }
}

/// The clients, and what they measured.
struct Load {
    private static let longestWaitNanoseconds = 1e9

    private var connections: [Connection] = []
    private var polls: [pollfd]
    private let requests: Int
    private let scripts: [Script]
    private var sent = 0
    private(set) var latencies: [Int64] = []

    init(port: UInt16, clients: Int, requests: Int, scripts: [Script]) throws(LoadError) {
        for _ in 0..<clients { connections.append(try Connection(port: port)) }
        polls = connections.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
        self.requests = requests
        self.scripts = scripts
        latencies.reserveCapacity(requests)
    }

    /// Each client sends when it has all its replies.
    mutating func runClosed(pipeline: Int) throws(LoadError) {
        while latencies.count < requests {
            for index in connections.indices where connections[index].owedCount == 0 {
                let moment = nanoseconds()
                for _ in 0..<min(pipeline, requests - sent) { send(on: index, moment) }
            }
            try exchange(timeoutNanoseconds: Int64(Self.longestWaitNanoseconds))
        }
    }

    /// Requests come when they are due, on one client after the other.
    mutating func runOpen(rate: Double) throws(LoadError) {
        let gap = 1e9 / rate
        var due = Double(nanoseconds())
        var index = 0
        while latencies.count < requests {
            while sent < requests, due <= Double(nanoseconds()) {
                send(on: index, Int64(due))
                index = (index + 1) % connections.count
                due += -log(Double.random(in: Double.leastNonzeroMagnitude..<1)) * gap
            }
            let left = sent < requests ? due - Double(nanoseconds()) : Self.longestWaitNanoseconds
            try exchange(timeoutNanoseconds: Int64(max(0, left)))
        }
    }

    private mutating func send(on index: Int, _ moment: Int64) {
        connections[index].enqueue(scripts[sent % scripts.count], at: moment)
        sent += 1
    }

    /// Sends what is to be sent and takes the replies that are here.
    private mutating func exchange(timeoutNanoseconds: Int64) throws(LoadError) {
        var isFull = false
        for index in connections.indices where connections[index].hasOutput {
            try connections[index].flush()
            if connections[index].hasOutput { isFull = true }
        }
        let ready = pika_poll(&polls, UInt64(polls.count), isFull ? 0 : timeoutNanoseconds)
        guard ready >= 0 || errno == EINTR else { throw .system("poll") }
        guard ready > 0 else { return }
        let replies = scripts[0].replies
        for index in polls.indices where polls[index].revents != 0 {
            polls[index].revents = 0
            let now = nanoseconds()
            var answered: [Int64] = []
            try connections[index].receive(repliesPerRequest: replies) { answered.append(now - $0) }
            latencies.append(contentsOf: answered)
        }
    }
}
