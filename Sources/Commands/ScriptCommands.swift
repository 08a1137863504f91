import RESP

/// FUNCTION and SCRIPT, as far as a server without scripts can answer them.
///
/// There are no scripts here: none is ever loaded, so listing and forgetting them is answered
/// truly, and whatever would load or run one is refused.
enum ScriptCommands {
    static let rows: [CommandRow] = [
        CommandRow(
            "function", arity: -2, flags: [.noMulti, .container], keys: .none,
            group: .scripting, since: "7.0.0",
            summary: "Lists and forgets functions, of which there are none.", handler: function),
        CommandRow(
            "script", arity: -2, flags: [.noMulti, .container], keys: .none, group: .scripting,
            since: "2.6.0", summary: "Looks for and forgets scripts, of which there are none.",
            handler: script),
    ]

    private static let noScripts = CommandError.reply("ERR scripts are not supported")

    private static func function(_ x: inout Execution) throws {
        if x[1].isWord("flush") {
            try x.requireCount(2...3, "function", "flush")
            x.reply.ok()
        } else if x[1].isWord("list") {
            x.reply.array(0)
        } else {
            throw noScripts
        }
    }

    private static func script(_ x: inout Execution) throws {
        if x[1].isWord("flush") {
            try x.requireCount(2...3, "script", "flush")
            x.reply.ok()
        } else if x[1].isWord("exists") {
            guard x.count > 2 else { throw CommandError.arity("script|exists") }
            x.reply.array(x.count - 2)
            for _ in 2..<x.count { x.reply.integer(0) }
        } else {
            throw noScripts
        }
    }
}
