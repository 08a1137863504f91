import FileIO
import Migrate
import Testing

@Suite("Settings of pika-migrate")
struct SettingsTests {
    @Test("The shipped file is what the tool prints")
    func shippedFile() throws {
        let bytes = try RealFileSystem().readFile("conf/pika-migrate.toml", limitBytes: 1 << 20)
        #expect(String(decoding: bytes ?? [], as: UTF8.self) == MigrateSettings.shippedFile)
    }

    @Test("Unknown keys, wrong types and unknown choices are errors")
    func errors() {
        for (key, value) in [
            ("job.nmae", "x"), ("nosuch.key", "1"), ("target.connections", "many"),
            ("target.connections", "-1"), ("source.ack", "never"), ("map.include", "abc"),
        ] {
            #expect(throws: RunError.self, "\(key)=\(value)") {
                try MigrateSettings(file: nil, overrides: [(key, value, "test")])
            }
        }
    }

    @Test("An unknown key names the one that may be meant")
    func nearest() throws {
        for (key, meant) in [
            ("job.nmae", "job.name"), ("target.connection", "target.connections"),
            ("source.include", "map.include"), ("map.exlude", "map.exclude"),
            ("limit.stream-byte", "limit.stream-bytes"),
        ] {
            let error = #expect(throws: RunError.self) {
                try MigrateSettings(file: nil, overrides: [(key, "x", "test")])
            }
            #expect(error?.description == "test: unknown key \(key); is \(meant) meant?")
        }
        let error = #expect(throws: RunError.self) {
            try MigrateSettings(file: nil, overrides: [("zzzzzzzz.qqqqqqqq", "x", "test")])
        }
        #expect(error?.description == "test: unknown key zzzzzzzz.qqqqqqqq")
    }

    @Test(
        "Filters, schedule, time zone and two-way settings without sense are refused at the start")
    func content() throws {
        for (key, value) in [
            ("map.include-regexes", "[\"(\"]"), ("map.rename-prefixes", "[\"a\"]"),
            ("map.template", "no name"), ("map.slots", "[\"5-4\"]"), ("map.types", "[\"str\"]"),
            ("map.databases", "[\"0\"]"), ("limit.schedule", "[\"08:00 stream-bytes=1\"]"),
            ("limit.time-zone", "Mars/Olympus"), ("limit.time-zone", "../etc/passwd"),
            ("two-way.with", "default"), ("two-way.with", "a:b"),
        ] {
            let settings = try MigrateSettings(file: nil, overrides: [(key, value, "test")])
            let error = #expect(throws: RunError.self, "\(key)=\(value)") { try Job(settings) }
            #expect(error?.status == .usage)
        }
        let both = try MigrateSettings(
            file: nil,
            overrides: [("two-way.with", "x", "test"), ("target.on-nonempty", "flush", "test")])
        #expect(throws: RunError.self) { try Job(both) }
        #expect(throws: Never.self) {
            try Job(
                MigrateSettings(
                    file: nil,
                    overrides: [
                        ("map.include-regexes", "[\"^a\"]", "test"),
                        ("limit.schedule", "[\"22:00-06:00 stream-keys=1\"]", "test"),
                        ("two-way.with", "back", "test"),
                    ]))
        }
    }

    @Test("What is in effect says where it comes from")
    func explain() throws {
        let settings = try MigrateSettings(
            file: nil,
            overrides: [
                ("target.connections", "8", "--set"), ("job.name", "orders", "--set"),
                ("map.include", "[\"a*\", \"b*\"]", "--set"),
            ])
        let text = settings.explain()
        #expect(text.contains("connections = 8    # --set"))
        #expect(text.contains("name = \"orders\"    # --set"))
        #expect(text.contains("include = [\"a*\", \"b*\"]    # --set"))
        #expect(text.contains("interval = 500    # default"))
    }

    @Test("A URL with a password is refused")
    func passwords() throws {
        #expect(throws: RunError.self) {
            try Endpoint(url: "redis://me:secret@h:1", passwordVariable: "X")
        }
        let endpoint = try Endpoint(url: "redis://me@[::1]:7000", passwordVariable: "X")
        #expect(endpoint.user == "me")
        #expect(endpoint.address == RedisAddress(host: "::1", port: 7_000))
    }
}
