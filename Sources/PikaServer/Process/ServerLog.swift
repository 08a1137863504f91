import Logging

/// The process's log, for the operator.
struct ServerLog: Sendable {
    let logger: Logger

    func info(_ text: String) { logger.info("\(text)") }
    func warning(_ text: String) { logger.warning("\(text)") }
    func error(_ text: String) { logger.error("\(text)") }
}
