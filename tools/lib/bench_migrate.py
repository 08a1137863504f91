"""tools/bench migrate: pika-migrate against redis-cli --pipe of the same data."""

import json
import os
import random
import resource
import statistics
import subprocess
import threading
import time

from migratelib import Migration, Redis, caught_up
from pikalib import Failure, wait_for

STRINGS = 1_000_000
VALUE_BYTES = 100
ELEMENTS = 1_000_000
ELEMENTS_PER_KEY = 1_000
STREAM_RATE = 20_000  # writes a second
STREAM_SECONDS = 15
DECODED_BYTES_AT_LEAST = 250  # MB/s
MEMORY_AT_MOST = 256 << 20
BIG_STRING_BYTES = 512 << 20  # the longest that Redis has
BIG_LIST_ELEMENTS = 10_000_000
PIKA_STRINGS = 1_000_000
PIKA_VALUE_BYTES = 1_000

WANTED = {"migrate-strings": 0.8, "migrate-elements": 1.5, "migrate-redis": 0.7}


def encode(*words):
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def strings(count):
    dice = random.Random(3)
    for number in range(count):
        yield encode("SET", f"key:{number:012d}", dice.randbytes(VALUE_BYTES))


def elements(count):
    """One command an element, of four types."""
    for key in range(count // ELEMENTS_PER_KEY):
        for number in range(ELEMENTS_PER_KEY):
            kind = key % 4
            if kind == 0:
                yield encode("RPUSH", f"list:{key}", f"element:{number}")
            elif kind == 1:
                yield encode("SADD", f"set:{key}", f"member:{number}")
            elif kind == 2:
                yield encode("ZADD", f"zset:{key}", number, f"member:{number}")
            else:
                yield encode("HSET", f"hash:{key}", f"field:{number}", f"value:{number}")


def pipe(path, port):
    """Seconds that redis-cli --pipe takes for a file of commands."""
    started = time.monotonic()
    with open(path, "rb") as file:
        done = subprocess.run(["redis-cli", "-p", str(port), "--pipe"], stdin=file,
                              capture_output=True, text=True)
    if "errors: 0" not in done.stdout:
        raise Failure(f"redis-cli --pipe: {done.stdout}{done.stderr}")
    return time.monotonic() - started


def cpu_seconds(process):
    """CPU that a process and its ended children have used."""
    with open(f"/proc/{process.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


class CPU:
    """Seconds of CPU of the source, the tool and the target while the tool runs to its end."""

    def __init__(self, source, target):
        self.servers = (source.process, target.process)

    def now(self):
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        source, target = (cpu_seconds(process) for process in self.servers)
        return source, children.ru_utime + children.ru_stime, target

    def __enter__(self):
        self.before = self.now()
        return self

    def __exit__(self, *_):
        self.used = [after - before for before, after in zip(self.before, self.now())]

    def __str__(self):
        return "CPU: source {:.1f} s, pika-migrate {:.1f} s, target {:.1f} s".format(*self.used)


class MigrateBench:
    def __init__(self, bench):
        self.bench, self.options = bench, bench.options
        self.share = 5 if self.options.quick else 1

    def redis(self, name):
        path = os.path.join(self.bench.directory, name)
        return self.bench.add(Redis(name, path, self.bench.port()))

    def copy(self, source, target, scheme, name, source_scheme="redis"):
        """Seconds of a whole run that ends when it has caught up."""
        migration = Migration(
            self.options.migrate, os.path.join(self.bench.directory, name),
            f"{source_scheme}://127.0.0.1:{source.port}", f"{scheme}://127.0.0.1:{target.port}",
            "map.databases=[\"0=0\"]", "job.stop-when-caught-up=true")
        started = time.monotonic()
        migration.start()
        code = migration.process.wait(600)
        if code != 0:
            raise Failure(f"pika-migrate ended with code {code}:\n{migration.log_tail()}")
        return time.monotonic() - started

    def row(self, name, commands, count, make_target, scheme):
        path = os.path.join(self.bench.directory, f"{name}.resp")
        with open(path, "wb") as file:
            for command in commands(count):
                file.write(command)
        ours, theirs = [], []
        for number in range(self.options.rounds):
            target = make_target(f"{name}-pipe-{number}")
            before = cpu_seconds(target.process)
            theirs.append(count / pipe(path, target.port))
            pipe_cpu = cpu_seconds(target.process) - before
            target.stop()
            source = self.redis(f"{name}-source-{number}")
            pipe(path, source.port)
            target = make_target(f"{name}-target-{number}")
            with CPU(source, target) as cpu:
                ours.append(count / self.copy(source, target, scheme, f"{name}-job-{number}"))
            client = target.client()
            self.check(source, client, name)
            source.stop()
            target.stop()
        os.unlink(path)
        wanted = WANTED[name]
        ratio = statistics.median(ours) / statistics.median(theirs)
        verdict = "" if ratio >= wanted else f"   BELOW {wanted}"
        self.bench.failed |= ratio < wanted
        print(f"{name:18} pika-migrate {statistics.median(ours):10,.0f}/s, redis-cli --pipe "
              f"{statistics.median(theirs):10,.0f}/s, ratio {ratio:.2f} (at least {wanted})"
              f"{verdict}; {cpu}; by redis-cli --pipe {pipe_cpu:.1f} s", flush=True)
        self.bench.stop_all()

    @staticmethod
    def check(source, client, name):
        """A few values, so that speed is not that of doing nothing."""
        other = source.client()
        for _ in range(50):
            key = other.call("RANDOMKEY")
            kind = other.call("TYPE", key)
            if kind != client.call("TYPE", key):
                raise Failure(f"{name}: {key} is not a {kind} in the target")
            word = {"string": "STRLEN", "list": "LLEN", "set": "SCARD", "zset": "ZCARD",
                    "hash": "HLEN"}[kind]
            if other.call(word, key) != client.call(word, key):
                raise Failure(f"{name}: {key} has another size in the target")

    def decode(self):
        source = self.redis("decode")
        path = os.path.join(self.bench.directory, "decode.resp")
        with open(path, "wb") as file:
            for command in strings(STRINGS // self.share):
                file.write(command)
        pipe(path, source.port)
        client = source.client(600)
        client.call("SAVE")
        client.close()
        done = subprocess.run(
            [self.options.migrate, "inspect", os.path.join(source.directory, "dump.rdb")],
            capture_output=True, text=True, check=True)
        figures = json.loads(done.stdout)
        speed = figures["bytes"] / figures["seconds"] / 1e6
        verdict = "" if speed >= DECODED_BYTES_AT_LEAST else f"   BELOW {DECODED_BYTES_AT_LEAST}"
        self.bench.failed |= speed < DECODED_BYTES_AT_LEAST
        print(f"{'migrate-decode':18} {speed:.0f} MB/s on one core (at least "
              f"{DECODED_BYTES_AT_LEAST}){verdict}", flush=True)
        self.bench.stop_all()

    def lag(self):
        source, target = self.redis("lag-source"), self.bench.pika("lag-target")
        migration = Migration(
            self.options.migrate, os.path.join(self.bench.directory, "lag-job"),
            f"redis://127.0.0.1:{source.port}", f"pika://127.0.0.1:{target.port}",
            "map.databases=[\"0=0\"]").start()
        migration.wait_for("following", lambda s: s["phase"] == "streaming", 60)
        ends, written = threading.Event(), [0]
        block = b"".join(encode("SET", f"k:{i}", "v" * VALUE_BYTES) for i in range(200))

        def write():
            client, started = source.client(), time.monotonic()
            while not ends.is_set():
                client.socket.sendall(block)
                client.file.read(5 * 200)
                written[0] += 200
                pause = started + written[0] / STREAM_RATE - time.monotonic()
                if pause > 0:
                    time.sleep(pause)

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        mine, other = source.client(), target.client()
        lags, started, number = [], time.monotonic(), 0
        while time.monotonic() - started < STREAM_SECONDS:
            number += 1
            mine.call("SET", "probe", number)
            sent = time.monotonic()
            wait_for("the probe", lambda n=number: other.call("GET", "probe") == b"%d" % n, 30,
                     0.001)
            lags.append(time.monotonic() - sent)
            time.sleep(0.02)
        ends.set()
        writer.join()
        rate = written[0] / (time.monotonic() - started)
        lags.sort()
        worst = lags[int(len(lags) * 0.99)] * 1000
        verdict = "" if worst <= 100 else "   ABOVE 100"
        self.bench.failed |= worst > 100
        print(f"{'migrate-lag':18} at {rate:,.0f} writes/s: median "
              f"{statistics.median(lags) * 1000:.1f} ms, p99 {worst:.1f} ms (at most 100), "
              f"{len(lags)} probes, at most {migration.peak_memory() / 1e6:.0f} MB of memory"
              f"{verdict}", flush=True)
        migration.stop()
        self.bench.stop_all()

    def memory(self, scheme):
        """One string of 512 MiB and one list of 10M elements: what the tool holds at most."""
        source = self.redis(f"memory-{scheme}-source")
        name = f"memory-{scheme}-target"
        # By default ours takes requests of up to 256 MB.
        target = (self.redis(name) if scheme == "redis"
                  else self.bench.pika(name, "max-conn-rbuf-size : 1073741824"))
        size, count = BIG_STRING_BYTES // self.share, BIG_LIST_ELEMENTS // self.share
        client = source.client(600)
        block = random.Random(5).randbytes(1 << 20)
        client.socket.sendall(b"*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%d\r\n" % size)
        for start in range(0, size, len(block)):
            client.socket.sendall(block[:size - start])
        client.socket.sendall(b"\r\n")
        if client.file.readline() != b"+OK\r\n":
            raise Failure("the source refuses the string")
        script = ("for i=1,ARGV[1] do redis.call('RPUSH','list','element number '..i) end return 1")
        client.call("EVAL", script, 0, count)
        migration = Migration(
            self.options.migrate, os.path.join(self.bench.directory, f"memory-{scheme}-job"),
            f"redis://127.0.0.1:{source.port}", f"{scheme}://127.0.0.1:{target.port}",
            "map.databases=[\"0=0\"]").start()
        try:
            caught_up(migration, source, 600)
            peak = migration.peak_memory()
        finally:
            migration.stop()
        other = target.client(600)
        found = (other.call("STRLEN", "big"), other.call("LLEN", "list"),
                 other.call("GETRANGE", "big", size - 1000, -1))
        last = (block * 2)[:(size - 1) % len(block) + 1][-1000:]
        if found != (size, count, last):
            raise Failure(f"the target has {found[:2]} instead of {(size, count)}")
        verdict = "" if peak < MEMORY_AT_MOST else f"   ABOVE {MEMORY_AT_MOST / 1e6:.0f}"
        self.bench.failed |= peak >= MEMORY_AT_MOST
        print(f"{'memory-' + scheme:18} {peak / 1e6:.0f} MB at most with a string of "
              f"{size / 1e6:.0f} MB and a list of {count:,} elements (below "
              f"{MEMORY_AT_MOST / 1e6:.0f}){verdict}", flush=True)
        self.bench.stop_all()

    def pika(self):
        """From ours to ours: what there is to say is the rate, and who was busy."""
        source, target = self.bench.pika("pika-source"), self.bench.pika("pika-target")
        count = PIKA_STRINGS // self.share
        path = os.path.join(self.bench.directory, "pika.resp")
        dice = random.Random(7)
        with open(path, "wb") as file:
            for number in range(count):
                file.write(encode("SET", f"key:{number:012d}", dice.randbytes(PIKA_VALUE_BYTES)))
        seconds = pipe(path, source.port)
        os.unlink(path)
        with CPU(source, target) as cpu:
            took = self.copy(source, target, "pika", "pika-job", "pika")
        self.check(source, target.client(), "migrate-pika")
        size = count * (PIKA_VALUE_BYTES + 16) / 1e6
        print(f"{'migrate-pika':18} {size:,.0f} MB from ours to ours in {took:.1f} s: "
              f"{size / took:.0f} MB/s, {count / took:,.0f} keys/s (redis-cli --pipe: "
              f"{size / seconds:.0f} MB/s); {cpu}", flush=True)
        self.bench.stop_all()

    def run(self):
        ours = lambda name: self.bench.pika(name)  # noqa: E731
        rows = {
            "migrate-strings": lambda name: self.row(
                name, strings, STRINGS // self.share, ours, "pika"),
            "migrate-elements": lambda name: self.row(
                name, elements, ELEMENTS // self.share, ours, "pika"),
            "migrate-redis": lambda name: self.row(
                name, strings, STRINGS // self.share, self.redis, "redis"),
            "migrate-decode": lambda name: self.decode(),
            "migrate-lag": lambda name: self.lag(),
            "migrate-pika": lambda name: self.pika(),
            "memory-pika": lambda name: self.memory("pika"),
            "memory-redis": lambda name: self.memory("redis"),
        }
        for name, measure in rows.items():
            if self.options.rows in name:
                measure(name)
