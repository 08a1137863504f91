import Glibc

/// `daemonize yes`: the process starts itself again in a session of its own, and ends.
enum Daemon {
    /// Set in the environment of the second process.
    private static let mark = "PIKA_DAEMON"

    /// Starts the daemon.
    ///
    /// - Returns: the exit code of the first process; nil in the daemon itself, which goes on.
    static func detach(_ settings: Settings) -> Int32? {
        if getenv(mark) != nil {
            setsid()
            writePIDFile(settings.pidFile)
            return nil
        }
        mkdir(settings.logPath, 0o755)
        setenv(mark, "1", 1)
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        let log = settings.logPath + "pika.log"
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(
            &actions, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
        var arguments: [UnsafeMutablePointer<CChar>?] = CommandLine.arguments.map { strdup($0) }
        arguments.append(nil)
        var child: pid_t = 0
        let code = posix_spawn(&child, "/proc/self/exe", &actions, nil, arguments, environ)
        return code == 0 ? 0 : 1
    }

    private static func writePIDFile(_ path: String) {
        guard let file = fopen(path, "w") else { return }
        fputs("\(getpid())\n", file)
        fclose(file)
    }
}
