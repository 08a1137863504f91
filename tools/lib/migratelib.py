"""What the demonstration and the bench of pika-migrate share."""

import json
import os
import signal
import subprocess
import sys
import time

from pikalib import Failure, Server, wait_for

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Redis(Server):
    """A redis-server in a directory of its own."""

    def __init__(self, name, directory, port, *arguments):
        super().__init__(name, "redis-server", directory, port)
        self.arguments = arguments
        self.program = "redis-server"

    def start(self, seconds=30):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "--port", str(self.port), "--save", "",
                 "--repl-diskless-sync-delay", "0", *self.arguments],
                cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def answers():
            try:
                client = self.client()
            except OSError:
                return False
            try:
                return client.call("PING") == "PONG"
            except (Failure, OSError, EOFError):
                return False
            finally:
                client.close()

        wait_for(f"the start of {self.name}", answers, seconds, 0.02)
        return self


class RealPika(Server):
    """A Pika of another make in a directory of its own, by its own settings' names."""

    CONF = {
        "thread-num": 1, "thread-pool-size": 4, "sync-thread-num": 4, "log-path": "./log/",
        "db-path": "./db/", "dump-path": "./dump/", "db-sync-path": "./dbsync/",
        "dump-prefix": "", "pidfile": "./pika.pid", "daemonize": "no", "databases": 1,
        "default-slot-num": 1, "instance-mode": "classic", "maxclients": 1000,
        "root-connection-num": 2, "timeout": 0, "write-binlog": "yes", "expire-logs-nums": 50,
        "expire-logs-days": 7, "binlog-file-size": 104857600, "write-buffer-size": "32M",
        "arena-block-size": "2M", "slowlog-write-errorlog": "no", "compression": "none",
        "max-write-buffer-num": 2, "max-background-flushes": 1, "max-background-compactions": 2,
        "slave-priority": 100, "cache-num": 4, "cache-model": 0,
    }

    def __init__(self, name, binary, directory, port):
        super().__init__(name, binary, directory, port)
        with open(self.conf, "w") as file:
            for item, value in {"port": port, **self.CONF}.items():
                file.write(f"{item} : {value}\n")
        for part in ("log", "db", "dump", "dbsync"):
            os.makedirs(os.path.join(directory, part), exist_ok=True)

    def start(self, seconds=60):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.binary, "-c", self.conf], cwd=self.directory, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log)

        def answers():
            if self.process.poll() is not None:
                raise Failure(f"the {self.name} ended with code {self.process.returncode}")
            try:
                client = self.client()
                try:
                    return client.call("PING") == "PONG"
                finally:
                    client.close()
            except (Failure, OSError, EOFError):
                return False

        wait_for(f"the start of {self.name}", answers, seconds, 0.05)
        return self


class Migration:
    """A run of pika-migrate with a job's directory."""

    def __init__(self, binary, directory, source, target, *settings):
        self.binary, self.directory = binary, directory
        self.source, self.target, self.settings = source, target, settings
        self.process = None
        self.log = directory + ".log"

    def start(self):
        arguments = [self.binary, "run", "--from", self.source, "--to", self.target,
                     "--dir", self.directory]
        for setting in self.settings:
            arguments += ["--set", setting]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def status(self):
        """What the run says of itself; None while it does not answer."""
        answer = subprocess.run(
            [self.binary, "status", "--dir", self.directory], capture_output=True, text=True)
        try:
            return json.loads(answer.stdout)
        except ValueError:
            if self.process.poll() is not None:
                raise Failure(f"pika-migrate ended with code {self.process.returncode}:\n"
                              + self.log_tail()) from None
            return None

    def command(self, *words):
        subprocess.run([self.binary, *words, "--dir", self.directory], check=True,
                       capture_output=True)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds=20):
        """SIGTERM, then SIGKILL: whoever cleans up goes on; returns the exit code, below 0 if killed."""
        if self.process is None or self.process.poll() is not None:
            return None
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            print(f"pika-migrate did not end within {seconds} s of SIGTERM:\n{self.log_tail()}",
                  file=sys.stderr)
            self.kill()
            return self.process.returncode

    def wait_for(self, what, condition, seconds, pause=0.1):
        """Waits for a status for which the condition holds, and returns it."""
        def check():
            status = self.status()
            return status if status and condition(status) else None
        return wait_for(what, check, seconds, pause)

    def peak_memory(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return 0

    def log_tail(self, lines=15):
        with open(self.log, errors="replace") as file:
            return "".join(file.readlines()[-lines:])


def compare(source, target):
    """Compares two servers by client commands alone; returns the comparer's output and code."""
    done = subprocess.run(
        [sys.executable, "-B", os.path.join(ROOT, "Tests", "migrate", "compare.py"),
         f"127.0.0.1:{source}", f"127.0.0.1:{target}", "--map", "0=0"],
        capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def caught_up(migration, source, seconds=60):
    """Waits until the run has applied all that the source has written."""
    client = source.client()
    end = int(client.info("replication")["master_repl_offset"])
    client.close()
    started = time.monotonic()
    migration.wait_for(
        "catching up",
        lambda s: s["phase"] == "streaming" and s["applied_offset"] >= end
        and s["lag_bytes"] == 0, seconds)
    return time.monotonic() - started
