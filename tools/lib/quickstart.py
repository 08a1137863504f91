"""The steps of tools/quickstart, after the build."""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time

from pikalib import Client, Failure, Server, free_base_port, size, wait_for

LIMIT = 50_000_000  # bytes per second while the replica is provisioned
LOAD = 200_000_000  # bytes of values
LIVE_LIMIT = 10_000_000  # bytes per second after the change
LIVE_LOAD = 20_000_000  # bytes written to show it
BATCH = 64  # commands per pipeline

interactive = sys.stdout.isatty()


def progress(text):
    """A line that the next one replaces; without a terminal, one line a second."""
    if interactive:
        print(f"\r{text}\033[K", end="", flush=True)
    elif time.monotonic() - progress.last >= 1:
        progress.last = time.monotonic()
        print(text, flush=True)


progress.last = 0.0


def done(text):
    print(f"\r{text}\033[K" if interactive else text, flush=True)


def bar(share, width=30):
    full = int(max(0.0, min(1.0, share)) * width)
    return "[" + "#" * full + "." * (width - full) + "]"


def commands(generator):
    """Writes of all types, endless; values can't be compressed."""
    number = 0
    while True:
        number += 1
        noise = generator.randbytes
        yield ("SET", f"string:{number}", noise(1000)), 1000
        if number % 4 == 0:
            key = f"hash:{number // 200}"
            pairs = [part for field in range(4) for part in (f"f{number}.{field}", noise(500))]
            yield ("HMSET", key, *pairs), 2000
            yield ("RPUSH", f"list:{number // 400}", noise(800), noise(800)), 1600
        if number % 6 == 0:
            yield ("SADD", f"set:{number // 300}", noise(600), noise(600)), 1200
            yield ("ZADD", f"zset:{number // 300}", number, noise(600), -number, noise(600)), 1200
        if number % 500 == 0:
            yield ("SET", f"large:{number}", noise(200_000)), 200_000
        if number % 50 == 0:
            yield ("EXPIRE", f"string:{number}", 86_400 + number), 0


def load(client, bytes_wanted, seed, label):
    written, batch, started = 0, [], time.monotonic()
    for command, count in commands(random.Random(seed)):
        batch.append(command)
        written += count
        if len(batch) == BATCH or written >= bytes_wanted:
            client.pipeline(batch)
            batch = []
            rate = written / max(time.monotonic() - started, 1e-3)
            progress(f"{label} {bar(written / bytes_wanted)} {size(written)}, {size(rate)}/s")
        if written >= bytes_wanted:
            break
    seconds = time.monotonic() - started
    done(f"{label}: {size(written)} in {seconds:.1f} s ({size(written / seconds)}/s)")


def sync_state(client):
    info = client.info("replication")
    number = lambda name: int(info.get(name) or 0)  # noqa: E731
    return {
        "phase": info.get("sync_phase", "?"), "done": number("sync_bytes_done"),
        "total": number("sync_bytes_total"), "twice": number("sync_bytes_sent_twice"),
        "resumed": number("sync_bytes_resumed"), "rate": number("sync_bytes_per_second"),
        "eta": info.get("sync_eta_seconds", ""), "up": info.get("master_link_status") == "up",
    }


def watch_copy(client, until, seconds=90):
    """Shows the copy's progress until the condition holds for a state; returns that state."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = sync_state(client)
        share = state["done"] / state["total"] if state["total"] else 0
        eta = f", {state['eta']} s left" if state["eta"] else ""
        progress(
            f"copying {bar(share)} {size(state['done'])} of {size(state['total'])}, "
            f"{size(state['rate'])}/s{eta} ({state['phase']})")
        if until(state):
            return state
        if state["phase"] == "broken":
            raise Failure(f"the copy broke: {client.info('replication')}")
        time.sleep(0.05)
    raise Failure(f"the copy did not get there within {seconds} s: {state}")


def contents(client):
    """All keys of a server, with a digest of the contents and the seconds left, one by one."""
    readers = {
        "string": ("GET",), "hash": ("HGETALL",), "list": ("LRANGE", 0, -1), "set": ("SMEMBERS",),
        "zset": ("ZRANGE", 0, -1, "WITHSCORES"),
    }
    for kind, (word, *rest) in readers.items():
        cursor = "0"
        while True:
            cursor, keys = client.call("SCAN", cursor, "COUNT", 400, "TYPE", kind)
            keys = sorted(set(keys))
            replies = client.pipeline(
                [command for key in keys for command in ((word, key, *rest), ("TTL", key))])
            for index, key in enumerate(keys):
                value = replies[2 * index]
                if kind == "set":
                    value = tuple(sorted(value))
                elif kind == "hash":
                    value = tuple(sorted(zip(value[::2], value[1::2])))
                elif kind != "string":
                    value = tuple(value)
                yield (kind, key), hash(value), replies[2 * index + 1]
            cursor = cursor.decode()
            if cursor == "0":
                break


def verify(master, replica):
    """Compares both sides key by key; returns the number of keys."""
    started, expected = time.monotonic(), {}
    for name, digest, ttl in contents(master):
        expected[name] = digest, ttl
        progress(f"verifying: {len(expected)} keys of the master read")
    seen = set()
    for name, digest, ttl in contents(replica):
        if name not in expected:
            raise Failure(f"the replica has the key {name}, the master does not")
        if expected[name][0] != digest:
            raise Failure(f"the key {name} differs")
        if abs(expected[name][1] - ttl) > 30:
            raise Failure(f"the deadline of {name} differs: {expected[name][1]} and {ttl}")
        seen.add(name)
        progress(f"verifying: {len(seen)} of {len(expected)} keys are equal")
    if len(seen) != len(expected):
        missing = next(name for name in expected if name not in seen)
        raise Failure(f"{len(expected) - len(seen)} keys are missing, such as {missing}")
    seconds = time.monotonic() - started
    done(f"verified: {len(seen)} keys are equal on both sides, key by key ({seconds:.1f} s)")
    return len(seen)


def live_writes(master, replica):
    """Writes on the master, reads on the replica; returns the median delay in milliseconds."""
    delays = []
    for number in range(50):
        key, value = f"live:{number}", f"value {number}".encode()
        master.call("SET", key, value)
        started = time.monotonic()
        wait_for("a live write on the replica", lambda: replica.call("GET", key) == value, 10, 0)
        delays.append((time.monotonic() - started) * 1000)
    median = sorted(delays)[len(delays) // 2]
    done(f"live writes: 50 of 50 arrived, {median:.2f} ms after the reply (median)")
    return median


def live_limit(master, replica):
    """Changes the limit while the replica follows; returns the rate that was measured."""
    replica.call("CONFIG", "SET", "throttle-bytes-per-second", LIVE_LIMIT)
    started = time.monotonic()
    noise = random.Random(3).randbytes
    for _ in range(LIVE_LOAD // 100_000 // 10):
        master.pipeline([("SET", f"limit:{n}", noise(100_000)) for n in range(10)])
    master.call("SET", "limit:end", b"here")
    wait_for("the end of the limited stream", lambda: replica.call("GET", "limit:end"), 60, 0.01)
    seconds = time.monotonic() - started
    rate = LIVE_LOAD / seconds
    replica.call("CONFIG", "SET", "throttle-bytes-per-second", 0)
    done(f"limit changed live to {size(LIVE_LIMIT)}/s: {size(LIVE_LOAD)} in {seconds:.1f} s "
         f"= {size(rate)}/s")
    if rate > LIVE_LIMIT * 1.25:
        raise Failure(f"the limit of {LIVE_LIMIT} bytes/s was not kept: {rate:.0f}")
    return rate


def run(binary, directory, servers):
    master_port = free_base_port()
    master = Server("master", binary, os.path.join(directory, "master"), master_port,
                    ["throttle-bytes-per-second : 0"])
    servers.append(master)
    master.start()
    replica = Server("replica", binary, os.path.join(directory, "replica"),
                     free_base_port([master_port]), [f"throttle-bytes-per-second : {LIMIT}"])
    servers.append(replica)
    replica.start()
    print(f"master on port {master.port}, replica on port {replica.port}, data in {directory}")

    on_master, on_replica = master.client(), replica.client()
    load(on_master, LOAD, 1, "loading")

    print(f"provisioning the replica at {size(LIMIT)}/s")
    started = time.monotonic()
    on_replica.call("SLAVEOF", "127.0.0.1", master.port)
    on_replica.call("CONFIG", "REWRITE")
    half = watch_copy(on_replica, lambda s: s["total"] and s["done"] * 2 >= s["total"])
    on_replica.close()
    replica.kill()
    done(f"killed the replica (kill -9) at {size(half['done'])} of {size(half['total'])}")
    replica.start()
    on_replica = replica.client()
    first = watch_copy(on_replica, lambda s: s["done"] > 0)
    done(f"restarted: it goes on at {size(first['done'])}, nothing before that is copied again")
    last = watch_copy(on_replica, lambda s: s["up"] and s["total"])
    seconds = time.monotonic() - started
    done(f"copied {size(last['total'])} in {seconds:.1f} s, restart included; "
         f"sent twice: {size(last['twice'])}")
    if first["done"] < half["done"] * 0.5:
        raise Failure(f"the copy did not resume: {first['done']} of {half['done']} bytes were left")

    keys = verify(on_master, on_replica)
    delay = live_writes(on_master, on_replica)
    rate = live_limit(on_master, on_replica)
    return master, replica, {
        "copied": size(last["total"]), "sent twice": size(last["twice"]), "keys verified": keys,
        "live write seen after": f"{delay:.2f} ms", "changed limit held": f"{size(rate)}/s",
    }


def main():
    parser = argparse.ArgumentParser(prog="tools/quickstart")
    parser.add_argument("--pika", required=True)
    parser.add_argument("--keep", action="store_true", help="leave the pair running")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory = tempfile.mkdtemp(prefix="pika-quickstart-")
    servers, kept, started = [], False, time.monotonic()
    try:
        master, replica, summary = run(os.path.abspath(options.pika), directory, servers)
        print("\nall done in %.0f s" % (time.monotonic() - started))
        for name, value in summary.items():
            print(f"  {name}: {value}")
        if options.keep:
            kept = True
            print(f"\nthe pair keeps running; talk to it with any Redis client:\n"
                  f"  redis-cli -p {master.port} SET greeting hello\n"
                  f"  redis-cli -p {replica.port} GET greeting\n"
                  f"  redis-cli -p {replica.port} INFO replication\n"
                  f"stop it with:\n  kill {master.process.pid} {replica.process.pid}; "
                  f"rm -r {directory}")
        return 0
    except (Failure, OSError) as failure:
        print(f"\nquickstart failed: {failure}", file=sys.stderr)
        for server in servers:
            print(f"--- the {server.name}'s last words ({server.log}):\n{server.log_tail()}",
                  file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    finally:
        if not kept:
            for server in reversed(servers):
                server.stop()
            if sys.exc_info()[0] is None:
                shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
