import Foundation
import Testing

/// The files of this repository that the house rules are about.
enum Repository {
    static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// A Swift file of ours.
    struct File: Sendable, CustomTestStringConvertible {
        /// Relative to the root.
        var path: String
        var text: String
        /// Without comments and literals; empty for files of other languages.
        var source: SwiftSource

        init(path: String, text: String) {
            self.path = path
            self.text = text
            source = SwiftSource(path.hasSuffix(".swift") ? text : "")
        }

        var testDescription: String { path }
        var isGenerated: Bool { path.contains("/Generated/") }
        /// `Sources/<module>/…` or `tools/<module>/…`.
        var module: String { String(path.split(separator: "/").dropFirst().first ?? "") }
        var lineCount: Int { text.utf8.count { $0 == UInt8(ascii: "\n") } }
    }

    /// Swift files under a directory, sorted, generated ones and build folders left out.
    static func swiftFiles(under directory: String) -> [File] {
        files(under: directory) { $0.hasSuffix(".swift") }.filter { !$0.isGenerated }
    }

    static func files(under directory: String, where matches: (String) -> Bool) -> [File] {
        let base = root.appendingPathComponent(directory).resolvingSymlinksInPath()
        let names = FileManager.default.enumerator(atPath: base.path)?.allObjects ?? []
        return names.compactMap { $0 as? String }
            .filter { !$0.contains(".build") && matches($0) }.sorted()
            .compactMap { name in
                let url = base.appendingPathComponent(name)
                guard let text = try? String(contentsOf: url, encoding: .utf8) else { return nil }
                return File(path: "\(directory)/\(name)", text: text)
            }
    }
}
