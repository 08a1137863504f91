import Glibc
import Testing

/// A file system of a few megabytes, in memory, that only processes started through it see.
///
/// It is mounted in a mount namespace of its own (in a user namespace, too, without root's rights),
/// which a waiting process holds; it goes with that process.
final class SmallDisk {
    /// Where it is mounted.
    let path: String
    private let holder: pid_t

    /// Whether this machine lets us have one.
    static var isAvailable: Bool { (try? SmallDisk(path: "/tmp", megabytes: 1)) != nil }

    private static var namespaces: [String] { geteuid() == 0 ? ["-m"] : ["-U", "-m"] }

    /// Mounts it over a directory.
    init(path: String, megabytes: Int) throws {
        self.path = path
        let options = geteuid() == 0 ? ["-m"] : ["-r", "-m"]
        let script = "mount -t tmpfs -o size=\(megabytes)m tmpfs \(path) && exec sleep 600"
        holder = try #require(
            PikaProcess.spawn(
                "/usr/bin/unshare", options + ["sh", "-c", script], directory: "/",
                output: "dev/null"))
        for _ in 0..<500 {
            if run("mountpoint", "-q", path) { return }
            var info = siginfo_t()
            let flags = WEXITED | WNOHANG | WNOWAIT
            if waitid(P_PID, id_t(holder), &info, flags) == 0, info.si_signo != 0 { break }
            usleep(10_000)
        }
        throw ProcessFailure(text: "no mount namespace on this machine")
    }

    deinit {
        kill(holder, SIGKILL)
        _ = PikaProcess.wait(holder)
    }

    /// Words in front of a program that shall see the disk.
    var launcher: [String] {
        let preserves = geteuid() == 0 ? [] : ["--preserve-credentials"]
        return ["nsenter", "-t", "\(holder)"] + Self.namespaces + preserves + ["--"]
    }

    /// Gives it another size; what is on it stays.
    func resize(megabytes: Int) throws {
        try #require(run("mount", "-o", "remount,size=\(megabytes)m", path))
    }

    /// Takes all space that is left, but for what a file system keeps for itself.
    func fill() throws {
        // cat stops where the disk is full.
        _ = run("sh", "-c", "cat /dev/zero > \(path)/ballast 2>/dev/null")
        try #require(run("test", "-s", "\(path)/ballast"))
    }

    /// Gives that space back.
    func empty() throws { try #require(run("rm", "\(path)/ballast")) }

    /// Removes what a directory of it holds.
    func clear(_ name: String) throws {
        try #require(run("sh", "-c", "rm -rf \(path)/\(name)/*"))
    }

    /// True if a directory of it holds nothing, or is not there.
    func isEmpty(_ name: String) -> Bool {
        run("sh", "-c", "test -z \"$(ls -A \(path)/\(name) 2>/dev/null)\"")
    }

    private func run(_ words: String...) -> Bool {
        let process = PikaProcess.spawn(
            words[0], Array(words.dropFirst()), directory: "/", output: "dev/null",
            launcher: launcher)
        return process.map(PikaProcess.wait) == 0
    }
}
