public import FileIO
import Synchronization

/// The running server's settings: read at start, changed by CONFIG SET, written by CONFIG REWRITE.
public final class Conf: Sendable {
    /// What a refused CONFIG SET answers.
    public enum SetError: Error, Equatable, Sendable {
        /// No such item, or it can't be changed while the server runs.
        case unsupported(name: String)
        /// The value is wrong.
        case invalid(name: String, value: String, expected: String)
    }

    private struct State {
        var settings: Settings
        /// Items that were changed since the start, or are not as the file says.
        var changed: Set<Int> = []
        var observer: (@Sendable (String, Settings) -> Void)?
    }

    /// The file that was read, nil for the defaults.
    public let path: String?
    /// What the operator should look at.
    public let warnings: [ConfWarning]

    private let fileSystem: any FileSystem
    private let state: Mutex<State>

    /// Reads a file; without a path the defaults hold.
    ///
    /// - Throws: the first value that is wrong, with its line, or why the file can't be read.
    public init(path: String?, fileSystem: any FileSystem) throws(ConfError) {
        var settings = Settings()
        if let path {
            let file = ConfFile(try Self.contents(of: path, fileSystem))
            warnings = try settings.read(file, path: path)
        } else {
            warnings = []
        }
        self.path = path
        self.fileSystem = fileSystem
        state = Mutex(State(settings: settings))
    }

    /// A copy of the settings as they are now.
    public var settings: Settings {
        state.withLock { $0.settings }
    }

    /// Names the closure that hears of each change, with the item's name and the new settings.
    ///
    /// It runs on the caller of ``set(_:to:)``, outside of the lock.
    public func observe(_ observer: @escaping @Sendable (String, Settings) -> Void) {
        state.withLock { $0.observer = observer }
    }

    /// Items whose names match a pattern, with their values (CONFIG GET).
    public func items(matching matches: (String) -> Bool) -> [(name: String, value: String)] {
        let settings = settings
        var found: [(name: String, value: String)] = []
        for (index, item) in ConfTable.items.enumerated() {
            for name in [item.name] + item.aliases where matches(name) {
                found.append((name, settings.texts[index]))
            }
        }
        return found
    }

    /// The names that ``set(_:to:)`` takes.
    public static var settableNames: [String] {
        ConfTable.items.filter(\.live).map(\.name)
    }

    /// Changes live items (CONFIG SET), all or none.
    public func set(_ pairs: [(name: String, value: String)]) throws(SetError) {
        var changes: [(index: Int, name: String, value: String)] = []
        for (name, value) in pairs {
            guard let index = ConfTable.index(of: name), ConfTable.items[index].live else {
                throw .unsupported(name: name)
            }
            changes.append((index, name, value))
        }
        try store(changes)
    }

    /// Changes one live item (CONFIG SET).
    public func set(_ name: String, to value: String) throws(SetError) {
        try set([(name, value)])
    }

    /// Changes what the server itself keeps in the file, such as `slaveof`.
    package func note(_ name: String, _ value: String) {
        guard let index = ConfTable.index(of: name) else { return }
        // A value of the server's own making is in range.
        try? store([(index, name, value)])
    }

    private func store(
        _ changes: [(index: Int, name: String, value: String)]
    ) throws(SetError) {
        let (settings, observer) = try locked { state throws(SetError) in
            var settings = state.settings
            for change in changes {
                do throws(ConfValueError) {
                    _ = try settings.assign(change.value, toItemAt: change.index, repairing: false)
                } catch {
                    throw .invalid(
                        name: change.name, value: change.value, expected: error.expected)
                }
            }
            state.settings = settings
            state.changed.formUnion(changes.map(\.index))
            return (settings, state.observer)
        }
        for change in changes { observer?(ConfTable.items[change.index].name, settings) }
    }

    private func locked<R: Sendable>(
        _ body: (inout State) throws(SetError) -> R
    ) throws(SetError) -> R {
        let outcome = state.withLock { state -> Result<R, SetError> in
            do throws(SetError) { return .success(try body(&state)) } catch {
                return .failure(error)
            }
        }
        return try outcome.get()
    }

    /// Writes changed items into the file, which keeps its comments (CONFIG REWRITE).
    ///
    /// The file is read anew, so that what an operator wrote meanwhile stays. A failed call leaves
    /// the file as it was.
    ///
    /// - Throws: why the file can't be read or written.
    public func rewrite() throws(ConfError) {
        guard let path else {
            throw ConfError(
                item: "", value: "CONFIG REWRITE", expected: "a server started with a file")
        }
        var file = ConfFile(try Self.contents(of: path, fileSystem))
        let (settings, changed) = state.withLock { ($0.settings, $0.changed) }
        for index in changed.sorted() {
            let item = ConfTable.items[index]
            file.store(
                item.name, names: [item.name] + item.aliases, value: settings.texts[index])
        }
        do throws(FileError) {
            try fileSystem.writeAtomically(path, Array(file.text.utf8))
        } catch {
            throw ConfError(file: path, item: "", value: "\(error)", expected: "a writable file")
        }
    }

    private static func contents(
        of path: String, _ fileSystem: any FileSystem
    ) throws(ConfError) -> String {
        do throws(FileError) {
            let bytes = try fileSystem.readFile(path, limitBytes: ConfFile.sizeLimitBytes)
            if let bytes { return String(decoding: bytes, as: UTF8.self) }
        } catch {
            throw ConfError(file: path, item: "", value: "\(error)", expected: "a readable file")
        }
        throw ConfError(file: path, item: "", value: "no such file", expected: "a readable file")
    }
}
