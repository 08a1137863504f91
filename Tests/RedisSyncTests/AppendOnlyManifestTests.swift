import RedisSync
import Testing

@Suite("Append-only manifest")
struct AppendOnlyManifestTests {
    @Test("The base comes first, increments follow in order, history is left out")
    func order() throws {
        let files = try AppendOnlyManifest.files(
            of: """
                file appendonly.aof.1.base.rdb seq 1 type h
                file "a \\"b.base.rdb" seq 2 type b
                file appendonly.aof.3.incr.aof seq 3 type i startoffset 17
                file appendonly.aof.4.incr.aof seq 4 type i

                """)
        #expect(
            files.map(\.name) == [
                "a \"b.base.rdb", "appendonly.aof.3.incr.aof", "appendonly.aof.4.incr.aof",
            ])
        #expect(files.map(\.role) == [.base, .increment, .increment])
    }

    @Test("Other lines, names that leave the directory and a second base are refused")
    func refusals() {
        #expect(throws: AppendOnlyManifestError.badLine(1)) {
            try AppendOnlyManifest.files(of: "file a seq x type b")
        }
        #expect(throws: AppendOnlyManifestError.badLine(1)) {
            try AppendOnlyManifest.files(of: "file \"a seq 1 type b")
        }
        #expect(throws: AppendOnlyManifestError.unsafeName("../a")) {
            try AppendOnlyManifest.files(of: "file ../a seq 1 type b")
        }
        #expect(throws: AppendOnlyManifestError.badOrder(line: 2)) {
            try AppendOnlyManifest.files(of: "file a seq 1 type b\nfile b seq 2 type b")
        }
    }
}
