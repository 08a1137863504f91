import ArgumentParser
import PikaServer

/// The `pika` server process.
@main
struct Pika: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pika", abstract: "A Redis-protocol server on RocksDB, compatible with Pika.",
        version: ServerVersion.text)

    @Option(name: .short, help: "The settings file; without one the defaults hold, in ./")
    var config: String?

    @Flag(name: .customShort("v"), help: "Print the version.")
    var showsVersion = false

    @Flag(name: .long, help: "Print a settings file with every item, its range and its default.")
    var printDefaultConf = false

    func run() throws {
        if showsVersion {
            print(ServerVersion.text)
        } else if printDefaultConf {
            print(ConfTable.shippedFile, terminator: "")
        } else {
            throw ExitCode(ServerProcess.run(confPath: config))
        }
    }
}
