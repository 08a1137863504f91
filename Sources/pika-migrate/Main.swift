import ArgumentParser
import Glibc
import Migrate

/// The `pika-migrate` tool.
@main
struct PikaMigrate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pika-migrate", abstract: "Moves live data into and out of Pika.",
        subcommands: [Run.self, Config.self])
}

/// Flags that name settings.
struct SettingFlags: ParsableArguments {
    @Option(name: .short, help: "The settings file.")
    var config: String?

    @Option(help: "The source: redis://[user@]host:port.")
    var from: String?

    @Option(help: "The target: pika://host:port or redis://host:port.")
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
            } catch { throw end(error) }
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
