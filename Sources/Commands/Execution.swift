import RESP

/// One command being executed: arguments, reply, client and the write group it works in.
public struct Execution: ~Copyable {
    /// The command word and its arguments.
    var arguments: UnsafeBufferPointer<UnsafeRawBufferPointer>
    /// Where the reply goes.
    var reply: ReplyWriter
}
