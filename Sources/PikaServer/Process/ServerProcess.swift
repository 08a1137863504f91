import FileIO
import Glibc
import Logging
import NIOPosix

/// The server as a process: settings, start, signals, stop.
public enum ServerProcess {
    /// A stop that takes longer ends the process all the same; what was acknowledged is in the
    /// system's hands by then.
    private static let stopLimitMicroseconds: UInt32 = 1_900_000

    /// Runs a server until a signal ends it.
    ///
    /// - Returns: the process's exit code.
    public static func run(confPath: String?) -> Int32 {
        let signal = StopSignal.block()
        let fileSystem = RealFileSystem()
        let conf: Conf
        do throws(ConfError) {
            conf = try Conf(path: confPath, fileSystem: fileSystem)
        } catch {
            complain("\(error)")
            return 1
        }
        for warning in conf.warnings { complain("warning: \(warning)") }
        if conf.settings.daemonize, let code = Daemon.detach(conf.settings) { return code }

        let server: Server
        do throws(ServerError) {
            server = try Server(
                conf: conf, fileSystem: fileSystem, logger: Logger(label: "pika"),
                onShutdown: { StopSignal.raise() })
        } catch {
            complain("\(error)")
            return 1
        }
        complain("going to start: pika \(ServerVersion.own) listens on port \(server.port)")
        _ = signal.wait()
        stopInTime(server)
        return 0
    }

    private static func stopInTime(_ server: Server) {
        let watchdog = NIOThreadPool(numberOfThreads: 1)
        watchdog.start()
        watchdog.submit { _ in
            usleep(stopLimitMicroseconds)
            _exit(0)
        }
        server.stop()
        // The watchdog still sleeps; it ends with the process.
        _exit(0)
    }

    private static func complain(_ text: String) {
        let line = text + "\n"
        line.withCString { _ = write(STDERR_FILENO, $0, strlen($0)) }
    }
}
