import Glibc
import Testing

@Suite("The server as a process", .serialized)
struct ServerProcessTests {
    private func milliseconds() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return time.tv_sec * 1000 + time.tv_nsec / 1_000_000
    }

    @Test("SIGTERM ends it with code 0 within 2 seconds", arguments: [SIGTERM, SIGINT, SIGQUIT])
    func stopSignals(number: Int32) throws {
        let pika = try PikaProcess()
        try pika.start()
        let began = milliseconds()
        pika.signal(number)
        #expect(pika.waitForExit() == 0)
        #expect(milliseconds() - began < 2000)
    }

    @Test("SIGHUP and SIGPIPE are ignored")
    func ignoredSignals() throws {
        let pika = try PikaProcess()
        try pika.start()
        pika.signal(SIGHUP)
        pika.signal(SIGPIPE)
        usleep(50_000)
        #expect(pika.isRunning)
    }

    @Test("-v prints the versions, -h the usage; both end with code 0")
    func help() throws {
        for (option, word) in [
            ("-v", "pika_version: 3.5.0"), ("-h", "USAGE"), ("-v", "redis_version:"),
        ] {
            let pika = try PikaProcess()
            try pika.launch([option])
            #expect(pika.waitForExit() == 0)
            #expect(pika.log.contains(word))
        }
    }

    @Test(
        "A wrong value, a missing file and an unknown option end it with a code and a clear line",
        arguments: [
            (["-c", "pika.conf"], "pika.conf:3: item \"databases\" has the value \"9\""),
            (["-c", "other.conf"], "other.conf"), (["--nonsense"], "nonsense"),
        ])
    func refusedStarts(arguments: [String], text: String) throws {
        let pika = try PikaProcess(["databases : 9"])
        try pika.launch(arguments)
        #expect(pika.waitForExit() != 0)
        #expect(pika.log.contains(text), "\(pika.log)")
    }

    @Test("An unknown item is a warning, and the server starts")
    func unknownItem() throws {
        let pika = try PikaProcess(["no-such-item : 1"])
        try pika.start()
        #expect(pika.log.contains("warning: pika.conf:3: item \"no-such-item\""))
    }

    @Test("A second process on one directory ends with a clear error")
    func secondProcess() throws {
        let first = try PikaProcess()
        try first.start()
        let second = try PikaProcess(directory: first.directory)
        try second.launch(["-c", "pika.conf"])
        #expect(second.waitForExit() != 0)
        #expect(first.isRunning)
    }

    @Test("A port in use ends the start with a text that says so")
    func portInUse() throws {
        let first = try PikaProcess()
        try first.start()
        let second = try PikaProcess(port: first.port)
        try second.launch(["-c", "pika.conf"])
        #expect(second.waitForExit() != 0)
        #expect(second.log.contains("Address already in use"), "\(second.log)")
    }
}
