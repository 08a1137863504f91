"""The steps of tools/migrate-versions: one source version after the other."""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from migratelib import ROOT, Migration, Redis, caught_up
from pikalib import Client, Failure, free_base_port

KEYS = 4_000  # of each kind of string; a tenth as many of each other type
LIMIT = 1_500_000  # bytes per second of the copy, so that it lasts while writes go on
DATABASES = (0, 2, 5)
# Seconds: a source before 7.0 sends deadlines as "so long from now", and its stream waits for the copy.
RELATIVE = 60
PATIENCE = 240  # seconds for what a loaded machine may be slow at
SCRIPT = ("redis.call('INCR', KEYS[1]) redis.call('RPUSH', KEYS[2], ARGV[1])"
          " if redis.call('LLEN', KEYS[2]) > 20 then redis.call('LPOP', KEYS[2]) end"
          " return redis.call('GET', KEYS[1])")


def say(text):
    print(text, flush=True)


class Source(Redis):
    """A server of any version, from a given binary."""

    def __init__(self, binary, directory):
        super().__init__("source", directory, free_base_port())
        self.program = os.path.abspath(binary)
        self.arguments = ("--appendonly", "yes", "--appendfsync", "always")
        text = subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout
        found = re.search(r"v=([0-9.]+)", text)
        if not found:
            raise Failure(f"{binary} does not tell its version: {text}")
        self.number = found.group(1)
        self.label = f"{os.path.basename(self.program).split('-')[0]} {self.number}"
        self.version = tuple(int(part) for part in self.number.split("."))
        if self.version[0] == 255:
            # A build between two releases.
            self.version = (8, 0, 0)


def fill(client, dice):
    for database in DATABASES:
        client.call("SELECT", database)
        for start in range(0, KEYS, 500):
            batch = []
            for i in range(start, start + 500):
                batch.append(("SET", f"string:{i}", dice.randbytes(120)))
                batch.append(("SETEX", f"short:{i}", 7200 + i, str(i)))
            for i in range(start // 10, start // 10 + 50):
                fields = [part for f in range(12) for part in (f"f{f}", dice.randbytes(9))]
                batch.append(("HMSET", f"hash:{i}", *fields))
                batch.append(("RPUSH", f"list:{i}", *[dice.randbytes(9) for _ in range(12)]))
                batch.append(("SADD", f"set:{i}", *[dice.randbytes(9) for _ in range(12)]))
                batch.append(("SADD", f"ints:{i}", *range(i, i + 12)))
                scores = [part for m in range(12) for part in (f"{dice.random()}", f"m{m}")]
                batch.append(("ZADD", f"zset:{i}", *scores))
                batch.append(("PEXPIRE", f"set:{i}", 7_200_000 + i))
            client.pipeline(batch)
        for start in range(0, 3_000, 500):
            names = [f"e{i}" for i in range(start, start + 500)]
            client.pipeline([
                ("RPUSH", "big:list", *names), ("SADD", "big:set", *names),
                ("HMSET", "big:hash", *[part for n in names for part in (n, n * 9)]),
                ("ZADD", "big:zset", *[part for i, n in enumerate(names) for part in (str(i / 7), n)])])
        client.pipeline([
            ("SET", "big:string", b"\0\r\n" * 400_000), ("SET", "empty", ""),
            ("SET", "number", "-12345678901"), ("ZADD", "edges", "-inf", "a", "inf", "b", 0, "c"),
            ("PFADD", "loglog", *range(500)), ("SETBIT", "bits", 70_000, 1)])


class Writers(threading.Thread):
    """A client that writes everything there is, without pause."""

    def __init__(self, port, seed):
        super().__init__(daemon=True)
        self.port, self.dice, self.ends, self.count = port, random.Random(seed), False, 0
        self.paused, self.idle = threading.Event(), threading.Event()

    def commands(self):
        dice = self.dice
        one, two = dice.randrange(400), dice.randrange(400)
        batch = [
            ("SELECT", dice.choice(DATABASES)), ("INCR", f"count:{one % 50}"),
            ("RPUSH", f"queue:{one % 20}", dice.randbytes(9)),
            ("RPOPLPUSH", f"queue:{one % 20}", f"queue:{two % 20}"),
            ("ZINCRBY", f"scores:{one % 9}", "0.1", f"m{two % 9}"),
            ("HINCRBYFLOAT", f"hash:{one}", "live", "0.5"), ("SPOP", f"set:{two}"),
            ("SADD", f"set:{one}", dice.randbytes(9), dice.randbytes(9)),
            ("SMOVE", f"ints:{one}", f"ints:{two}", dice.randrange(400)),
            ("SUNIONSTORE", f"union:{one % 9}", f"ints:{one}", f"ints:{two}"),
            ("ZUNIONSTORE", f"zunion:{one % 9}", 2, f"zset:{one}", f"zset:{two}"),
            ("MSET", f"string:{one}", "x", f"string:{two}", dice.randbytes(40)),
            ("DEL", f"short:{one}", f"short:{two}", f"list:{one}"),
            ("SET", f"string:{one}", dice.randbytes(30), "EX", 5_000 + one),
            ("MULTI",), ("INCR", "transactions"), ("LPUSH", "log", str(one)),
            ("LTRIM", "log", 0, 50), ("EXEC",),
            ("EVAL", SCRIPT, 2, f"count:{two % 50}", f"script:{one % 9}", str(two)),
            ("SORT", f"ints:{one}", "STORE", f"sorted:{one % 9}"),
            ("BITOP", "XOR", f"xor:{one % 9}", f"string:{one}", f"string:{two}"),
            ("SET", f"from:{one}", str(two)), ("RENAME", f"from:{one}", f"to:{two % 30}"),
            ("PEXPIRE", f"zset:{one}", 4_000_000 + two), ("PERSIST", f"set:{two}"),
            ("APPEND", f"text:{one % 30}", "ab"), ("SETRANGE", f"text:{two % 30}", 3, "zz"),
            ("PFADD", "loglog", str(two)), ("GETSET", f"text:{one % 30}", "q"),
            ("LINSERT", "log", "BEFORE", str(one), "between"), ("LSET", "log", 0, "first"),
        ]
        self.count += len(batch)
        return batch

    def run(self):
        client = None
        while not self.ends:
            if self.paused.is_set():
                self.idle.set()
                time.sleep(0.01)
                continue
            self.idle.clear()
            try:
                client = client or Client(self.port, timeout=10)
                client.pipeline(self.commands())
            except (OSError, EOFError, Failure) as failure:
                if "answered" in str(failure) and "LOADING" not in str(failure):
                    raise
                client = None
                time.sleep(0.05)
            time.sleep(0.01)

    def pause(self):
        self.paused.set()
        self.idle.wait(10)


def compare(source, target, tolerance):
    done = subprocess.run(
        [sys.executable, "-B", os.path.join(ROOT, "Tests", "migrate", "compare.py"),
         f"127.0.0.1:{source}", f"127.0.0.1:{target}", "--ttl-tolerance", str(tolerance)],
        capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"the sides differ:\n{done.stdout[:3000]}{done.stderr}")
    return done.stdout.strip().splitlines()[-1]


def streams(client, source):
    """What the source can hold and the tool names; empty = nothing of it."""
    found = {}
    if source.version >= (5, 0):
        found["stream"] = ("stream", ("XADD", "things", "1-1", "f", "v"))
    if source.label.startswith("redis") and source.version >= (7, 4):
        client.call("HSET", "fields", "f", "v", "g", "w")
        found["field-deadline"] = (
            "field-deadline", ("HEXPIRE", "fields", 5000, "FIELDS", 1, "f"))
    return found


def refusals(options, source, target, directory):
    """Streams and deadlines of fields: refused unless told otherwise, and then counted."""
    client = source.client()
    client.call("SELECT", 0)
    said = []
    for name, (policy, command) in streams(client, source).items():
        client.call(*command)
        ends = []
        for choice in ("fail", "drop" if policy == "field-deadline" else "skip"):
            job = os.path.join(directory, f"{name}-{choice}")
            run = Migration(
                options.migrate, job, f"redis://127.0.0.1:{source.port}",
                f"redis://127.0.0.1:{target.port}", f"policy.{policy}={choice}",
                "target.on-nonempty=flush", "job.stop-when-caught-up=true",
                f"job.name={name}-{choice}").start()
            ends.append(run.process.wait(60))
            if choice != "fail" and f'"{name}"' not in run.log_tail():
                raise Failure(f"{name} is not counted:\n{run.log_tail()}")
        if ends != [5, 0]:
            raise Failure(f"{name}: exit codes {ends}, expected 5 and 0")
        client.call("DEL", command[1])
        said.append(f"{name}: refused, by policy counted")
    return said


def version(options, binary, directory):
    source = Source(binary, os.path.join(directory, "source"))
    servers = [source.start()]
    target = Redis("target", os.path.join(directory, "target"), free_base_port([source.port]))
    servers.append(target.start())
    migration = None
    writers = Writers(source.port, options.seed)
    try:
        fill(source.client(), random.Random(options.seed))
        migration = Migration(
            options.migrate, os.path.join(directory, "job"), f"redis://127.0.0.1:{source.port}",
            f"redis://127.0.0.1:{target.port}", f"limit.snapshot-bytes={LIMIT}")
        writers.start()
        migration.start()
        migration.wait_for("loading", lambda s: s["snapshot_read_bytes"] > 0, 60)
        migration.kill()
        migration.start()
        migration.wait_for("following", lambda s: s["phase"] == "streaming", PATIENCE)
        migration.command("limit", "snapshot-bytes", "0")
        writers.pause()
        caught_up(migration, source, PATIENCE)
        before = source.client().info("server")["run_id"]
        source.stop(20)
        source.start()
        if source.client().info("server")["run_id"] == before:
            raise Failure("the source has the same run_id")
        writers.paused.clear()
        # The tool has to see the new history before its place in it can be waited for.
        migration.wait_for(
            "the new history",
            lambda s: s["phase"] == "streaming" and s["source_reconnects_total"] > 0, PATIENCE)
        time.sleep(2)
        writers.ends = True
        writers.join()
        caught_up(migration, source, PATIENCE)
        line = compare(
            source.port, target.port, 2 if source.version >= (7, 0) else RELATIVE)
        if migration.stop() != 0:
            raise Failure("SIGTERM did not end with code 0")
        notes = refusals(options, source, target, directory)
        say(f"{source.label}: equal after {writers.count} live commands, a kill of the tool and a"
            f" new run_id; {line}" + "".join(f"\n    {note}" for note in notes))
    except Failure as failure:
        tail = migration.log_tail() if migration and os.path.exists(migration.log) else ""
        raise Failure(f"{source.label}: {failure}\n{tail}") from None
    finally:
        writers.ends = True
        if migration:
            migration.stop()
        for server in servers:
            server.stop(10)


def main():
    parser = argparse.ArgumentParser(prog="tools/migrate-versions")
    parser.add_argument("--migrate", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("servers", nargs="+", help="redis-server or valkey-server binaries")
    options = parser.parse_args()
    options.migrate = os.path.abspath(options.migrate)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    code = 0
    for binary in options.servers:
        directory = tempfile.mkdtemp(prefix="pika-migrate-versions-")
        try:
            version(options, binary, directory)
        except Failure as failure:
            print(f"failed: {failure}", file=sys.stderr)
            code = 1
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
