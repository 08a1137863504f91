import Glibc
import Testing

/// pika-migrate and servers that speak TLS, with certificates made here.
@Suite(
    "pika-migrate over TLS", .serialized,
    .enabled(
        if: access(MigrateWorld.redisServer, X_OK) == 0 && access(Certificates.openssl, X_OK) == 0))
struct TLSProcessTests {
    @Test(
        "Both ends verified, with our own certificate; another CA, another name, none of ours: code 3",
        .timeLimit(.minutes(3)))
    func verified() throws {
        let world = try ClusterWorld(masters: 0, replicasOfFirst: 0)
        let files = try Certificates(world.path("certificates"))
        let source = try self.server(world, files)
        let target = try self.server(world, files)
        let client = try #require(BlockingClient(port: source.port))
        #expect(client.call("SET", "a", "1") == .text("OK"))
        #expect(client.call("RPUSH", "l", "x", "y") == .integer(2))

        let good = ["source", "target"].flatMap { self.settings(files, $0, authority: "ca") }
        let tool = try self.tool(world, source, target, "job", good)
        try world.waitUntilEqual([source.port], [target.port], tool)
        #expect(client.call("INCR", "n") == .integer(1))
        try world.waitUntilEqual([source.port], [target.port], tool)
        tool.signal(SIGTERM)
        #expect(tool.waitForExit() == 0)
        #expect(!tool.log.contains("PRIVATE KEY"))

        let target2 = try self.server(world, files)
        let refused: [(String, [String], String)] = [
            (
                "other CA of the source", self.settings(files, "source", authority: "other"),
                "ca-file"
            ),
            (
                "other CA of the target", self.settings(files, "target", authority: "other"),
                "ca-file"
            ),
            ("other name", ["--set", "target.server-name=elsewhere.test"], "another name"),
            (
                "no certificate of ours",
                ["--set", "target.cert-file=", "--set", "target.key-file="], "our side"
            ),
        ]
        for (index, (what, changes, text)) in refused.enumerated() {
            let tool = try self.tool(world, source, target2, "job\(index)", good + changes)
            #expect(tool.waitForExit() == 3, "\(what): \(tool.log)")
            #expect(tool.log.contains(text), "\(what): \(tool.log)")
        }
    }

    private func settings(_ files: Certificates, _ end: String, authority: String) -> [String] {
        [
            "ca-file=\(files.path(authority)).crt", "cert-file=\(files.path("client")).crt",
            "key-file=\(files.path("client")).key", "server-name=redis.test",
        ].flatMap { ["--set", "\(end).\($0)"] }
    }

    /// A server for both kinds of clients; the encrypted port is one above the plain one.
    private func server(_ world: ClusterWorld, _ files: Certificates) throws -> MigrateChild {
        try world.server { port in
            [
                "--tls-port", "\(port + 2_000)", "--tls-cert-file", files.path("server") + ".crt",
                "--tls-key-file", files.path("server") + ".key", "--tls-ca-cert-file",
                files.path("ca") + ".crt",
            ]
        }
    }

    private func tool(
        _ world: ClusterWorld, _ source: MigrateChild, _ target: MigrateChild,
        _ directory: String, _ more: [String]
    ) throws -> MigrateChild {
        try world.tool(
            from: "rediss://127.0.0.1:\(source.port + 2_000)",
            to: "rediss://127.0.0.1:\(target.port + 2_000)", directory: directory, more)
    }
}

/// An authority, a server's and a client's certificate, and another authority.
struct Certificates {
    static let openssl = "/usr/bin/openssl"
    private let directory: String

    init(_ directory: String) throws {
        self.directory = directory
        mkdir(directory, 0o755)
        for name in ["ca", "other"] {
            try self.run(
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                "-nodes", "-days", "2", "-subj", "/CN=\(name)", "-keyout", "\(name).key", "-out",
                "\(name).crt")
        }
        for name in ["server", "client"] {
            try self.run(
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                "-nodes", "-days", "2", "-subj", "/CN=\(name)", "-addext",
                "subjectAltName=DNS:redis.test", "-addext", "basicConstraints=critical,CA:FALSE",
                "-CA", "ca.crt", "-CAkey", "ca.key", "-keyout", "\(name).key", "-out",
                "\(name).crt")
        }
    }

    /// A certificate or key, without its ending.
    func path(_ name: String) -> String { "\(self.directory)/\(name)" }

    private func run(_ arguments: String...) throws {
        let child = try #require(
            PikaProcess.spawn(
                Self.openssl, arguments, directory: self.directory, output: "openssl.txt"))
        #expect(PikaProcess.wait(child) == 0, "openssl \(arguments.joined(separator: " "))")
    }
}
