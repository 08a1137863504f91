import Binlog
import FileIO
import Foundation
import Keyspace
import Logging
import NIOCore
import NIOPosix
import PikaStorage
import SyncProtocol
import TestKit
import Testing

@testable import Replication

/// A master in this process: a keyspace in a directory of its own, and both services on loopback.
final class MasterHarness: Sendable {
    let directory: String
    let port: Int
    let keyspace: Keyspace
    let service: MasterSide
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    private let pool = NIOThreadPool(numberOfThreads: 2)
    private let ownsDirectory: Bool

    init(
        directory: String? = nil, port: Int? = nil, databases: Int = 1,
        binlogFileBytes: UInt64 = 1 << 20,
        change: (inout ReplicationSettings) -> Void = { _ in }
    ) throws {
        self.ownsDirectory = directory == nil
        self.directory = directory ?? Self.makeDirectory()
        self.port = try port ?? LoopbackPorts.next()
        var configuration = KeyspaceConfiguration(
            databasePath: "\(self.directory)/db", logPath: "\(self.directory)/log",
            fileSystem: RealFileSystem(),
            environment: StoreEnvironment(blockCacheBytes: 8 << 20, writeBufferBytes: 64 << 20))
        configuration.databaseCount = databases
        configuration.binlog = BinlogConfiguration(fileSizeLimitBytes: binlogFileBytes)
        self.keyspace = try Keyspace.open(configuration)
        self.pool.start()
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        var replication = ReplicationConfiguration(
            port: self.port, dumpPath: "\(self.directory)/dump",
            databaseSyncPath: "\(self.directory)/dbsync", fileSystem: RealFileSystem(),
            logger: logger)
        replication.replicationListenHosts = ["127.0.0.1"]
        replication.fileListenHosts = ["127.0.0.1"]
        replication.announceHost = "127.0.0.1"
        var settings = ReplicationSettings()
        change(&settings)
        self.service = MasterSide(
            context: ReplicationContext(
                keyspace: self.keyspace, keyspaceConfiguration: configuration,
                configuration: replication, settings: SettingsBox(settings),
                loop: self.group.next(), pool: self.pool,
                sending: Limiter(
                    bytesPerSecond: settings.throttleBytesPerSecond, loop: self.group.next()),
                logger: logger))
        try self.service.start()
    }

    static func makeDirectory() -> String {
        let path = NSTemporaryDirectory() + "pika-replication-\(UUID().uuidString)"
        try? FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: true)
        return path
    }

    /// Stops everything; the directory stays if it was given.
    func stop() {
        self.service.shutdown()
        self.keyspace.close()
        try? self.pool.syncShutdownGracefully()
        try? self.group.syncShutdownGracefully()
        if self.ownsDirectory { try? FileManager.default.removeItem(atPath: self.directory) }
    }

    /// SET of so many keys, each a group of its own.
    func set(_ count: Int, database: Int = 0, prefix: String = "k", valueBytes: Int = 100) throws {
        let value = String(repeating: "v", count: valueBytes)
        for number in 0..<count {
            try self.set("\(prefix)\(number)", value, database: database)
        }
    }

    func set(_ key: String, _ value: String, database: Int = 0) throws {
        try self.keyspace.set(key, Array(value.utf8), database: database)
    }
}

extension Keyspace {
    /// SET, committed as a group of its own.
    func set(_ key: String, _ value: [UInt8], database: Int = 0) throws {
        let entrance = self.gate.makeEntrance()
        defer { self.gate.remove(entrance) }
        entrance.enterBlocking()
        defer { entrance.leave() }
        let group = self.databases[database].makeGroup(onPool: true)
        func perform() throws {
            try Array(key.utf8).withUnsafeBytes { key in
                _ = group.lock(key)
                try value.withUnsafeBytes { value in _ = try group.perform(.set, key, value) }
            }
        }
        try perform()
        var outcome = group.commit()
        if case .prepareAgain = outcome {
            try perform()
            outcome = group.commit()
        }
        if case .stalled = outcome { outcome = group.finishStalled() }
        guard case .committed = outcome else { throw NotCommitted(outcome: "\(outcome)") }
    }
}

struct NotCommitted: Error { var outcome: String }

/// A blocking client socket with a time limit: what a hostile or recorded peer is made of.
final class RawSocket {
    private var descriptor: Int32
    private var reader = ByteBuffer()
    private var decoder = FrameDecoder(limits: .replicationResponse)

    enum Failure: Error { case connect, closed, timedOut }

    init(port: Int) throws {
        self.descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var limit = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(
            self.descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        guard Self.withAddress(port: port, { connect(self.descriptor, $0, $1) }) == 0 else {
            close(self.descriptor)
            throw Failure.connect
        }
    }

    deinit { close(self.descriptor) }

    private static func withAddress(
        port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port).bigEndian)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    func send(_ bytes: some Sequence<UInt8>) {
        let array = Array(bytes)
        var done = 0
        while done < array.count {
            let count = array[done...].withUnsafeBytes {
                Foundation.send(
                    self.descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            done += count
        }
    }

    func send(_ request: ReplicationRequest) {
        var buffer = ByteBuffer()
        ReplicationCodec.encode(request, into: &buffer)
        self.send(buffer.readableBytesView)
    }

    func send(_ request: FileServiceRequest) {
        var buffer = ByteBuffer()
        FileServiceCodec.encode(request, into: &buffer)
        self.send(buffer.readableBytesView)
    }

    /// The next frame's body.
    func frame() throws -> ByteBuffer {
        while true {
            if let body = try self.decoder.next(from: &self.reader) { return body }
            var chunk = [UInt8](repeating: 0, count: 1 << 16)
            let count = recv(self.descriptor, &chunk, chunk.count, 0)
            if count == 0 { throw Failure.closed }
            if count < 0 {
                throw errno == EAGAIN || errno == EWOULDBLOCK ? Failure.timedOut : Failure.closed
            }
            self.reader.writeBytes(chunk[..<count])
        }
    }

    func replication() throws -> DecodedReplicationResponse {
        try ReplicationCodec.decodeResponse(try self.frame())
    }

    /// The next answer to a request; items and keep-alives before it are skipped.
    func control() throws -> ReplicationResponse {
        while true {
            if case .control(let response) = try self.replication() { return response }
        }
    }

    func file() throws -> DecodedFileResponse {
        try FileServiceCodec.decodeResponse(try self.frame())
    }

    /// True if the peer closes without sending anything more but whole frames.
    func isClosed() -> Bool {
        do {
            while true { _ = try self.frame() }
        } catch Failure.closed {
            return true
        } catch {
            return false
        }
    }
}

/// A replica as a test speaks for it.
struct FakeReplica {
    let harness: MasterHarness
    let socket: RawSocket
    let address: ReplicaAddress
    var master: MasterInfo?

    init(
        _ harness: MasterHarness, number: Int = 1, ours: Bool = false, auth: String? = nil
    ) throws {
        self.harness = harness
        self.socket = try RawSocket(port: harness.port + 2_000)
        self.address = ReplicaAddress(host: "127.0.0.1", port: 9_300 + number)
        self.socket.send(
            .metaSync(
                MetaSyncRequest(
                    replica: self.address, auth: auth, peer: ours ? PeerInfo() : nil)))
        guard case .metaSync(let response) = try self.socket.control() else { return }
        self.master = response.master
    }

    func trySync(
        _ position: BinlogPosition, database: String = "db0", claim: HistoryClaim? = nil
    ) throws -> TrySyncVerdict {
        self.socket.send(
            .trySync(
                TrySyncRequest(
                    replica: self.address, database: database, end: BinlogOffset(position),
                    claim: claim)))
        guard case .trySync(let response) = try self.socket.control() else {
            throw RawSocket.Failure.closed
        }
        #expect(response.status == .ok)
        return try #require(response.verdict)
    }

    func dbSync(
        database: String = "db0", wanted: SnapshotID? = nil
    ) throws -> DBSyncGrant {
        self.socket.send(
            .dbSync(
                DBSyncRequest(
                    replica: self.address, database: database, end: BinlogOffset(.zero),
                    wantedSnapshot: wanted)))
        guard case .dbSync(let response) = try self.socket.control() else {
            throw RawSocket.Failure.closed
        }
        return try #require(response.grant)
    }

    func acknowledge(
        _ start: BinlogPosition, _ end: BinlogPosition, session: SessionID, first: Bool = false,
        database: String = "db0", progress: ReplicaProgress? = nil
    ) {
        let zero = LogicID(term: 0, index: 0)
        self.socket.send(
            .binlogSync(
                BinlogAck(
                    replica: self.address, database: database,
                    start: BinlogOffset(start, logicID: zero),
                    end: BinlogOffset(end, logicID: zero), session: session, isFirst: first,
                    progress: progress)))
    }

    /// Begins to follow and reads items until the log's end is `end`, acknowledging each frame.
    func follow(
        from start: BinlogPosition, session: SessionID, until end: BinlogPosition
    ) throws -> [BinlogChip] {
        self.acknowledge(start, start, session: session, first: true)
        var chips: [BinlogChip] = []
        while (chips.last?.end.position ?? start) < end {
            guard case .batch(let batch) = try self.socket.replication() else { continue }
            let items = batch.owned.chips.filter { !$0.isKeepAlive }
            guard let first = items.first, let last = items.last else {
                self.acknowledge(.zero, .zero, session: session)
                continue
            }
            chips += items
            self.acknowledge(first.end.position, last.end.position, session: session)
        }
        return chips
    }

    /// Questions, 50 ms apart: on a busy machine a snapshot may take its time.
    static let listLimit = 2_400

    /// Lists the snapshot; asks again while it is made.
    func list(
        _ files: RawSocket, database: String = "db0", wanted: SnapshotID? = nil
    ) throws -> FileListResponse {
        for _ in 0..<Self.listLimit {
            files.send(
                .list(
                    FileListRequest(
                        database: database, fileToken: self.master?.fileToken,
                        wantedSnapshot: wanted)))
            guard case .list(let response) = try files.file().response else { break }
            if response.refusal?.reason == .preparing {
                Thread.sleep(forTimeInterval: 0.05)
                continue
            }
            return response
        }
        throw RawSocket.Failure.timedOut
    }
}
