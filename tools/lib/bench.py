"""The benches of tools/bench, after the build."""

import argparse
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import block
import serve
from bench_migrate import MigrateBench
from pikalib import Failure, Server, free_base_port, wait_for
from throttle import LONG_WINDOW, ThrottleBench

GIGABYTE = 1_000_000_000
FAST = ["throttle-bytes-per-second : 0", "timeout : 0"]
WANTED = {  # the least ratio, by bench
    "copy": 0.5, "follow": 0.3, "catch-up": 0.3,
}
MEMORY_LIMIT = 200_000_000
BENCHES = ["serve", "copy", "follow", "memory", "throttle", "migrate"]


class Redis(Server):
    """A redis-server that writes nothing to disk by itself."""

    def __init__(self, name, directory, port, *arguments):
        super().__init__(name, "redis-server", directory, port)
        self.arguments = arguments

    def start(self, seconds=20):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["redis-server", "--port", str(self.port), "--save", "", "--appendonly", "no",
                 *self.arguments], cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log)

        def answers():
            try:
                client = self.client()
            except OSError:
                return False
            try:
                return client.call("PING") == "PONG"
            finally:
                client.close()

        wait_for(f"the start of {self.name}", answers, seconds)
        return self


class Bench:
    def __init__(self, options):
        self.options = options
        self.directory = tempfile.mkdtemp(prefix="pika-bench-", dir=options.directory)
        self.servers = []
        self.ports = []
        self.results = []
        self.failed = False

    def add(self, server):
        self.servers.append(server)
        return server.start()

    def port(self):
        port = free_base_port(self.ports)
        self.ports.append(port)
        return port

    def pika(self, name, *settings):
        path = os.path.join(self.directory, name)
        return self.add(Server(name, self.options.pika, path, self.port(), [*FAST, *settings]))

    def redis(self, name, *arguments):
        path = os.path.join(self.directory, name)
        return self.add(Redis(name, path, self.port(), *arguments))

    def stop_all(self):
        for server in reversed(self.servers):
            server.stop(20)
        self.servers = []
        for name in os.listdir(self.directory):
            shutil.rmtree(os.path.join(self.directory, name), ignore_errors=True)

    def report(self, name, ours, theirs, unit, higher_is_better=True):
        ratio = ours / theirs if higher_is_better else theirs / ours
        wanted = WANTED[name]
        verdict = "" if ratio >= wanted else f"   BELOW {wanted}"
        self.failed |= ratio < wanted
        print(f"{name:16} ours {ours:12,.1f} {unit}, other {theirs:12,.1f} {unit}, "
              f"ratio {ratio:.2f} (at least {wanted}){verdict}", flush=True)

    # serve

    def serve(self):
        serve.serve(self)

    def large(self):
        serve.large(self)

    def block(self):
        block.block(self)

    # copy and memory

    def loaded_master(self, name, total):
        """A master with so many bytes that do not compress."""
        master = self.pika(name)
        client = master.client()
        noise = random.Random(1).randbytes
        count = 4000
        for number in range(0, total // count, 64):
            client.pipeline([("SET", f"key:{n}", noise(count)) for n in range(number, number + 64)])
        return master, client

    def full_sync(self):
        total = GIGABYTE // (5 if self.options.quick else 1)
        master, client = self.loaded_master("copy-master", total)
        replica = self.pika("copy-replica")
        for server in (master, replica):
            reset_peak_memory(server)
        on_replica = replica.client()
        started = time.monotonic()
        on_replica.call("SLAVEOF", "127.0.0.1", master.port)
        wait_for("the full sync", lambda: on_replica.info("replication").get(
            "master_link_status") == "up", 300, 0.01)
        seconds = time.monotonic() - started
        copied = int(on_replica.info("replication")["sync_bytes_total"])
        if on_replica.call("GET", "key:5") != client.call("GET", "key:5"):
            raise Failure("the replica has other data than its master")
        return master, replica, copied, seconds

    def bare_copy(self, master):
        """Copies the files of the newest snapshot with sendfile, and syncs each."""
        dump = os.path.join(master.directory, "dump")
        source = max((os.path.join(dump, name) for name in os.listdir(dump)), key=os.path.getmtime)
        target = os.path.join(self.directory, "bare-copy")
        total, started = 0, time.monotonic()
        for folder, _, names in os.walk(source):
            inner = os.path.join(target, os.path.relpath(folder, source))
            os.makedirs(inner, exist_ok=True)
            for name in names:
                with open(os.path.join(folder, name), "rb") as read, \
                        open(os.path.join(inner, name), "wb") as write:
                    size, offset = os.fstat(read.fileno()).st_size, 0
                    while offset < size:
                        offset += os.sendfile(write.fileno(), read.fileno(), offset, 16 << 20)
                    os.fsync(write.fileno())
                    total += size
        seconds = time.monotonic() - started
        shutil.rmtree(target)
        return total, seconds

    def copy(self):
        ours, theirs = [], []
        for _ in range(self.options.rounds):
            master, _, copied, seconds = self.full_sync()
            ours.append(copied / seconds / 1e6)
            total, bare = self.bare_copy(master)
            theirs.append(total / bare / 1e6)
            self.stop_all()
        self.report("copy", statistics.median(ours), statistics.median(theirs), "MB/s")

    def memory(self):
        master, replica, copied, _ = self.full_sync()
        for side, server in (("master", master), ("replica", replica)):
            peak = server.peak_memory()
            verdict = "" if peak <= MEMORY_LIMIT else "   ABOVE THE LIMIT"
            self.failed |= peak > MEMORY_LIMIT
            print(f"memory {side:9} peak {peak / 1e6:.0f} MB in a full sync of {copied / 1e6:.0f} MB "
                  f"(at most {MEMORY_LIMIT / 1e6:.0f} MB){verdict}", flush=True)
        self.stop_all()

    # throttle

    def throttle(self):
        rates = [10_000_000] if self.options.quick else [10_000_000, 50_000_000]
        seconds = LONG_WINDOW + 2
        master, _ = self.loaded_master("throttle-master", int(max(rates) * (seconds + 4)))
        bench = ThrottleBench(self, master)
        for rate in rates:
            for side in ("sent", "received"):
                bench.run(side, rate, seconds)
        self.failed |= bench.failed
        self.stop_all()

    # follow

    def migrate(self):
        if not self.options.migrate:
            raise Failure("the bench migrate needs --migrate BINARY")
        MigrateBench(self).run()

    def write_million(self, master, requests):
        subprocess.run(
            ["redis-benchmark", "-p", str(master.port), "-t", "set", "-n", str(requests), "-c", "50",
             "-P", "16", "-d", "100", "-r", "1000000", "-q"],
            check=True, capture_output=True)

    def follow_pair(self, master, replica, reached, requests):
        """Seconds end to end, and seconds of catching up after a pause."""
        on_replica = replica.client(timeout=300)
        on_replica.call("SLAVEOF", "127.0.0.1", master.port)
        wait_for("the link", lambda: on_replica.info("replication").get(
            "master_link_status") == "up", 60, 0.01)
        on_master = master.client()
        started = time.monotonic()
        self.write_million(master, requests)
        wait_for("the replica's end", lambda: reached(on_master, on_replica), 300, 0.005)
        end_to_end = time.monotonic() - started
        replica.process.send_signal(signal.SIGSTOP)
        try:
            self.write_million(master, requests)
        finally:
            replica.process.send_signal(signal.SIGCONT)
        started = time.monotonic()
        wait_for("the replica's catching up", lambda: reached(on_master, on_replica), 300, 0.005)
        return end_to_end, time.monotonic() - started

    @staticmethod
    def pika_reached(on_master, on_replica):
        end = next(line for line in on_master.call("INFO", "replication").decode().split("\r\n")
                   if line.startswith("db0 binlog_offset="))
        position = end.partition("=")[2].partition(",")[0].replace(" ", ":")
        return on_replica.info("replication").get("db0_positions", {}).get("applied") == position

    @staticmethod
    def redis_reached(on_master, on_replica):
        return (on_master.info("replication")["master_repl_offset"]
                == on_replica.info("replication").get("slave_repl_offset"))

    def follow(self):
        requests = 200_000 if self.options.quick else 1_000_000
        ours, theirs = [], []
        for _ in range(self.options.rounds):
            pair = self.pika("follow-master"), self.pika("follow-replica")
            ours.append(self.follow_pair(*pair, self.pika_reached, requests))
            self.stop_all()
            unlimited = ["--client-output-buffer-limit", "replica 0 0 0", "--repl-backlog-size",
                         "256mb", "--repl-diskless-sync-delay", "0"]
            pair = self.redis("redis-master", *unlimited), self.redis("redis-replica", *unlimited)
            theirs.append(self.follow_pair(*pair, self.redis_reached, requests))
            self.stop_all()
        for index, name in ((0, "follow"), (1, "catch-up")):
            self.report(name, requests / statistics.median(row[index] for row in ours) / 1000,
                        requests / statistics.median(row[index] for row in theirs) / 1000, "k/s")


def reset_peak_memory(server):
    with open(f"/proc/{server.process.pid}/clear_refs", "w") as file:
        file.write("5")


def main():
    parser = argparse.ArgumentParser(prog="tools/bench")
    parser.add_argument("bench", nargs="?", default="all",
                        choices=[*BENCHES, "block", "large", "all"])
    parser.add_argument("--pika", required=True)
    parser.add_argument("--load", help="the binary of bench-load; serve needs it")
    parser.add_argument("--migrate", help="pika-migrate, for the bench of that name")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", default="",
                        help="serve, migrate: only rows with this in their names")
    parser.add_argument("--keys", type=int, default=10_000_000, help="large: how many keys")
    parser.add_argument("--quick", action="store_true", help="a fifth of the work, for a first look")
    parser.add_argument("--directory", help="where the data lie, for want of /tmp")
    options = parser.parse_args()
    options.pika = os.path.abspath(options.pika)
    if options.bench in ("serve", "all") and options.load is None:
        parser.error("serve needs --load beside --pika")
    options.load = options.load and os.path.abspath(options.load)
    options.migrate = options.migrate and os.path.abspath(options.migrate)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Bench(options)
    try:
        names = BENCHES if options.bench == "all" else [options.bench]
        for name in names:
            getattr(bench, name)()
        return 1 if bench.failed else 0
    except (Failure, OSError, subprocess.CalledProcessError) as failure:
        print(f"the bench failed: {failure}", file=sys.stderr)
        for server in bench.servers:
            print(f"--- {server.name}:\n{server.log_tail()}", file=sys.stderr)
        return 2
    finally:
        bench.stop_all()
        shutil.rmtree(bench.directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
