import RedisSync

/// Any bytes as a stream of commands, as replies of a master or server, as an AOF and as a manifest:
/// an error or offsets that count what was consumed, never a trap.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = [UInt8](UnsafeBufferPointer(start: start, count: count))
    var cutter = CommandStreamCutter(offset: 0)
    var handshake = ReplicaHandshake(ReplicaRequest(password: [1], allowsSync: true))
    var isRefused = false
    for start in stride(from: 0, to: count, by: 5) {
        let piece = bytes[start..<min(count, start + 5)]
        _ = try? handshake.received(piece)
        if isRefused { continue }
        cutter.feed(piece)
        do throws(CommandStreamError) {
            while let command = try cutter.next() {
                precondition(command.endOffset <= UInt64(count))
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
    return 0
}

/// SwiftPM renames an executable's entry point, so libFuzzer's own `main` is not found.
@_silgen_name("LLVMFuzzerRunDriver")
private func runFuzzer(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _ body: @convention(c) (UnsafePointer<UInt8>, Int) -> CInt
) -> CInt

/// The renamed entry point.
@_cdecl("FuzzRedisSync_main")
public func entryPoint(
    _ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?
) -> CInt {
    var count = count
    var arguments = arguments
    return runFuzzer(&count, &arguments) { fuzz($0, $1) }
}
