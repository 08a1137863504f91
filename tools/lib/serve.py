"""The serve, idle and large benches: commands against redis-server in the same run."""

import csv
import json
import os
import random
import resource
import socket
import statistics
import subprocess
import time

from pikalib import Failure

CLIENTS = 50
VALUE_BYTES = 64
KEYS = 100_000
IDLE_CLIENTS = 5_000
IDLE_LIMIT_BYTES = 12_000
P99_FACTOR = 2.0
NOISE_BYTES = 1 << 20
REST_SECONDS, REST_CPU_SECONDS, REST_LIMIT_SECONDS = 3, 0.05, 600
TRANSACTION = "MULTI;SET key:__rand_int__ __data__;INCR counter:__rand_int__;EXEC"
SET_GET = ["SET key:__rand_int__ __data__", "GET key:__rand_int__"]


class Row:
    """A kind of request; `wanted` is the least ratio of the rates, None: printed only."""

    def __init__(self, name, pipeline, requests, wanted, test=None, words=None, script=None,
                 fresh=(), prepare=None):
        self.name, self.pipeline, self.requests, self.wanted = name, pipeline, requests, wanted
        self.test, self.words, self.script = test, words, script
        # Keys that are deleted before each measurement.
        self.fresh, self.prepare = fresh, prepare

    @property
    def title(self):
        return f"{self.name} -P {self.pipeline}"


def fill_list(bench, server, requests):
    run_benchmark(server, requests, 64, "-t", "lpush")


def fill_ranges(bench, server, requests):
    client = server.client()
    client.call("DEL", "range:list", "range:zset", "range:hash")
    value = "x" * VALUE_BYTES
    client.call("RPUSH", "range:list", *[value] * 100)
    client.call("ZADD", "range:zset", *[word for n in range(100) for word in (n, f"member:{n:012}")])
    client.call("HSET", "range:hash", *[word for n in range(50) for word in (f"field:{n}", value)])
    client.close()


def rows():
    """The rows of the issue that asked for them, and the same with or without pipelines."""
    lrange = ["LRANGE", "range:list", "0", "99"]
    zrange = ["ZRANGE", "range:zset", "0", "99"]
    hgetall = ["HGETALL", "range:hash"]
    yield Row("SET", 16, 1_000_000, 0.5, test="set")
    yield Row("GET", 16, 1_000_000, 0.65, test="get")
    yield Row("SET", 1, 200_000, 0.7, test="set")
    yield Row("GET", 1, 200_000, 0.9, test="get")
    for test, key in (("hset", "myhash"), ("lpush", "mylist"), ("sadd", "myset"),
                      ("zadd", "myzset"), ("incr", None)):
        yield Row(test.upper(), 16, 500_000, 0.35, test=test, fresh=[key] if key else [])
    yield Row("LPOP", 16, 500_000, 0.35, test="lpop", fresh=["mylist"], prepare=fill_list)
    for pipeline, part, wanted in ((1, 1, 0.5), (16, 2, None)):
        yield Row("MSET of 10", pipeline, 100_000 * part, wanted, test="mset")
        for name, words in (("LRANGE 100", lrange), ("ZRANGE 100", zrange),
                            ("HGETALL of 50", hgetall)):
            yield Row(name, pipeline, 100_000 * part, wanted, words=words, prepare=fill_ranges)
    yield Row("MULTI SET INCR EXEC", 1, 100_000, 0.35, script=TRANSACTION)
    yield Row("MULTI SET INCR EXEC", 16, 200_000, None, script=TRANSACTION)


def run_benchmark(server, requests, pipeline, *arguments, value_bytes=VALUE_BYTES, keys=KEYS):
    """Requests per second by redis-benchmark."""
    output = subprocess.run(
        ["redis-benchmark", "-p", str(server.port), "-n", str(requests), "-c", str(CLIENTS),
         "-P", str(pipeline), "-d", str(value_bytes), "-r", str(keys), "--csv", *arguments],
        check=True, capture_output=True, text=True).stdout
    lines = list(csv.reader(output.splitlines()))
    try:
        return float(lines[-1][1])
    except (IndexError, ValueError):
        raise Failure(f"redis-benchmark printed no result: {output}") from None


def run_load(bench, server, requests, scripts, *arguments):
    """What tools/bench-load measured."""
    output = subprocess.run(
        [bench.options.load, "--port", str(server.port), "--clients", str(CLIENTS),
         "--requests", str(requests), "--keys", str(KEYS), "--bytes", str(VALUE_BYTES),
         *arguments, *scripts], check=True, capture_output=True, text=True).stdout
    return json.loads(output)


def cpu_seconds(server):
    with open(f"/proc/{server.process.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(server):
    with open(f"/proc/{server.process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(bench, server, row, requests):
    """Requests per second, and CPU of the server per request in microseconds."""
    if row.fresh:
        client = server.client()
        client.call("DEL", *row.fresh)
        client.close()
    if row.prepare:
        row.prepare(bench, server, requests)
    before = cpu_seconds(server)
    if row.script:
        rate = run_load(bench, server, requests, [row.script], "--pipeline",
                        str(row.pipeline))["rate"]
    else:
        rate = run_benchmark(
            server, requests, row.pipeline, *(["-t", row.test] if row.test else row.words))
    return rate, (cpu_seconds(server) - before) / requests * 1e6


def serve(bench):
    only = bench.options.rows.lower()
    chosen = [row for row in rows() if only in row.title.lower()]
    ours, theirs = bench.pika("serve-pika"), bench.redis("serve-redis")
    for row in chosen:
        requests = row.requests // (5 if bench.options.quick else 1)
        figures = {ours: [], theirs: []}
        for server in (ours, theirs) * bench.options.rounds:
            figures[server].append(measure(bench, server, row, requests))
        (our_rate, our_cpu), (their_rate, their_cpu) = (
            [statistics.median(column) for column in zip(*figures[server])]
            for server in (ours, theirs))
        ratio = our_rate / their_rate
        missed = row.wanted is not None and ratio < row.wanted
        bench.failed |= missed
        wanted = "not judged" if row.wanted is None else f"at least {row.wanted}"
        cpu_ratio = f"{their_cpu / our_cpu:.2f}" if our_cpu else "-"
        print(f"{row.title:25} ours {our_rate / 1000:7.1f} k/s {our_cpu:6.2f} us, "
              f"other {their_rate / 1000:7.1f} k/s {their_cpu:6.2f} us, ratio {ratio:.2f} "
              f"({wanted}), of CPU {cpu_ratio}{'   MISSED' if missed else ''}", flush=True)
    if only in "p99 latency":
        latency(bench, ours, theirs)
    bench.stop_all()
    if only in "idle clients":
        idle(bench)


def latency(bench, ours, theirs):
    """Both at the same rate, half of what we can do: the other one has it easier."""
    part = 5 if bench.options.quick else 1
    figures = {ours: [], theirs: []}
    for server in (ours, theirs):
        run_benchmark(server, 3 * KEYS, 16, "-t", "set")
    top = statistics.median(
        run_load(bench, ours, 100_000 // part, SET_GET)["rate"]
        for _ in range(bench.options.rounds))
    requests = int(top / 2 * 5 / part)
    for server in (ours, theirs) * bench.options.rounds:
        result = run_load(bench, server, requests, SET_GET, "--rate", str(top / 2))
        figures[server].append((result["p50_us"], result["p99_us"]))
    (our_p50, our_p99), (their_p50, their_p99) = (
        [statistics.median(column) for column in zip(*figures[server])]
        for server in (ours, theirs))
    missed = our_p99 > their_p99 * P99_FACTOR
    bench.failed |= missed
    print(f"{'SET and GET, latency':25} at {top / 2000:.1f} k/s (half of ours): p99 ours "
          f"{our_p99:,.0f} us, other {their_p99:,.0f} us (at most {P99_FACTOR:.0f} times); p50 ours "
          f"{our_p50:,.0f} us, other {their_p50:,.0f} us{'   MISSED' if missed else ''}", flush=True)


def idle(bench):
    count = IDLE_CLIENTS // (5 if bench.options.quick else 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count + 100:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 1000), hard))
    ours = bench.pika("idle-pika", "maxclients : 20000")
    theirs = bench.redis("idle-redis", "--maxclients", "20000")
    cost = {}
    for server in (ours, theirs):
        with server.client() as client:
            client.call("PING")
        before = resident_bytes(server)
        sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(count)]
        for each in sockets:
            each.sendall(b"*1\r\n$4\r\nPING\r\n")
        for each in sockets:
            each.recv(100)
        cost[server] = (resident_bytes(server) - before) / count
        for each in sockets:
            each.close()
    missed = cost[ours] > IDLE_LIMIT_BYTES
    bench.failed |= missed
    print(f"{'memory of an idle client':25} ours {cost[ours] / 1000:.1f} KB, other "
          f"{cost[theirs] / 1000:.1f} KB, {count} clients after one PING each (at most "
          f"{IDLE_LIMIT_BYTES / 1000:.0f} KB){'   MISSED' if missed else ''}", flush=True)
    bench.stop_all()


def large(bench):
    """Rates with many keys of 1 KB against those with few; ours alone.

    What the filling left to compact is not the measured requests' doing, and is waited for; what they
    cause themselves runs beside them.
    """
    many, few, size = bench.options.keys, KEYS, 1000
    server = bench.pika("large-pika")
    figures = {}
    for count in (few, many):
        fill(server, count, size)
        for test, name in (("set", "SET"), ("get", "GET")):
            rest(server)
            rates = [
                run_benchmark(server, 300_000, 16, "-t", test, value_bytes=size, keys=count)
                for _ in range(bench.options.rounds)]
            figures[name, count] = statistics.median(rates)
    for name in ("SET", "GET"):
        ratio = figures[name, many] / figures[name, few]
        missed = ratio < 0.6
        bench.failed |= missed
        print(f"{name + ' -P 16, 1 KB':25} {figures[name, many] / 1000:.1f} k/s with {many:,} keys, "
              f"{figures[name, few] / 1000:.1f} k/s with {few:,}, ratio {ratio:.2f} (at least 0.6)"
              f"{'   MISSED' if missed else ''}", flush=True)
    bench.stop_all()


def rest(server):
    """Waits until the server has nothing to do, compactions included."""
    quiet, before = 0, cpu_seconds(server)
    deadline = time.monotonic() + REST_LIMIT_SECONDS
    while quiet < REST_SECONDS:
        if time.monotonic() > deadline:
            raise Failure(f"the server did not come to rest in {REST_LIMIT_SECONDS} s")
        time.sleep(1)
        now = cpu_seconds(server)
        quiet = quiet + 1 if now - before < REST_CPU_SECONDS else 0
        before = now


def fill(server, count, size):
    """Keys as redis-benchmark names them; values that don't compress."""
    noise = random.Random(1).randbytes(size + NOISE_BYTES)
    client = server.client(timeout=300)
    header = b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%%012d\r\n$%d\r\n" % size
    for start in range(0, count, 500):
        numbers = range(start, min(start + 500, count))
        # Neighbours, which share a block, come from places far apart.
        places = ((n, n * 65521 % NOISE_BYTES) for n in numbers)
        client.socket.sendall(b"".join(
            header % n + noise[at:at + size] + b"\r\n" for n, at in places))
        expected = b"+OK\r\n" * len(numbers)
        if client.file.read(len(expected)) != expected:
            raise Failure("a SET of the filling failed")
    client.close()
