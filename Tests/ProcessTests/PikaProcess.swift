import Glibc
import TestKit
import Testing

/// A `pika` process in a directory of its own; killed and removed with its last reference.
final class PikaProcess {
    /// The base port.
    let port: Int
    /// Working directory with settings, data and log.
    let directory: String
    private(set) var processID: pid_t = 0
    private let ownsDirectory: Bool
    /// What runs the server: words in front of its path.
    private let launcher: [String]

    /// The server's executable, which lies beside the test bundle.
    static var executable: String {
        let bundle = CommandLine.arguments[0]
        let folder = bundle.split(separator: "/", omittingEmptySubsequences: false)
        for depth in stride(from: folder.count - 1, to: 0, by: -1) {
            let candidate = folder.prefix(depth).joined(separator: "/") + "/pika"
            if access(candidate, X_OK) == 0, isRegular(candidate) { return candidate }
        }
        return "/nonexistent/pika"
    }

    private static func isRegular(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
    }

    /// Makes a directory with settings; nothing is started.
    init(
        _ settings: [String] = [], port: Int? = nil, directory: String? = nil,
        launcher: [String] = []
    ) throws {
        self.launcher = launcher
        if let directory {
            self.directory = directory
            ownsDirectory = false
        } else {
            var template = Array(
                "/tmp/pika-process-tests-\(String(repeating: "X", count: 6))".utf8CString)
            self.directory = String(cString: try #require(mkdtemp(&template)))
            ownsDirectory = true
        }
        self.port = try port ?? LoopbackPorts.next()
        let lines = ["port : \(self.port)", "write-buffer-size : 16M"] + settings
        try write(lines.map { $0 + "\n" }.joined(), to: "pika.conf")
    }

    deinit {
        kill()
        guard ownsDirectory else { return }
        let command = ["-rf", directory]
        _ = Self.spawn("/bin/rm", command, directory: "/", output: "dev/null").map(Self.wait)
    }

    /// Replaces a file in the directory.
    func write(_ text: String, to name: String) throws {
        let file = try #require(fopen("\(directory)/\(name)", "w"))
        fputs(text, file)
        fclose(file)
    }

    /// What the process has written to its standard streams.
    var log: String {
        guard let file = fopen("\(directory)/log.txt", "r") else { return "" }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = fread(&piece, 1, piece.count, file)
            if count == 0 { return String(decoding: bytes, as: UTF8.self) }
            bytes += piece.prefix(count)
        }
    }

    /// Starts the server, and waits until it accepts clients.
    func start(_ arguments: [String] = ["-c", "pika.conf"]) throws {
        let before = log.count
        try launch(arguments)
        for _ in 0..<3000 {
            if log.dropFirst(before).contains("going to start") { return }
            if !isRunning { break }
            usleep(10_000)
        }
        throw ProcessFailure(text: "the server did not start:\n\(log)")
    }

    /// Starts the server, and waits for nothing.
    func launch(_ arguments: [String]) throws {
        processID = try #require(
            Self.spawn(
                Self.executable, arguments, directory: directory, output: "log.txt",
                launcher: launcher))
    }

    var isRunning: Bool {
        guard processID > 0 else { return false }
        var info = siginfo_t()
        let options = WEXITED | WNOHANG | WNOWAIT
        return waitid(P_PID, id_t(processID), &info, options) == 0 && info.si_signo == 0
    }

    func signal(_ number: Int32) {
        if processID > 0 { Glibc.kill(processID, number) }
    }

    /// Waits for the end; returns the exit code, or minus the signal's number.
    @discardableResult
    func waitForExit() -> Int32 {
        guard processID > 0 else { return 0 }
        defer { processID = 0 }
        return Self.wait(processID)
    }

    /// kill -9.
    func kill() {
        signal(SIGKILL)
        waitForExit()
    }

    /// The exit code, or the negative number of the signal that ended it; who does not end within
    /// minutes is killed.
    static func wait(_ process: pid_t) -> Int32 {
        var status: Int32 = 0
        for _ in 0..<90_000 {
            let ended = waitpid(process, &status, WNOHANG)
            if ended == process || ended < 0 && errno != EINTR { return Self.code(status) }
            usleep(2_000)
        }
        Glibc.kill(process, SIGKILL)
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
        return Self.code(status)
    }

    private static func code(_ status: Int32) -> Int32 {
        status & 0x7f == 0 ? (status >> 8) & 0xff : -(status & 0x7f)
    }

    /// A base port whose companions are free, too.
    static func spawn(
        _ path: String, _ arguments: [String], directory: String, output: String,
        launcher: [String] = []
    ) -> pid_t? {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(
            &actions, STDOUT_FILENO, "\(directory)/\(output)", O_WRONLY | O_CREAT | O_APPEND, 0o644)
        posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
        // `env -C` changes the directory and then becomes the program.
        let program = ["env", "-C", directory, path] + arguments
        let words = (launcher.isEmpty ? program : ["env"] + launcher + program).map { strdup($0) }
        defer { words.forEach { free($0) } }
        setenv("SWIFT_BACKTRACE", "enable=no", 1)
        var process: pid_t = 0
        let code = posix_spawn(&process, "/usr/bin/env", &actions, nil, words + [nil], environ)
        return code == 0 ? process : nil
    }
}

/// Why a process test can't go on.
struct ProcessFailure: Error, CustomStringConvertible {
    var text: String
    var description: String { text }
}
