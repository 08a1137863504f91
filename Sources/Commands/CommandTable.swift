/// All commands, found by length and bytes of the word without making a String.
public final class CommandTable: Sendable {
    /// The rows, by family.
    public let rows: [CommandRow]

    /// Makes the table of all commands.
    public init() {
        self.rows = []
    }

    /// The row of a command word, in any case; nil when there is no such command.
    public func row(_ word: UnsafeRawBufferPointer) -> CommandRow? {
        fatalError("skeleton")
    }
}
