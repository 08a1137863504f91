import Commands
import NIOCore
import Synchronization

/// How much a connection that listens may have waiting (`client-output-buffer-limit pubsub`).
struct PushLimits: Sendable, Equatable {
    /// Beyond this many bytes it is closed at once; 0 = no limit.
    var hardBytes = 32 << 20
    /// Beyond this many bytes for ``softSeconds`` it is closed; 0 = no limit.
    var softBytes = 8 << 20
    var softSeconds = 60
}

/// Messages on their way to a connection, from any thread to its loop.
///
/// What is pushed while the loop is busy goes out in one write. Beyond the hard limit the
/// connection is closed, and what is pushed later is dropped.
final class PushOutlet: ClientOutlet {
    private struct State {
        var bytes: [UInt8] = []
        var isScheduled = false
        var isClosed = false
        var deliver: (@Sendable () -> Void)?
    }

    private let eventLoop: any EventLoop
    private let services: ClientServices
    private let state = Mutex(State())

    init(eventLoop: any EventLoop, services: ClientServices) {
        self.eventLoop = eventLoop
        self.services = services
    }

    /// Names what runs on the loop when there are bytes to take.
    func open(_ deliver: @escaping @Sendable () -> Void) {
        state.withLock { $0.deliver = deliver }
    }

    /// Nothing is delivered any more.
    func close() {
        state.withLock {
            $0.isClosed = true
            $0.bytes = []
            $0.deliver = nil
        }
    }

    func push(_ bytes: [UInt8]) {
        let hardBytes = services.pushLimits.hardBytes
        let deliver = state.withLock { state -> (@Sendable () -> Void)? in
            guard !state.isClosed else { return nil }
            // One message at least may be larger than the limit's rest: the loop judges the sum.
            if hardBytes == 0 || state.bytes.count <= hardBytes { state.bytes += bytes }
            guard !state.isScheduled else { return nil }
            state.isScheduled = true
            return state.deliver
        }
        if let deliver { eventLoop.execute(deliver) }
    }

    var waitingBytes: Int { state.withLock { $0.bytes.count } }

    /// What was pushed since the last call, on the loop.
    func take() -> [UInt8] {
        state.withLock { state in
            state.isScheduled = false
            defer { state.bytes = [] }
            return state.bytes
        }
    }
}
