import Foundation
import ReplicationCore
import Testing

/// Whole systems of master and replica machines over a network that breaks and disks that forget.
@Suite("Simulation")
struct Simulation {
    private static let scripts = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("Scripts").resolvingSymlinksInPath()

    private static var environment: [String: String] { ProcessInfo.processInfo.environment }

    static let scriptNames: [String] =
        ((try? FileManager.default.contentsOfDirectory(atPath: scripts.path)) ?? [])
        .filter { $0.hasSuffix(".txt") && $0 != "PROVENANCE.txt" }.sorted()

    /// Commands, and below each `status` the expected lines, indented by `> `.
    @Test("Script", arguments: scriptNames)
    func script(_ name: String) throws {
        let url = Self.scripts.appendingPathComponent(name)
        let text = try String(contentsOf: url, encoding: .utf8)
        var script = Script(seed: 1)
        var actual: [String] = []
        for line in text.split(separator: "\n", omittingEmptySubsequences: false)
        where !line.hasPrefix("> ") {
            let before = script.output.count
            try script.run(String(line))
            actual.append(String(line))
            actual += script.output[before...].map { "> \($0)" }
        }
        let written = actual.joined(separator: "\n")
        if Self.environment["REWRITE"] == "1" {
            try written.write(to: url, atomically: true, encoding: .utf8)
        } else {
            #expect(written == text, "\(name)")
        }
        #expect(script.world.faults.isEmpty, "\(name): \(script.world.faults)")
    }

    /// Seeds of this run: `PIKA_TEST_SEED` alone when `PIKA_TEST_RUNS` is 1.
    static let seeds: [UInt64] = {
        let first = environment["PIKA_TEST_SEED"].flatMap { UInt64($0) } ?? 20_261_126
        let runs = environment["PIKA_TEST_RUNS"].flatMap { UInt64($0) } ?? 12
        return (0..<runs).map { first &+ $0 }
    }()

    @Test("Random faults: nothing diverges, and all is equal once they stop", arguments: seeds)
    func randomFaults(_ seed: UInt64) {
        var storm = Storm(seed: seed)
        storm.run()
        let faults = storm.script.world.faults
        #expect(faults.isEmpty, "SEED=\(seed): \(faults.joined(separator: "\n"))")
    }
}
