/// Why bytes from a peer were refused.
///
/// Whatever the bytes, decoding ends in a message or in one of these; the connection that they
/// came from is closed, as real Pika does.
public enum WireError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A frame of length 0, which real Pika takes for the end of the connection.
    case emptyFrame
    /// The length field is over the limit of this connection.
    case frameTooLong(bodyBytes: UInt32, limitBytes: Int)
    /// The body is not a message of this protocol.
    case malformed(message: String)
    /// A field that must be there is not.
    case missingField(String)
    /// A type or code that this protocol does not have.
    case unknownValue(field: String, value: UInt64)
    /// A number outside its range.
    case outOfRange(field: String, value: Int64, allowed: ClosedRange<Int64>)
    /// A text or byte string that is longer than its limit.
    case tooLong(field: String, bytes: Int, limitBytes: Int)
    /// A list with more elements than its limit.
    case tooMany(field: String, count: Int, limit: Int)
    /// A text that breaks the rules of its kind.
    case invalidText(field: String)

    /// One line for the log.
    public var description: String {
        switch self {
        case .emptyFrame: "empty frame"
        case .frameTooLong(let bodyBytes, let limitBytes):
            "frame of \(bodyBytes) bytes, limit \(limitBytes)"
        case .malformed(let message): "not a \(message) message"
        case .missingField(let field): "field \(field) is missing"
        case .unknownValue(let field, let value): "unknown value \(value) of \(field)"
        case .outOfRange(let field, let value, let allowed):
            "\(field) is \(value), allowed \(allowed.lowerBound)...\(allowed.upperBound)"
        case .tooLong(let field, let bytes, let limitBytes):
            "\(field) has \(bytes) bytes, limit \(limitBytes)"
        case .tooMany(let field, let count, let limit):
            "\(field) has \(count) elements, limit \(limit)"
        case .invalidText(let field): "text of \(field) is invalid"
        }
    }
}
