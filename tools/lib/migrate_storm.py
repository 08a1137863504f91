"""The storm of tools/migrate-storm, after the build."""

import argparse
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time

from migratelib import Migration, RealPika, Redis, compare
from pikalib import Client, Failure, Server, free_base_port, wait_for

KINDS = {"tool": 40, "source link": 20, "target link": 20, "source": 10, "target": 10}
PAUSE = (0.2, 1.0)  # seconds between two kills
BATCH = 50  # commands of a writer in one pipeline
CATCH_UP_SECONDS = 180
END_KEYS = 256  # so many that every worker has some


class Relay:
    """Passes connections on to a port, and cuts them when told to."""

    def __init__(self, port):
        self.port, self.pairs, self.lock = port, [], threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.own_port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            try:
                far = socket.create_connection(("127.0.0.1", self.port), timeout=10)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self.lock:
                self.pairs.append((near, far))
            for one, other in ((near, far), (far, near)):
                try:
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                except OSError:
                    pass  # cut already
                threading.Thread(target=self.carry, args=(one, other), daemon=True).start()

    @staticmethod
    def carry(one, other):
        try:
            while data := one.recv(1 << 16):
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                    end.close()
                except OSError:
                    pass


class Pace:
    """How far the writes may be: as far as the kills are, so that both end together.

    Between two kills it goes on evenly, as fast as the rounds before were.
    """

    def __init__(self, writes, kills):
        self.writes, self.kills = writes, max(1, kills)
        self.done, self.began, self.round = 0, time.monotonic(), sum(PAUSE) / 2
        self.lock = threading.Lock()

    def next_round(self):
        now = time.monotonic()
        with self.lock:
            self.round += ((now - self.began) - self.round) / 4
            self.done, self.began = self.done + 1, now

    def allowed(self):
        with self.lock:
            part = min(1.0, (time.monotonic() - self.began) / self.round)
            if self.done >= self.kills:
                return self.writes
            return int(self.writes * (self.done + part) / self.kills)


class Writer(threading.Thread):
    """Writes at a pace to a server that may go away; what is lost with it is lost."""

    def __init__(self, port, pace, seed):
        super().__init__(daemon=True)
        self.port, self.pace = port, pace
        self.dice, self.sent = random.Random(seed), 0

    def commands(self):
        dice = self.dice
        for number in range(self.sent, self.sent + BATCH):
            kind = number % 3
            if kind == 0:
                yield ("INCR", f"count:{dice.randrange(1000)}")
            elif kind == 1:
                yield ("RPUSH", f"list:{dice.randrange(200)}", str(number))
            else:
                yield ("ZINCRBY", f"scores:{dice.randrange(50)}", "1", f"m{dice.randrange(200)}")

    def run(self):
        client = None
        while self.sent < self.pace.writes:
            if self.sent >= self.pace.allowed():
                time.sleep(0.005)
                continue
            try:
                client = client or Client(self.port, timeout=20)
                client.pipeline(list(self.commands()))
                self.sent += BATCH
            except (OSError, EOFError, Failure):
                client = None
                time.sleep(0.05)


class Storm:
    def __init__(self, options, directory):
        self.options, self.directory = options, directory
        self.dice = random.Random(options.seed)
        self.servers, self.ports = [], []
        self.source = self.server("source", options.source)
        self.target = self.server("target", options.target)
        self.kills = {kind: 0 for kind in KINDS}

    def server(self, name, kind):
        port = free_base_port(self.ports)
        self.ports.append(port)
        path = os.path.join(self.directory, name)
        peer = getattr(self.options, f"{name}_pika")
        if peer:
            server = RealPika(name, peer, path, port)
        elif kind == "redis":
            server = Redis(name, path, port, "--appendonly", "yes", "--appendfsync", "always")
        else:
            server = Server(name, self.options.pika, path, port)
        self.servers.append(server.start())
        return server

    def start(self):
        self.target_link = Relay(self.target.port)
        # A Pika's replicas need its other ports, too: that link is cut at the client's port alone.
        self.source_link = None if self.options.source_is_pika else Relay(self.source.port)
        port = self.source_link.own_port if self.source_link else self.source.port
        self.migration = Migration(
            self.options.migrate, os.path.join(self.directory, "job"),
            f"{'pika' if self.options.source_is_pika else 'redis'}://127.0.0.1:{port}",
            f"{'pika' if self.options.target_is_pika else 'redis'}://127.0.0.1:{self.target_link.own_port}",
            "map.databases=[\"0=0\"]", "checkpoint.interval=100")
        self.servers.append(self.migration.start())

    def strike(self):
        kinds = [kind for kind in KINDS if not self.options.only or kind in self.options.only]
        kind = self.dice.choices(kinds, [KINDS[kind] for kind in kinds])[0]
        if kind == "source link" and self.source_link is None:
            kind = "target link"
        self.kills[kind] += 1
        if kind == "source link":
            self.source_link.cut()
        elif kind == "target link":
            self.target_link.cut()
        else:
            server = {"tool": self.migration, "source": self.source, "target": self.target}[kind]
            server.kill()
            server.start()
        if self.migration.process.poll() is not None:
            raise Failure(f"pika-migrate ended with code {self.migration.process.returncode} behind"
                          f" a kill of the {kind}:\n{self.migration.log_tail()}")

    def run(self):
        options, started = self.options, time.monotonic()
        names = [options.source_pika or options.source, options.target_pika or options.target]
        print(f"seed {options.seed}, {' -> '.join(os.path.basename(name) for name in names)}",
              flush=True)
        self.start()
        pace = Pace(options.writes, options.kills)
        writer = Writer(self.source.port, pace, options.seed)
        writer.start()
        for number in range(options.kills):
            time.sleep(self.dice.uniform(*PAUSE))
            self.strike()
            pace.next_round()
            if (number + 1) % 20 == 0:
                print(f"{number + 1} kills, {writer.sent} writes,"
                      f" {time.monotonic() - started:.0f} s", flush=True)
        writer.join()
        print("kills: " + ", ".join(f"{name} {count}" for name, count in self.kills.items()),
              flush=True)
        seconds = self.catch_up()
        code, text = compare(self.source.port, self.target.port)
        lines = text.strip().splitlines()
        print(f"{writer.sent} writes, caught up {seconds:.1f} s after the last; differences:"
              f" {lines[-1] if lines else 'none told'}", flush=True)
        if code != 0:
            print("\n".join(lines[:20]))
        stopped = self.migration.stop()
        return 1 if code != 0 or stopped != 0 else 0

    def catch_up(self):
        """Waits until all is in the target; returns how long that took.

        A write behind all others must have come through each of the tool's workers. The first round
        may come with a copy that a kill began, in any order; the second comes by the stream.
        """
        started = time.monotonic()
        for number in range(2):
            self.migration.wait_for(
                "streaming", lambda status: status["phase"] == "streaming", CATCH_UP_SECONDS)
            self.mark_end(f"{self.options.seed}.{number}")
        return time.monotonic() - started

    def mark_end(self, word):
        keys = [f"storm:end:{number}" for number in range(END_KEYS)]
        with self.source.client() as client:
            client.pipeline([("SET", key, word) for key in keys])
        wanted = [word.encode()] * len(keys)

        def has_ends():
            with self.target.client() as client:
                return client.pipeline([("GET", key) for key in keys]) == wanted

        wait_for("the last writes", has_ends, CATCH_UP_SECONDS, 0.2)


def main():
    parser = argparse.ArgumentParser(prog="tools/migrate-storm")
    parser.add_argument("--pika", required=True)
    parser.add_argument("--migrate", required=True)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--writes", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--source", choices=["redis", "pika"], default="redis")
    parser.add_argument("--target", choices=["redis", "pika"], default="redis")
    parser.add_argument("--only", action="append", choices=list(KINDS))
    parser.add_argument("--source-pika", metavar="BINARY")
    parser.add_argument("--target-pika", metavar="BINARY")
    options = parser.parse_args()
    options.source_is_pika = bool(options.source_pika) or options.source == "pika"
    options.target_is_pika = bool(options.target_pika) or options.target == "pika"
    for name in ("pika", "migrate", "source_pika", "target_pika"):
        if getattr(options, name):
            setattr(options, name, os.path.abspath(getattr(options, name)))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory, storm = tempfile.mkdtemp(prefix="pika-migrate-storm-"), None
    try:
        storm = Storm(options, directory)
        return storm.run()
    except Failure as failure:
        print(f"the storm failed (seed {options.seed}): {failure}", file=sys.stderr)
        return 1
    finally:
        for server in reversed(storm.servers if storm else []):
            server.stop(10)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
