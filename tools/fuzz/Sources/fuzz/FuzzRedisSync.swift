import RedisSync

/// Any bytes as a stream of commands, as replies of a master or server, as an AOF and as a manifest:
/// an error or offsets that count what was consumed, never a trap.
func fuzzRedisSync(_ input: UnsafeBufferPointer<UInt8>) {
    let bytes = [UInt8](input)
    var cutter = CommandStreamCutter(offset: 0)
    var handshake = ReplicaHandshake(ReplicaRequest(password: [1], allowsSync: true))
    var isRefused = false
    for start in stride(from: 0, to: input.count, by: 5) {
        let piece = bytes[start..<min(input.count, start + 5)]
        _ = try? handshake.received(piece)
        if isRefused { continue }
        cutter.feed(piece)
        do throws(CommandStreamError) {
            while let command = try cutter.next() {
                precondition(command.endOffset <= UInt64(input.count))
                precondition(cutter.unitEnd <= command.endOffset)
            }
        } catch {
            isRefused = true
        }
    }
    var replies = RedisReplyParser()
    replies.feed(bytes)
    while let reply = try? replies.next() { _ = reply.text }
    var rest = bytes[...]
    pieces: while !rest.isEmpty {
        switch AppendOnlySplitter.next(rest) {
        case .command(let length), .annotation(let length, _):
            precondition(length > 0 && length <= rest.count)
            rest = rest.dropFirst(length)
        case .incomplete, .malformed: break pieces
        }
    }
    _ = try? AppendOnlyManifest.files(of: String(decoding: bytes, as: UTF8.self))
}
