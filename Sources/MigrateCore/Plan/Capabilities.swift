/// What a target can do, as it was found by asking it.
public struct TargetCapabilities: Sendable, Equatable {
    /// Who it is.
    public enum Product: String, Sendable, Equatable {
        /// Redis, Valkey or one that says so.
        case redis
        /// A real Pika.
        case pika
        /// Our server.
        case ours
        /// A Codis proxy.
        case codis
    }

    /// Who it is.
    public var product: Product
    /// The version that it tells.
    public var version: String
    /// Commands that it does not know, lower case.
    public var missing: Set<String> = []
    /// `MULTI` and `EXEC`.
    public var hasTransactions = false
    /// `HSET` with several fields.
    public var hasMultiFieldHset = false
    /// `SET` with `PXAT` and `KEEPTTL`.
    public var hasModernSet = false
    /// `ZADD` with `GT`, `LT`, `NX`, `XX`, `INCR`.
    public var hasZaddFlags = false
    /// Deadlines are whole seconds that fit 32 bits.
    public var hasSecondDeadlines = false
    /// A name may hold several types: what overwrites must be preceded by a `DEL`.
    public var keepsTypesApart = false
    /// `MSET` of any keys: one server has them all.
    public var joinsStrings: Bool { self.product != .codis && !self.isSharded }
    /// Keys of one command, and of one transaction, must lie in one slot.
    public var isSharded = false
    /// It is a file: a copy begins it anew, nothing answers, and one worker keeps the order.
    public var isFile = false
    /// Databases of a file: as many as anyone sets a server to.
    public static let fileDatabases = 1_024
    /// Databases `0..<databases`.
    public var databases = 16
    /// Longest request, in bytes.
    public var maxRequestBytes = 513 << 20
    /// Longest string, in bytes.
    public var maxValueBytes = 512 << 20

    /// A table in which everything that is optional is missing.
    public init(product: Product, version: String) {
        self.product = product
        self.version = version
    }

    /// A file of commands that a Redis loads, from 6.2 on.
    public static var commandLog: TargetCapabilities {
        var target = TargetCapabilities(product: .redis, version: "file of commands")
        target.hasTransactions = true
        target.hasMultiFieldHset = true
        target.hasModernSet = true
        target.hasZaddFlags = true
        target.isFile = true
        target.databases = Self.fileDatabases
        return target
    }

    /// `redis 7.0.15`.
    public var description: String {
        "\(self.product.rawValue)\(self.isSharded ? " cluster" : "") \(self.version)"
    }

    /// Redis's and Pika's HyperLogLogs can't be read by each other.
    public var hasRedisHyperLogLog: Bool { self.product == .redis }
}
