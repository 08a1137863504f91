"""The block bench: how long a PING and a SET wait beside one big command."""

import multiprocessing
import os
import socket
import time

from pikalib import Client, Failure, wait_for

LIMIT_MILLISECONDS = 50
# Between two requests of a probe.
PAUSE_SECONDS = 0.0005
PIECE = 1 << 20
# Nobody's data, another type's store, the store that the big command writes.
PROBES = ("PING",), ("SET", "probe", "v"), ("SADD", "probe:set", "v")
MARK = b"the-end-of-the-big-command"


def probe(port, words, commands, results):
    """Sends a request again and again while it is told to; answers the longest wait and how many."""
    try:
        os.nice(-10)
    except OSError:
        pass
    client = Client(port)
    while commands.recv() == "go":
        longest, count = 0.0, 0
        while not commands.poll():
            began = time.monotonic()
            client.call(*words)
            longest = max(longest, time.monotonic() - began)
            count += 1
            time.sleep(PAUSE_SECONDS)
        commands.recv()
        results.send((longest * 1000, count))


class Probe:
    def __init__(self, port, *words):
        self.commands, theirs = multiprocessing.Pipe()
        self.results, answers = multiprocessing.Pipe()
        self.process = multiprocessing.Process(
            target=probe, args=(port, words, theirs, answers), daemon=True)
        self.process.start()

    def start(self):
        self.commands.send("go")

    def stop(self):
        self.commands.send("stop")
        return self.results.recv()

    def end(self):
        self.commands.send("end")
        self.process.join(10)


def run_big(port, payload):
    """Sends the bytes of requests, reads whatever comes; returns seconds and bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=600) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        mark = Client.encode(("ECHO", MARK))
        began = time.monotonic()
        sender = multiprocessing.Process(target=connection.sendall, args=(payload + mark,))
        sender.start()
        received, tail, piece = 0, b"", bytearray(PIECE)
        while MARK not in tail:
            count = connection.recv_into(piece)
            if not count:
                raise Failure("the server closed the connection of a big command")
            received += count
            tail = (tail + bytes(piece[max(0, count - 64):count]))[-128:]
        seconds = time.monotonic() - began
        sender.join()
        return seconds, received


class Work:
    """A big command; `prepare` gets a client first, `requests` is what is sent."""

    def __init__(self, name, *requests, prepare=None):
        self.name, self.requests, self.prepare = name, requests, prepare


def fill(client, count):
    """Collections of so many elements, and as many keys."""
    step = 2000
    for start in range(0, count, step):
        numbers = range(start, start + step)
        client.pipeline([
            ("HSET", "big:hash", *[w for n in numbers for w in (f"field:{n:08}", "v" * 64)]),
            ("SADD", "big:set:a", *[f"member:{n:08}" for n in numbers]),
            ("SADD", "big:set:b", *[f"member:{n + count // 2:08}" for n in numbers]),
            ("ZADD", "big:zset", *[w for n in numbers for w in (n * 7 % count, f"member:{n:08}")]),
            ("RPUSH", "big:list", *[n * 7919 % count for n in numbers]),
            ("MSET", *[w for n in numbers for w in (f"key:{n:08}", "v" * 16)]),
        ])


def flush(server):
    """Puts what is in memory into files, so that large values are read from there."""
    if server.binary == "redis-server":
        return
    client = server.client(600)
    client.call("COMPACT")
    wait_for("the end of COMPACT", lambda: client.info("stats")["is_compact"] == "No", 300, 0.2)
    client.close()


def works(count, value_bytes):
    def encoded(*words):
        return Client.encode(words)

    keys = [f"key:{n:08}" for n in range(count)]
    value = b"v" * value_bytes
    exec_commands = [("SET", f"exec:{n}", "v") for n in range(20_000)]
    yield Work("HGETALL", encoded("HGETALL", "big:hash"))
    yield Work("SMEMBERS", encoded("SMEMBERS", "big:set:a"))
    yield Work("LRANGE 0 -1", encoded("LRANGE", "big:list", 0, -1))
    yield Work("ZRANGE 0 -1", encoded("ZRANGE", "big:zset", 0, -1))
    yield Work("KEYS *", encoded("KEYS", "*"))
    yield Work("SORT", encoded("SORT", "big:list"))
    yield Work("SUNION", encoded("SUNION", "big:set:a", "big:set:b"))
    yield Work("SUNIONSTORE", encoded("SUNIONSTORE", "big:union", "big:set:a", "big:set:b"))
    yield Work("SINTERSTORE", encoded("SINTERSTORE", "big:inter", "big:set:a", "big:set:b"))
    yield Work("SDIFFSTORE", encoded("SDIFFSTORE", "big:diff", "big:set:a", "big:set:b"))
    yield Work("ZUNIONSTORE", encoded("ZUNIONSTORE", "big:zunion", 2, "big:zset", "big:set:a"))
    yield Work("ZRANGESTORE", encoded("ZRANGESTORE", "big:zrange", "big:zset", 0, -1))
    yield Work("SORT STORE", encoded("SORT", "big:list", "STORE", "big:sorted"))
    yield Work("COPY of the hash", encoded("COPY", "big:hash", "big:copy"))
    yield Work("RENAME of the copy", encoded("RENAME", "big:copy", "big:moved"))
    yield Work("LTRIM of half", encoded("LTRIM", "big:sorted", count // 2, -1))
    yield Work("ZREMRANGEBYRANK", encoded("ZREMRANGEBYRANK", "big:zrange", 0, -1))
    yield Work("SPOP of half", encoded("SPOP", "big:inter", count // 4))
    yield Work("DEL of the union", encoded("DEL", "big:union"))
    yield Work("DEL of the hash", encoded("DEL", "big:hash"))
    yield Work("LREM of nothing", encoded("LREM", "big:list", 0, "none"))
    yield Work("SET of a large value", encoded("SET", "big:value", value))
    yield Work("GET of a large value", encoded("GET", "big:value"))
    yield Work("BITCOUNT of it", encoded("BITCOUNT", "big:value"))
    yield Work("GET of it from files", encoded("GET", "big:value"), prepare=flush)
    yield Work("STRLEN, EXISTS, TTL of it", b"".join(
        encoded(word, "big:value") for word in ("STRLEN", "EXISTS", "TTL")), prepare=flush)
    yield Work("GETRANGE of it", encoded("GETRANGE", "big:value", 5, 9), prepare=flush)
    yield Work("APPEND to it", encoded("APPEND", "big:value", "x"))
    yield Work("EXPIRE of it", encoded("EXPIRE", "big:value", 1000))
    yield Work("SETRANGE inside it", encoded("SETRANGE", "big:value", value_bytes // 2, "x"))
    yield Work("SETBIT inside it", encoded("SETBIT", "big:value", value_bytes * 4, 1))
    yield Work("COPY of it", encoded("COPY", "big:value", "big:value:2"))
    yield Work("INFO, 100 times", encoded("INFO") * 100)
    yield Work("COMMAND DOCS, 10 times", encoded("COMMAND", "DOCS") * 10)
    yield Work("SETRANGE far out", encoded("SETRANGE", "big:range", value_bytes, "x"))
    yield Work("SETBIT far out", encoded("SETBIT", "big:bit", value_bytes * 8, 1))
    yield Work("EXEC of 20,000 SETs", encoded("MULTI") + b"".join(
        encoded(*words) for words in exec_commands) + encoded("EXEC"))
    yield Work("pipeline of 100,000", b"".join(
        encoded("SET", f"pipe:{n}", "v") for n in range(100_000)))
    yield Work("MSET of all keys", encoded("MSET", *[w for key in keys[:500_000]
                                                      for w in (key, "w" * 16)]))
    yield Work("MGET of all keys", encoded("MGET", *keys[:1_000_000]))
    yield Work("DEL of all keys", encoded("DEL", *keys[:1_000_000]))
    yield Work("FLUSHALL", encoded("FLUSHALL"))


def measure(server, count, value_bytes, only=""):
    client = server.client(600)
    fill(client, count)
    client.close()
    probes = [Probe(server.port, *words) for words in PROBES]
    rows = {}
    try:
        for work in works(count, value_bytes):
            if only not in work.name.lower():
                # What comes behind it may need what it makes.
                run_big(server.port, b"".join(work.requests))
                continue
            if work.prepare:
                work.prepare(server)
            for one in probes:
                one.start()
            time.sleep(0.05)
            seconds, received = run_big(server.port, b"".join(work.requests))
            rows[work.name] = seconds, received, *[one.stop()[0] for one in probes]
    finally:
        for one in probes:
            one.end()
    return rows


def block(bench):
    """The longest waits beside each big command, with redis-server in the same run."""
    quick = bench.options.quick
    count, value_bytes = (100_000, 32 << 20) if quick else (1_000_000, 256 << 20)
    only = bench.options.rows.lower()
    ours = measure(bench.pika("block-ours"), count, value_bytes, only)
    bench.stop_all()
    theirs = measure(bench.redis("block-redis"), count, value_bytes, only)
    bench.stop_all()
    print(f"the longest wait in ms beside one command; {count:,} elements, values of "
          f"{value_bytes >> 20} MiB")
    columns = "".join(f" {words[0]:>7}" for words in PROBES)
    print(f"{'':24} {'ours: s':>8}{columns}   {'redis: s':>8}{columns}")
    for name, (seconds, _, ping, *writes) in ours.items():
        other = theirs[name]
        verdict = "" if ping <= LIMIT_MILLISECONDS else f"   PING ABOVE {LIMIT_MILLISECONDS}"
        bench.failed |= ping > LIMIT_MILLISECONDS
        waits, others = ("".join(f" {wait:7.1f}" for wait in row)
                         for row in ([ping, *writes], other[2:]))
        print(f"{name:24} {seconds:8.2f}{waits}   {other[0]:8.2f}{others}{verdict}", flush=True)
