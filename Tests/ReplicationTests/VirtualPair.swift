import Binlog
import FileIO
import Foundation
import Keyspace
import Logging
import NIOCore
import NIOEmbedded
import NIOPosix
import PikaStorage
import ReplicationCore
import SyncProtocol
import Synchronization
import TestKit
import Testing

@testable import Replication

/// One end of a connection in memory: what is written comes out at the other end as that reads.
final class Wire: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    weak var peer: Wire?
    private var context: ChannelHandlerContext?
    private var inbox: [ByteBuffer] = []
    private var wantsRead = true
    private let readBytes: () -> Int
    private let onRead: (Int) -> Void
    private let onWrite: (Int) -> Void

    init(
        readBytes: @escaping () -> Int, onRead: @escaping (Int) -> Void,
        onWrite: @escaping (Int) -> Void
    ) {
        self.readBytes = readBytes
        self.onRead = onRead
        self.onWrite = onWrite
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func write(
        context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?
    ) {
        let buffer = self.unwrapOutboundIn(data)
        if buffer.readableBytes > 0 {
            self.onWrite(buffer.readableBytes)
            self.peer?.inbox.append(buffer)
            self.peer?.deliverSoon()
        }
        promise?.succeed()
    }

    func read(context: ChannelHandlerContext) {
        self.wantsRead = true
        self.deliverSoon()
    }

    func close(
        context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?
    ) {
        if let peer = self.peer {
            self.peer = nil
            peer.peer = nil
            peer.context?.close(promise: nil)
        }
        context.close(mode: mode, promise: promise)
    }

    private func deliverSoon() {
        guard self.wantsRead, !self.inbox.isEmpty, let context = self.context else { return }
        context.eventLoop.assumeIsolated().execute { self.deliver() }
    }

    private func deliver() {
        guard self.wantsRead, !self.inbox.isEmpty, let context = self.context else { return }
        let count = min(self.inbox[0].readableBytes, self.readBytes())
        guard let piece = self.inbox[0].readSlice(length: count) else { return }
        if self.inbox[0].readableBytes == 0 { self.inbox.removeFirst() }
        self.wantsRead = false
        self.onRead(count)
        context.fireChannelRead(self.wrapInboundOut(piece))
        context.fireChannelReadComplete()
        context.channel.read()
    }
}

/// A master and a replica whose connections are in memory and whose time a test moves.
///
/// All of replication is the real thing but the sockets and the clock; files are real, and work on
/// the pool takes no time.
final class VirtualPair: Sendable {
    /// What passed at the two ends that are limited, both services together.
    struct Traffic: Sendable {
        /// Bytes that the master wrote.
        var sent = TrafficLedger()
        /// Bytes that the replica read.
        var received = TrafficLedger()
    }

    static let millisecond: UInt64 = 1_000_000
    static let second: UInt64 = 1_000_000_000

    let loop = NIOAsyncTestingEventLoop()
    let traffic = Mutex(Traffic())
    let master: ReplicationService
    let replica: ReplicationService
    let masterKeyspace: Keyspace
    let replicaKeyspace: Keyspace
    private let directory = MasterHarness.makeDirectory()
    private let pool = NIOThreadPool(numberOfThreads: 1)
    private let dialed: Dialed

    /// What the replica's dialer reaches.
    private final class Dialed: Sendable {
        let pair = Mutex<VirtualPair?>(nil)
    }

    init(masterRate: UInt64 = 0, replicaRate: UInt64 = 0) async throws {
        self.pool.start()
        let dialed = Dialed()
        self.dialed = dialed
        let dialer = Dialer { call, loop in
            guard let pair = dialed.pair.withLock({ $0 }) else {
                return loop.makeFailedFuture(ChannelError.eof)
            }
            return loop.makeCompletedFuture { try pair.connect(call) }
        }
        (self.masterKeyspace, self.master) = try Self.makeNode(
            "\(self.directory)/master", 9_221, masterRate, self.loop, self.pool, .tcp)
        (self.replicaKeyspace, self.replica) = try Self.makeNode(
            "\(self.directory)/replica", 9_222, replicaRate, self.loop, self.pool, dialer)
        dialed.pair.withLock { $0 = self }
        let core = self.master.masterSide.core
        try await self.loop.executeInContext { core.begin(snapshots: []) }
    }

    private static func makeNode(
        _ directory: String, _ port: Int, _ rate: UInt64, _ loop: NIOAsyncTestingEventLoop,
        _ pool: NIOThreadPool, _ dialer: Dialer
    ) throws -> (Keyspace, ReplicationService) {
        var configuration = KeyspaceConfiguration(
            databasePath: "\(directory)/db", logPath: "\(directory)/log",
            fileSystem: RealFileSystem(),
            environment: StoreEnvironment(blockCacheBytes: 8 << 20, writeBufferBytes: 64 << 20))
        configuration.databaseCount = 1
        let keyspace = try Keyspace.open(configuration)
        var logger = Logger(label: "virtual")
        logger.logLevel = .critical
        var replication = ReplicationConfiguration(
            port: port, dumpPath: "\(directory)/dump", databaseSyncPath: "\(directory)/dbsync",
            fileSystem: RealFileSystem(), logger: logger)
        replication.announceHost = "127.0.0.1"
        replication.dialer = dialer
        var settings = ReplicationSettings()
        settings.throttleBytesPerSecond = rate
        return (
            keyspace,
            ReplicationService(
                keyspace: keyspace, keyspaceConfiguration: configuration,
                configuration: replication, settings: settings, loop: loop, pool: pool)
        )
    }

    /// A connection to one of the master's services; on the loop.
    private func connect(_ call: Dialer.Call) throws -> any Channel {
        let client = NIOAsyncTestingChannel(loop: self.loop)
        let server = NIOAsyncTestingChannel(loop: self.loop)
        let (loop, buffers) = (self.loop, call.readBuffers)
        let near = Wire(
            readBytes: { buffers.buffer(allocator: ByteBufferAllocator()).writableBytes },
            onRead: { [unowned self] count in
                let now = loop.instant.nanoseconds
                self.traffic.withLock { $0.received.add(UInt64(count), at: now) }
            }, onWrite: { _ in })
        let far = Wire(
            readBytes: { 1 << 20 }, onRead: { _ in },
            onWrite: { [unowned self] count in
                let now = loop.instant.nanoseconds
                self.traffic.withLock { $0.sent.add(UInt64(count), at: now) }
            })
        near.peer = far
        far.peer = near
        let address = try SocketAddress(ipAddress: "127.0.0.1", port: call.master.port)
        server.remoteAddress = address
        client.localAddress = address
        try server.pipeline.syncOperations.addHandler(far)
        let core = self.master.masterSide.core
        if call.portOffset == MasterSide.replicationPortOffset {
            try server.pipeline.syncOperations.addHandler(ReplicaConnection(core: core))
        } else {
            try server.pipeline.syncOperations.addHandler(FileConnection(core: core))
        }
        try client.pipeline.syncOperations.addHandler(near)
        try call.addHandlers(client)
        server.connect(to: address, promise: nil)
        client.connect(to: address, promise: nil)
        return client
    }

    /// Stops both; their data go.
    func stop() async {
        self.dialed.pair.withLock { $0 = nil }
        let (master, replica) = (self.master.masterSide.core, self.replica.link)
        let stopping = Thread { replica.shutdown() }
        stopping.start()
        while !stopping.isFinished { await self.advance(milliseconds: 1) }
        _ = try? await self.loop.executeInContext { master.shutDown() }
        await self.settle()
        self.masterKeyspace.close()
        self.replicaKeyspace.close()
        try? await self.pool.shutdownGracefully()
        await self.loop.shutdownGracefully()
        try? FileManager.default.removeItem(atPath: self.directory)
    }

    // MARK: Time

    var now: UInt64 { self.loop.instant.nanoseconds }

    /// Lets everything happen that needs no time.
    func settle() async {
        var seen: UInt64?
        while true {
            await self.loop.run()
            await withCheckedContinuation { continuation in
                self.pool.submit { _ in continuation.resume() }
            }
            await self.loop.run()
            let total = self.traffic.withLock { $0.sent.totalBytes + $0.received.totalBytes }
            if total == seen { return }
            seen = total
        }
    }

    func advance(milliseconds: Int) async {
        await self.loop.advanceTime(by: .milliseconds(Int64(milliseconds)))
        await self.settle()
    }

    /// Lets time pass in steps of up to 15 ms: timers fire in time, the pool's work comes late.
    func pass(milliseconds: Int, _ random: inout SeededRandom) async {
        let end = self.now + UInt64(milliseconds) * Self.millisecond
        while self.now < end {
            let left = Int((end - self.now) / Self.millisecond)
            await self.advance(
                milliseconds: min(max(1, left), Int.random(in: 1...15, using: &random)))
        }
    }

    /// Moves time until a condition holds.
    func wait(
        _ what: String, steps: Int = 20_000, _ condition: () -> Bool
    ) async throws {
        for _ in 0..<steps {
            if condition() { return }
            await self.advance(milliseconds: 5)
        }
        throw NeverHappened(what: what)
    }

    struct NeverHappened: Error { var what: String }

    // MARK: What the tests do

    func slaveOf() async throws {
        try self.replica.slaveOf(host: "127.0.0.1", port: 9_221)
        await self.settle()
    }

    func setRate(master rate: UInt64? = nil, replica: UInt64? = nil) async {
        for (service, rate) in [(self.master, rate), (self.replica, replica)] {
            guard let rate else { continue }
            var settings = service.settings
            settings.throttleBytesPerSecond = rate
            service.apply(settings)
        }
        await self.settle()
    }

    var phase: ReplicaStatus.Phase? { self.replica.status().replica?.databases.first?.phase }

    /// Writes so many incompressible bytes and waits until they may be sent.
    func write(bytes: Int, valueBytes: Int = 4_000, seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        for number in 0..<(bytes / valueBytes) {
            var value = [UInt8]()
            value.reserveCapacity(valueBytes)
            while value.count < valueBytes {
                withUnsafeBytes(of: random.next()) { value.append(contentsOf: $0) }
            }
            try self.masterKeyspace.set("\(seed):\(number)", value)
        }
        let database = self.masterKeyspace.databases[0]
        for _ in 0..<2_000 where database.sendable < database.published { usleep(5_000) }
    }
}
