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

    /// Why one end does not trust the other; nil = the error is about something else.
    ///
    /// Trying again makes no sense: certificates do not get right by waiting.
    static func distrust(_ error: any Error) -> String? {
        let text: String
        switch error {
        case let error as NIOSSLExtraError:
            guard error == .failedToValidateHostname else { return nil }
            return "the server's certificate is for another name than the one connected to"
        case NIOSSLError.unableToValidateCertificate, NIOSSLError.noCertificateToValidate:
            return "the server's certificate can't be verified"
        case NIOSSLError.handshakeFailed(let cause): text = "\(cause)"
        case let cause as BoringSSLError: text = "\(cause)"
        default: return nil
        }
        if text.contains("CERTIFICATE_VERIFY_FAILED") {
            return "the server's certificate is signed by nobody that is trusted here (ca-file)"
        }
        if text.contains("WRONG_VERSION_NUMBER") { return "the server does not speak TLS" }
        return text.contains("ALERT") ? "the server refuses our side of TLS: \(text)" : nil
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
