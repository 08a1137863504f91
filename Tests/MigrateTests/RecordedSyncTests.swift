import Foundation
import MigrateCore
import RedisSync
import TestKit
import Testing

@testable import Migrate

/// What servers that are not on this machine have sent.
@Suite("Recorded synchronisations")
struct RecordedSyncTests {
    fileprivate struct Recording: CustomTestStringConvertible {
        var name: String
        var bytes: [UInt8]
        var keys: [String]
        var units: [String]
        var testDescription: String { self.name }
    }

    fileprivate static let recordings: [Recording] = {
        guard let folder = Bundle.module.url(forResource: "Fixtures", withExtension: nil),
            let names = try? FileManager.default.contentsOfDirectory(atPath: folder.path)
        else { return [] }
        return names.filter { $0.hasSuffix(".sync") }.sorted().compactMap { name in
            let file = folder.appendingPathComponent(name)
            guard let bytes = try? Data(contentsOf: file),
                let text = try? String(
                    contentsOf: file.deletingPathExtension().appendingPathExtension("txt"),
                    encoding: .utf8)
            else { return nil }
            let parts = text.split(separator: "\n").split(separator: "stream")
            guard parts.count == 2 else { return nil }
            return Recording(
                name: name, bytes: Array(bytes), keys: parts[0].map(String.init),
                units: parts[1].map(String.init))
        }
    }()

    /// Snapshot and stream behind each other, as an AOF with a preamble is, and the stream's offset.
    private static func receive(
        _ bytes: [UInt8], cut: () -> Int
    ) throws -> (file: [UInt8], offset: UInt64?) {
        var machine = ReplicaHandshake(ReplicaRequest())
        var file: [UInt8] = []
        var offset: UInt64?
        var at = 0
        var events = machine.start()
        while at < bytes.count {
            let end = min(bytes.count, at + cut())
            events += try machine.received(bytes[at..<end])
            at = end
        }
        for event in events {
            switch event {
            case .snapshot(let bytes), .stream(let bytes): file += bytes
            case .fullSync(_, let start): offset = start
            default: break
            }
        }
        return (file, offset)
    }

    @Test("Nine versions of Redis and Valkey are recorded")
    func all() {
        #expect(Self.recordings.map(\.name).count == 9)
    }

    @Test("Keys and units come out as they were written, in any cuts", arguments: Self.recordings)
    fileprivate func decodes(_ recording: Recording) async throws {
        var random = SeededRandom(seed: 1)
        for round in 0..<20 {
            let (file, offset) = try Self.receive(recording.bytes) {
                round == 0 ? 1 : Int.random(in: 1...400, using: &random)
            }
            #expect(offset != nil)
            let files = MemoryFileSystem()
            files.setContents("/it", file)
            let events = try await FileSourceTests.all(FileSourceTests.file(files, "/it"))
            #expect(SnapshotWriterTests.summary(events).sorted() == recording.keys.sorted())
            let units = events.filter { if case .unit = $0 { true } else { false } }
            #expect(FileSourceTests.text(units) == recording.units)
            guard case .end = events.last else {
                Issue.record("it does not end")
                return
            }
        }
    }

    @Test(
        "Every command of every version is known to the planner, or its keys are read",
        arguments: Self.recordings)
    fileprivate func plans(_ recording: Recording) async throws {
        let (file, _) = try Self.receive(recording.bytes) { 4_096 }
        let files = MemoryFileSystem()
        files.setContents("/it", file)
        var target = TargetCapabilities(product: .pika, version: "3.5.0")
        target.keepsTypesApart = true
        target.hasSecondDeadlines = true
        let planner = Planner(target: target, filter: KeyFilter(), policy: PlanPolicy())
        for event in try await FileSourceTests.all(FileSourceTests.file(files, "/it")) {
            guard case .unit(let unit) = event else { continue }
            let plan = try planner.plan(unit)
            #expect(plan.action != .execute([]), "\(unit)")
        }
    }
}
