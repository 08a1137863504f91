import ArgumentParser
import Glibc
import Migrate
import MigrateCore

/// The `pika-migrate` tool.
@main
struct PikaMigrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pika-migrate", abstract: "Moves live data into and out of Pika.",
        subcommands: [
            Run.self, Status.self, Limit.self, Pause.self, Resume.self, Stop.self, Inspect.self,
            Config.self,
        ])
}

/// Flags that name settings.
struct SettingFlags: ParsableArguments {
    @Option(name: .short, help: "The settings file.")
    var config: String?

    @Option(help: "The source: redis://[user@]host:port.")
    var from: String?

    @Option(help: "The target: pika://host:port, redis://host:port, rdb:PATH or aof:PATH.")
    var to: String?

    @Option(help: "The job's directory.")
    var dir: String?

    @Option(help: "Any setting: section.key=value; may be repeated.")
    var set: [String] = []

    func settings() throws(RunError) -> MigrateSettings {
        var overrides: [(key: String, value: String, origin: String)] = []
        if let from { overrides.append(("source.url", from, "--from")) }
        if let to { overrides.append(("target.url", to, "--to")) }
        if let dir { overrides.append(("job.dir", dir, "--dir")) }
        for one in set {
            let parts = one.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2 else { throw .usage("--set \(one): expected section.key=value") }
            overrides.append((String(parts[0]), String(parts[1]), "--set"))
        }
        return try MigrateSettings(file: config, overrides: overrides)
    }
}

/// Says why the process ends, and ends it.
func end(_ error: RunError) -> ExitCode {
    if error.status != .done {
        FileDescriptorText.error("pika-migrate: \(error.description) (\(error.status.code))\n")
    }
    return ExitCode(error.status.rawValue)
}

/// Text to the terminal.
enum FileDescriptorText {
    static func error(_ text: String) { write(2, text) }
    static func output(_ text: String) { write(1, text) }

    private static func write(_ descriptor: Int32, _ text: String) {
        var text = text
        text.withUTF8 { _ = Glibc.write(descriptor, $0.baseAddress, $0.count) }
    }
}

/// Asks a running job, and prints its answer.
func ask(_ flags: SettingFlags, _ method: String, _ path: String) async throws {
    do {
        let answer = try await StatusClient(try flags.settings()).ask(method, path)
        FileDescriptorText.output(answer)
    } catch { throw end(error) }
}

extension PikaMigrate {
    /// Copies, then follows, until it is stopped.
    struct Run: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Copies, then follows, until it is stopped; goes on where it was.")

        @OptionGroup var flags: SettingFlags

        func run() async throws {
            do {
                let process = try MigrateProcess(self.flags.settings())
                try await process.run()
            } catch {
                // Without destructors: a store of the source's copy may still be flushed.
                Glibc._exit(end(error).rawValue)
            }
            Glibc._exit(0)
        }
    }

    /// How a running job does.
    struct Status: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows how the job of a directory does, as JSON.")
        @OptionGroup var flags: SettingFlags
        @Flag(help: "Prometheus's text format.") var metrics = false
        func run() async throws {
            try await ask(self.flags, "GET", self.metrics ? "/metrics" : "/status")
        }
    }

    /// Changes a limit of a running job.
    struct Limit: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Changes a limit of a running job at once.",
            discussion: "Names: \(LimitName.allCases.map(\.rawValue).joined(separator: ", ")).")
        @OptionGroup var flags: SettingFlags
        @Argument(help: "The limit.") var name: String
        @Argument(help: "A second; 0 = none, auto = what settings and schedule say.")
        var number: String
        func run() async throws {
            try await ask(self.flags, "POST", "/limit/\(self.name)/\(self.number)")
        }
    }

    /// Holds a running job back.
    struct Pause: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Holds a running job back; the source's stream is spooled meanwhile.")
        @OptionGroup var flags: SettingFlags
        func run() async throws { try await ask(self.flags, "POST", "/pause") }
    }

    /// Lets a paused job go on.
    struct Resume: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Lets a paused job go on.")
        @OptionGroup var flags: SettingFlags
        func run() async throws { try await ask(self.flags, "POST", "/resume") }
    }

    /// Ends a running job.
    struct Stop: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Drains a running job and ends it.")
        @OptionGroup var flags: SettingFlags
        func run() async throws { try await ask(self.flags, "POST", "/stop") }
    }

    /// An RDB file.
    struct Inspect: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Reads an RDB file to its end, and says what is in it, as JSON.")
        @Argument(help: "The file.") var path: String
        func run() throws {
            do { FileDescriptorText.output(try Migrate.Inspect.file(self.path)) } catch {
                throw end(error)
            }
        }
    }

    /// The settings.
    struct Config: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows settings.", subcommands: [Explain.self, Default.self])

        /// What is in effect.
        struct Explain: ParsableCommand {
            static let configuration = CommandConfiguration(
                abstract: "Shows what is in effect, and where it comes from.")
            @OptionGroup var flags: SettingFlags
            func run() throws {
                do { FileDescriptorText.output(try self.flags.settings().explain()) } catch {
                    throw end(error)
                }
            }
        }

        /// The shipped file.
        struct Default: ParsableCommand {
            static let configuration = CommandConfiguration(
                abstract: "Prints a settings file with every key and its default.")
            func run() throws { FileDescriptorText.output(MigrateSettings.shippedFile) }
        }
    }
}
