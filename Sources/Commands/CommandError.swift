import Keyspace
import PikaStorage

/// Why a command ended without its reply.
///
/// Thrown by handlers before they changed anything (`reply`, `text`, `deferToPool`), or when the
/// data can't be read or written (`storage`, `apply`): then the whole uncommitted group is given
/// up, since part of the command may be in it.
enum CommandError: Error {
    /// An error reply: code word and text.
    case reply(StaticString)
    /// An error reply made at run time: code word and text.
    case text(String)
    /// The command waits for what time brings: it is executed again a little later.
    case again
    /// The command touches too much for an event loop: it is run again on the slow pool.
    case deferToPool
    /// The command waits for elements: `ClientState.waiter` is set.
    case blocked
}

extension CommandError {
    static let syntax = CommandError.reply("ERR syntax error")
    static let notInteger = CommandError.reply("ERR value is not an integer or out of range")
    static let notFloat = CommandError.reply("ERR value is not a valid float")
    static let overflow = CommandError.reply("ERR increment or decrement would overflow")
    static let notFinite = CommandError.reply("ERR increment would produce NaN or Infinity")
    static let noSuchKey = CommandError.reply("ERR no such key")
    static let indexOutOfRange = CommandError.reply("ERR index out of range")
    static let notPositive = CommandError.reply("ERR value is out of range, must be positive")
    static let badOffset = CommandError.reply("ERR offset is out of range")
    static let tooLong = CommandError.reply(
        "ERR string exceeds maximum allowed size (proto-max-bulk-len)")
    static let badLex = CommandError.reply("ERR min or max not valid string range item")
    static let badScoreRange = CommandError.reply("ERR min or max is not a float")
    static let badCursor = CommandError.reply("ERR invalid cursor")
    static let lostCursor = CommandError.reply(
        "ERR cursor is not known any more, start the scan again at 0")
    static let replyTooLargeText = "ERR Response exceeds the max-client-response-size limit"
    static let replyTooLarge = CommandError.text(replyTooLargeText)
    static let reservedKey = CommandError.reply("ERR this key name is reserved for the server")
    static let readOnly = CommandError.reply(
        "READONLY You can't write against a read only replica.")
    static let outOfMemory = CommandError.reply(
        "OOM command not allowed when used memory > 'maxmemory'.")
    static let noAuth = CommandError.reply("NOAUTH Authentication required.")

    /// Redis's text for a deadline that cannot be stored.
    static func badExpiry(_ command: StaticString) -> CommandError {
        .text("ERR invalid expire time in '\(command)' command")
    }

    /// Redis's text for a command of a connection that listens to channels.
    static func subscribed(_ command: String) -> CommandError {
        .text(
            "ERR Can't execute '\(command)': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / "
                + "RESET are allowed in this context")
    }

    /// Redis's text for a wrong number of arguments.
    static func arity(_ command: String) -> CommandError {
        .text("ERR wrong number of arguments for '\(command)' command")
    }
}

/// The error reply for a fault of the data below, without the leading `-`.
func errorText(of error: any Error) -> String {
    switch error {
    case let error as StorageError: storageText(error)
    case let error as EngineFault: "ERR storage error: \(error.message)"
    case let error as ApplyError: applyText(error)
    case let error as KeyspaceError: keyspaceText(error)
    default: "ERR internal error: \(error)"
    }
}

private func applyText(_ error: ApplyError) -> String {
    switch error {
    case .storage(let error): storageText(error)
    case .unknownItem(let word): "ERR internal error: no effect is called \(word)"
    case .argumentCount(let effect, let actual):
        "ERR internal error: \(actual) words for \(effect.word)"
    case .badArgument(let effect, let index):
        "ERR internal error: word \(index) of \(effect.word) can't be read"
    case .malformedContent: "ERR internal error: malformed item"
    case .groupTooLarge(let limit):
        "ERR too much to be written at once: more than atomic-group-limit, \(limit) bytes"
    }
}

private func keyspaceText(_ error: KeyspaceError) -> String {
    switch error {
    case .storage(let error): storageText(error)
    case .apply(let error): applyText(error)
    case .writesRefused(let reason): "ERR \(reason)"
    case .binlog(let error):
        "ERR Writing binlog failed, maybe no space left on device: \(error)"
    case .file(let error):
        "ERR Writing binlog failed, maybe no space left on device: \(error)"
    case .wrongRole: "READONLY You can't write against a read only replica."
    case .closed: "ERR the database is being exchanged or closed"
    default: "ERR internal error: \(error)"
    }
}

private func storageText(_ error: StorageError) -> String {
    switch error {
    case .engine(let fault): "ERR storage error: \(fault.message)"
    case .corruptRow(let kind, _, _, _): "ERR a damaged row in the \(kind.directoryName) store"
    case .reservedName: "ERR this key name is reserved for the server"
    case .notAnInteger: "ERR value is not an integer or out of range"
    case .notAFloat: "ERR value is not a valid float"
    case .integerOverflow: "ERR increment or decrement would overflow"
    case .resultIsNaN: "ERR increment would produce NaN or Infinity"
    case .indexOutOfRange: "ERR index out of range"
    case .noSuchKey: "ERR no such key"
    case .offsetOutOfRange: "ERR offset is out of range"
    case .valueTooLong: "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
    case .countOverflow: "ERR too many elements"
    case .closed: "ERR the store is closed"
    default: "ERR storage error: \(error)"
    }
}
