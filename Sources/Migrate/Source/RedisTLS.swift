internal import NIOCore
internal import NIOSSL

/// An encrypted link whose other end is verified.
public struct RedisTLS: Sendable {
    private let context: NIOSSLContext
    private let serverName: String?

    /// Loads certificates.
    ///
    /// - Parameters:
    ///   - authorityFile: PEM file of those who may vouch for the server; nil = the machine's.
    ///   - certificateFile: PEM file of our own certificate, if the server wants one.
    ///   - keyFile: PEM file of its key.
    ///   - serverName: the name that the certificate must have; nil = the host that is connected to.
    public init(
        authorityFile: String? = nil, certificateFile: String? = nil, keyFile: String? = nil,
        serverName: String? = nil
    ) throws {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateVerification = .fullVerification
        if let authorityFile { configuration.trustRoots = .file(authorityFile) }
        if let certificateFile {
            configuration.certificateChain = try NIOSSLCertificate.fromPEMFile(certificateFile)
                .map { .certificate($0) }
        }
        if let keyFile {
            configuration.privateKey = .privateKey(
                try NIOSSLPrivateKey(file: keyFile, format: .pem))
        }
        self.context = try NIOSSLContext(configuration: configuration)
        self.serverName = serverName
    }

    /// Puts encryption in front of a channel's other handlers.
    func addHandler(to channel: any Channel, host: String) throws {
        let name = self.serverName ?? host
        let isAddress = (try? SocketAddress(ipAddress: name, port: 0)) != nil
        // An address can't be asked for by name, but the certificate has to have it all the same.
        let handler = try NIOSSLClientHandler(
            context: self.context, serverHostname: isAddress ? nil : name)
        try channel.pipeline.syncOperations.addHandler(handler)
    }
}
