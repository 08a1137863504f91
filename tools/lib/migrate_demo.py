"""The steps of tools/migrate-demo, after the build."""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time

from migratelib import Migration, Redis, caught_up, compare
from pikalib import Client, Failure, Server, free_base_port, size

KEYS = 60_000  # strings before the copy begins; a tenth as many of each other type
LIMIT = 3_000_000  # bytes per second of the copy, so that there is a middle to kill it in
WRITERS = 3
ROUNDS_PER_SECOND = 60  # of each writer, 8 commands a round


def say(text):
    print(text, flush=True)


class Writers:
    """Clients that write all types, without pause, to a server that may go away."""

    def __init__(self, port):
        self.port, self.ends, self.written = port, False, [0] * WRITERS
        self.paused = threading.Event()
        self.idle = [threading.Event() for _ in range(WRITERS)]
        self.threads = [threading.Thread(target=self.write, args=(i,), daemon=True)
                        for i in range(WRITERS)]
        for thread in self.threads:
            thread.start()

    def commands(self, dice):
        key = dice.randrange(500)
        return [
            ("INCR", f"counter:{key}"),
            ("RPUSH", f"queue:{key % 50}", dice.randbytes(20)),
            ("LPOP", f"queue:{dice.randrange(50)}"),
            ("ZINCRBY", f"scores:{key % 20}", dice.randrange(1, 9), f"m{dice.randrange(30)}"),
            ("HINCRBY", f"hash:{dice.randrange(KEYS // 10)}", "live", 1),
            ("SET", f"string:{dice.randrange(KEYS)}", dice.randbytes(60), "EX", 3600),
            ("MULTI",), ("RPOPLPUSH", f"queue:{key % 50}", f"queue:{dice.randrange(50)}"),
            ("INCR", "transactions"), ("EXEC",),
            ("DEL", f"list:{dice.randrange(KEYS // 10)}"),
        ]

    def write(self, index):
        dice, client = random.Random(index), None
        while not self.ends:
            if self.paused.is_set():
                self.idle[index].set()
                time.sleep(0.01)
                continue
            self.idle[index].clear()
            try:
                client = client or Client(self.port, timeout=10)
                batch = self.commands(dice)
                client.pipeline(batch)
                self.written[index] += len(batch)
            except (OSError, EOFError, Failure):
                client = None
                time.sleep(0.05)
            time.sleep(1 / ROUNDS_PER_SECOND)

    def pause(self):
        self.paused.set()
        for idle in self.idle:
            idle.wait(10)

    def resume(self):
        self.paused.clear()

    def end(self):
        self.ends = True
        for thread in self.threads:
            thread.join()
        return sum(self.written)


def fill(client):
    dice = random.Random(1)
    for start in range(0, KEYS, 500):
        batch = [("SET", f"string:{i}", dice.randbytes(200)) for i in range(start, start + 500)]
        for i in range(start // 10, start // 10 + 50):
            fields = [part for f in range(20) for part in (f"f{f}", dice.randbytes(20))]
            batch.append(("HSET", f"hash:{i}", *fields))
            batch.append(("RPUSH", f"list:{i}", *[dice.randbytes(20) for _ in range(20)]))
            batch.append(("SADD", f"set:{i}", *[dice.randbytes(12) for _ in range(20)]))
            scores = [part for m in range(20) for part in (f"{dice.random()}", f"m{m}")]
            batch.append(("ZADD", f"zset:{i}", *scores))
            batch.append(("EXPIRE", f"set:{i}", 7200 + i))
        client.pipeline(batch)


def steps(options, directory, servers):
    source = Redis("source", os.path.join(directory, "redis"), free_base_port(),
                   "--appendonly", "yes", "--appendfsync", "always")
    servers.append(source.start())
    target = Server("target", options.pika, os.path.join(directory, "pika"),
                    free_base_port([source.port]))
    servers.append(target.start())
    client = source.client()
    fill(client)
    say(f"1. redis-server has {client.call('DBSIZE')} keys; {WRITERS} clients begin to write to it")
    writers = Writers(source.port)
    migration = Migration(
        options.migrate, os.path.join(directory, "job"), f"redis://127.0.0.1:{source.port}",
        f"pika://127.0.0.1:{target.port}", "map.databases=[\"0=0\"]",
        f"limit.snapshot-bytes={LIMIT}")
    servers.append(migration.start())

    status = migration.wait_for(
        "half of the copy",
        lambda s: s["snapshot_bytes"] and s["snapshot_read_bytes"] > s["snapshot_bytes"] // 2, 90)
    migration.kill()
    say(f"2. kill -9 of pika-migrate after {size(status['snapshot_read_bytes'])} of"
        f" {size(status['snapshot_bytes'])} of the snapshot")
    migration.start()
    status = migration.wait_for("going on", lambda s: s["phase"] == "loading", 20)
    say(f"   it goes on inside of the same snapshot, now without a limit (was"
        f" {size(status['limits']['snapshot-bytes'])}/s)")
    migration.command("limit", "snapshot-bytes", "0")
    status = migration.wait_for("following", lambda s: s["phase"] == "streaming", 90)
    say(f"3. the copy is complete ({sum(status['keys'].values())} keys in this run); following,"
        f" lag {status['lag_milliseconds']} ms")

    for number in range(5):
        time.sleep(1 + random.random())
        migration.kill()
        migration.start()
        migration.wait_for("following", lambda s: s["phase"] == "streaming", 30)
    say("4. five more kills while following: INCR, RPUSH and ZINCRBY are neither lost nor doubled")
    seconds = caught_up(migration, source)
    say(f"   caught up {seconds:.1f} s after the last one")

    writers.pause()
    caught_up(migration, source)
    old = client.info("server")["run_id"], client.info("replication")["master_replid"]
    source.stop(20)
    source.start()
    client = source.client()
    new = client.info("server")["run_id"], client.info("replication")["master_replid"]
    client.call("DEL", *[f"zset:{i}" for i in range(100)])
    writers.resume()
    say(f"5. the source was restarted: run_id {old[0][:8]} -> {new[0][:8]}, history"
        f" {old[1][:8]} -> {new[1][:8]}; 100 keys were deleted before the tool came back")
    time.sleep(3)
    status = migration.wait_for(
        "reconciling", lambda s: s["phase"] == "streaming" and s["source_reconnects_total"] > 0, 90)
    say(f"   reconciled: {status['reconciled_keys_total']} keys that the copy lacks were looked up"
        " at the source")

    time.sleep(3)
    count = writers.end()
    caught_up(migration, source)
    memory = migration.peak_memory()
    code, text = compare(source.port, target.port)
    say(f"6. compared by client commands after {count} live commands: "
        + text.strip().splitlines()[-1])
    if code != 0:
        raise Failure(f"the sides differ:\n{text}")
    exit_code = migration.stop()
    say(f"7. SIGTERM: pika-migrate drained and ended with code {exit_code}; it used at most"
        f" {size(memory)} of memory")
    return exit_code


def main():
    parser = argparse.ArgumentParser(prog="tools/migrate-demo")
    parser.add_argument("--pika", required=True)
    parser.add_argument("--migrate", required=True)
    options = parser.parse_args()
    options.pika = os.path.abspath(options.pika)
    options.migrate = os.path.abspath(options.migrate)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory, servers = tempfile.mkdtemp(prefix="pika-migrate-demo-"), []
    started = time.monotonic()
    try:
        code = steps(options, directory, servers)
        say(f"done in {time.monotonic() - started:.0f} s")
        return code
    except Failure as failure:
        print(f"the demonstration failed: {failure}", file=sys.stderr)
        for server in servers:
            print(f"--- {server.log}:\n{server.log_tail()}", file=sys.stderr)
        return 1
    finally:
        for server in reversed(servers):
            server.stop(10)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
