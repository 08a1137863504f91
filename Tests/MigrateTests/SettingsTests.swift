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
