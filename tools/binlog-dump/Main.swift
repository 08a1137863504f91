import ArgumentParser

/// The `binlog-dump` tool.
@main
struct BinlogDump: ParsableCommand {
    func run() throws {}
}
