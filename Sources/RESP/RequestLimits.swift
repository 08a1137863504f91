/// Bounds on what one client may make the server hold for a request.
public struct RequestLimits: Sendable, Equatable {
    /// Most arguments in one request, the command word included.
    public var maxArguments: Int
    /// Longest single argument, in bytes.
    public var maxBulkBytes: Int
    /// Longest inline request, and longest count line of a multibulk request, in bytes.
    public var maxInlineBytes: Int
    /// Most arguments that a client may send before it has authenticated.
    public var maxArgumentsBeforeAuthentication: Int
    /// Longest argument that a client may send before it has authenticated, in bytes.
    public var maxBulkBytesBeforeAuthentication: Int

    /// Redis's limits.
    public init(
        maxArguments: Int = 1_048_576,
        maxBulkBytes: Int = 512 * 1024 * 1024,
        maxInlineBytes: Int = 64 * 1024,
        maxArgumentsBeforeAuthentication: Int = 10,
        maxBulkBytesBeforeAuthentication: Int = 16_384
    ) {
        self.maxArguments = maxArguments
        self.maxBulkBytes = maxBulkBytes
        self.maxInlineBytes = maxInlineBytes
        self.maxArgumentsBeforeAuthentication = maxArgumentsBeforeAuthentication
        self.maxBulkBytesBeforeAuthentication = maxBulkBytesBeforeAuthentication
    }
}

/// What a client sent that is not a request; the connection ends after the error reply.
public enum RequestError: Error, Equatable, Sendable {
    /// The count behind `*` is no number, or above the limit.
    case invalidMultibulkLength
    /// The count behind `*` is above what is allowed before authentication.
    case unauthenticatedMultibulkLength
    /// The line behind `*` does not end within the limit.
    case multibulkCountTooLong
    /// An argument does not begin with `$` but with this byte.
    case expectedBulk(found: UInt8)
    /// The length behind `$` is no number, negative, or above the limit.
    case invalidBulkLength
    /// The length behind `$` is above what is allowed before authentication.
    case unauthenticatedBulkLength
    /// The line behind `$` does not end within the limit.
    case bulkCountTooLong
    /// An inline request does not end within the limit.
    case inlineTooLong
    /// The quotes of an inline request do not match.
    case unbalancedQuotes

    /// The text after `-ERR `, as Redis 7 words it.
    public var text: String {
        switch self {
        case .invalidMultibulkLength: "Protocol error: invalid multibulk length"
        case .unauthenticatedMultibulkLength: "Protocol error: unauthenticated multibulk length"
        case .multibulkCountTooLong: "Protocol error: too big mbulk count string"
        case .expectedBulk(let found):
            "Protocol error: expected '$', got '\(Character(UnicodeScalar(Self.printable(found))))'"
        case .invalidBulkLength: "Protocol error: invalid bulk length"
        case .unauthenticatedBulkLength: "Protocol error: unauthenticated bulk length"
        case .bulkCountTooLong: "Protocol error: too big bulk count string"
        case .inlineTooLong: "Protocol error: too big inline request"
        case .unbalancedQuotes: "Protocol error: unbalanced quotes in request"
        }
    }

    /// Line ends and NUL would break the error reply; Redis maps them to blanks too.
    private static func printable(_ byte: UInt8) -> UInt8 {
        byte < 0x20 || byte >= 0x7f ? 0x20 : byte
    }
}
