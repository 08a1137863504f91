import ArgumentParser
import Migrate

/// The `pika-migrate` tool.
@main
struct PikaMigrate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pika-migrate", abstract: "Moves live data into and out of Pika.")
}
