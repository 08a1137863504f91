/// Versions of this server, and of the Pika that it stands in for.
public enum ServerVersion {
    /// The Pika whose files, protocol and INFO fields are spoken.
    public static let pika = "3.5.0"
    /// This implementation.
    public static let own = "0.1.0"
    /// The Redis whose replies and errors clients see where Pika has none of its own.
    public static let redis = "7.0.0"

    /// What `-v` prints.
    public static var text: String {
        """
        pika_version: \(pika)
        pika_swift_version: \(own)
        redis_version: \(redis)
        """
    }
}
