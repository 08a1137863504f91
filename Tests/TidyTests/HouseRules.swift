import Foundation
import Testing

/// The house rules, read from the sources themselves.
@Suite("Tidy")
struct HouseRules {
    static let sources = Repository.swiftFiles(under: "Sources")
    static let tools = Repository.swiftFiles(under: "tools")
    static let tests = Repository.swiftFiles(under: "Tests")

    @Test("Every file is found")
    func filesAreFound() {
        #expect(Set(Self.sources.map(\.module)).isSuperset(of: Rules.imports.keys))
        #expect(Self.tests.count > 20)
    }

    @Test("A module imports only what the table allows")
    func imports() {
        var faults: [String] = []
        for file in Self.sources {
            guard let allowed = Rules.imports[file.module] else {
                faults.append("\(file.path): module \(file.module) is not in the table")
                continue
            }
            for line in file.text.split(separator: "\n") {
                guard let module = importedModule(line), !allowed.contains(module),
                    !Rules.commonImports.contains(module)
                else { continue }
                faults.append("\(file.path) imports \(module)")
            }
        }
        #expect(faults.isEmpty, "\(faults.joined(separator: "\n"))")
    }

    /// The module that a line imports: `public import struct A.B` → `A`.
    private func importedModule(_ line: Substring) -> String? {
        let words = line.split(separator: " ")
        guard let index = words.firstIndex(of: "import"), index + 1 < words.count,
            words[..<index].allSatisfy({
                ["public", "package", "internal", "private", "fileprivate"].contains($0)
                    || $0.hasPrefix("@")
            })
        else { return nil }
        let kinds: [Substring] = [
            "struct", "class", "enum", "protocol", "func", "typealias", "var",
        ]
        let name = kinds.contains(words[index + 1]) ? words.last ?? "" : words[index + 1]
        return name.split(separator: ".").first.map(String.init)
    }

    @Test("Files have at most 600 lines, machines 1,000")
    func fileLengths() {
        var faults: [String] = []
        for file in Self.sources + Self.tools + Self.tests {
            let limit =
                file.module == "ReplicationCore" ? Rules.maxMachineFileLines : Rules.maxFileLines
            if file.lineCount > max(limit, Rules.longFiles[file.path] ?? 0) {
                faults.append("\(file.path) has \(file.lineCount) lines")
            }
        }
        #expect(faults.isEmpty, "\(faults.joined(separator: "\n"))")
    }

    @Test("Functions have at most 70 lines")
    func functionLengths() {
        var faults: [String] = []
        for file in Self.sources + Self.tools + Self.tests {
            let long = file.source.functions().filter { $0.lineCount > Rules.maxFunctionLines }
            if long.count > Rules.longFunctions[file.path] ?? 0 {
                faults += long.map { "\(file.path):\($0.line) has \($0.lineCount) lines" }
            }
        }
        #expect(faults.isEmpty, "\(faults.joined(separator: "\n"))")
    }

    @Test("Banned tokens are absent from code")
    func bannedTokens() {
        var faults: [String] = []
        for file in Self.sources + Self.tools {
            var tokens = Rules.bannedTokens
            // A library does not print; a function of that name may be its own.
            if file.path.hasPrefix("Sources/"), file.module != "pika",
                !file.text.contains("func print(")
            {
                tokens.append("print(")
            }
            if Rules.clocklessModules.contains(file.module) { tokens += Rules.clockTokens }
            for token in tokens {
                faults += file.source.occurrences(of: token).map {
                    "\(file.path):\(file.source.line(of: $0)): \(token)"
                }
            }
        }
        #expect(faults.isEmpty, "\(faults.joined(separator: "\n"))")
    }

    @Test("Banned words are absent from code and comments")
    func bannedWords() {
        var faults: [String] = []
        for file in Self.sources + Self.tools + Self.tests
        where !file.path.hasPrefix("Tests/TidyTests/") {
            faults += Rules.bannedWords.filter(file.text.contains).map { "\(file.path): \($0)" }
        }
        #expect(faults.isEmpty, "\(faults.joined(separator: "\n"))")
    }

    @Test("What the compiler can't check says why it is safe")
    func safetyComments() {
        var faults: [String] = []
        for file in Self.sources + Self.tools {
            let lines = file.text.split(separator: "\n", omittingEmptySubsequences: false)
            for token in ["@unchecked Sendable", "nonisolated(unsafe)"] {
                for index in file.source.occurrences(of: token) {
                    let line = file.source.line(of: index)
                    let around = lines[max(0, line - 6)..<min(lines.count, line + 2)]
                    if around.contains(where: { $0.contains("SAFETY:") }) { continue }
                    faults.append("\(file.path):\(line): \(token)")
                }
            }
        }
        #expect(faults.isEmpty, "\(faults.joined(separator: "\n"))")
    }

    @Test("No file names a machine's paths or the reference folder")
    func machinePaths() {
        let scripts = Repository.files(under: "tools") { !$0.hasSuffix(".swift") }
        let documents = ["sync-protocol", "conf"].flatMap { directory in
            Repository.files(under: directory) { !$0.hasSuffix(".bin") }
        }
        var faults: [String] = []
        for file in Self.sources + Self.tools + Self.tests + scripts + documents
        where !file.path.hasPrefix("Tests/TidyTests/") {
            faults += ["/work/", "/tmp/dev", "/root/", "/home/"].filter(file.text.contains)
                .map { "\(file.path) names \($0)" }
        }
        #expect(faults.isEmpty, "\(faults.joined(separator: "\n"))")
    }

    @Test("Every recorded or golden file says where it came from")
    func provenance() throws {
        let root = Repository.root
        for directory in ["sync-protocol/vectors"] + fixtureDirectories() {
            let url = root.appendingPathComponent(directory)
            let names = try FileManager.default.contentsOfDirectory(atPath: url.path)
            let hasProvenance = names.contains {
                $0.uppercased().hasPrefix("PROVENANCE") || $0 == "README.md"
            }
            #expect(hasProvenance, "\(directory) has no PROVENANCE.md")
        }
    }

    private func fixtureDirectories() -> [String] {
        let tests = Repository.root.appendingPathComponent("Tests")
        let names = (try? FileManager.default.contentsOfDirectory(atPath: tests.path)) ?? []
        return names.map { "Tests/\($0)/Fixtures" }.filter {
            FileManager.default.fileExists(atPath: Repository.root.appendingPathComponent($0).path)
        }
    }

    @Test("The reader of sources sees code, not comments or texts")
    func sourceReader() {
        let text = """
            // try! in a comment
            /* print( /* nested */ fatalError( */
            let a = "try! \\(b("}") + "x") print("
            let c = #"fatalError(\\"#
            func f(_ g: () -> Void = { }) -> Int {
                if true { return 1 }
                return 2
            }
            protocol P { func h() }
            let z = try! x
            """
        let source = SwiftSource(text)
        #expect(source.occurrences(of: "print(").isEmpty)
        #expect(source.occurrences(of: "fatalError(").isEmpty)
        #expect(source.occurrences(of: "try!").map(source.line) == [10])
        #expect(source.functions().map(\.line) == [5])
        #expect(source.functions().map(\.lineCount) == [4])
    }
}
