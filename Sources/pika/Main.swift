import ArgumentParser

/// The `pika` server process.
@main
struct Pika: ParsableCommand {
    func run() throws {}
}
