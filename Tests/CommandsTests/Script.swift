import Testing

/// Runs a script of requests and expected replies.
/// ```
/// > SET k v
/// +OK
/// ```
/// Each `>` line is one inline request in a read burst of its own; the line behind it is the reply
/// in the text form of `Reply`.
func check(_ harness: Harness, _ script: String, sourceLocation: SourceLocation = #_sourceLocation)
{
    var request: String?
    for line in script.split(separator: "\n", omittingEmptySubsequences: true) {
        let text = line.trimmingPrefix { $0 == " " }
        if text.hasPrefix("> ") {
            request = String(text.dropFirst(2))
        } else if let sent = request {
            let reply = harness.run(sent).description
            #expect(reply == String(text), "\(sent)", sourceLocation: sourceLocation)
            request = nil
        }
    }
}

/// Runs a script with a server of its own.
func check(_ script: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
    let harness = try Harness()
    defer { harness.close() }
    check(harness, script, sourceLocation: sourceLocation)
}
