import Keyspace
import SyncProtocol
import Testing

@testable import Replication

@Suite("What FLUSHDB of a type means, down a chain")
struct TypedFlushTests {
    @Test("A replica of a replica learns who wrote the log, also when that changes meanwhile")
    func learns() async throws {
        let pair = try await VirtualPair()
        let upper = pair.masterKeyspace.databases[0]
        let lower = pair.replicaKeyspace.databases[0]
        try pair.write(bytes: 8_000, seed: 1)
        // As if the upper one had got it from a 3.5.5, and now followed a 3.5.0.
        try upper.setTypedFlush(emptiesAll: true)
        try await pair.slaveOf()
        try await pair.wait("the first rule") {
            pair.phase == .following && lower.typedFlush == upper.typedFlush
        }
        try pair.write(bytes: 8_000, seed: 2)
        try await pair.wait("the items") { lower.published == upper.published }
        try upper.setTypedFlush(emptiesAll: false)
        try await pair.wait("the second rule") { lower.typedFlush == upper.typedFlush }
        #expect(lower.typedFlush.map(\.emptiesAll) == [true, false])
        try pair.write(bytes: 8_000, seed: 3)
        try await pair.wait("the later items") { lower.published == upper.published }
        await pair.stop()
    }
}
