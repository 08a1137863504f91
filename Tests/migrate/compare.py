#!/usr/bin/env python3
"""Compares two servers that speak Redis's protocol, by client commands only.

    compare.py [options] FROM TO          FROM, TO: host:port

Every key of every database of both sides is read: type, value, deadline. A Pika may hold up to
five types under one name; all of them are compared. Differences go to standard output, one JSON
object a line, then a summary. Apart from the product's code on purpose: nothing is shared.

Exit code: 0 equal, 1 different, 2 could not be compared.
"""
import argparse
import json
import os
import socket
import struct
import sys
import time

TYPES = ("string", "hash", "list", "set", "zset")


class ReplyError(Exception):
    """An error reply."""


class Client:
    """One connection, requests and replies in order."""

    def __init__(self, address, password, timeout=60):
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", 1 << 16)
        if password:
            self.call("AUTH", password)
        text = self.call("INFO").decode("utf-8", "replace")
        fields = dict(line.strip().split(":", 1) for line in text.splitlines() if ":" in line)
        self.is_pika = "pika_version" in fields
        self.name = ("pika " + fields["pika_version"] if self.is_pika
                     else "redis " + fields.get("redis_version", "?"))
        self.offset = 0.0
        if not self.is_pika:
            seconds, micros = self.call("TIME")
            self.offset = int(seconds) + int(micros) / 1e6 - time.time()

    def databases(self):
        try:
            reply = self.call("CONFIG", "GET", "databases")
            return int(reply[1])
        except (ReplyError, IndexError, ValueError, TypeError):
            return 1

    def send(self, requests):
        parts = []
        for words in requests:
            parts.append(b"*%d\r\n" % len(words))
            for word in words:
                data = word if isinstance(word, bytes) else str(word).encode()
                parts.append(b"$%d\r\n" % len(data))
                parts.append(data)
                parts.append(b"\r\n")
        self.socket.sendall(b"".join(parts))

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError("the server closed the connection")
        mark, rest = line[:1], line[1:-2]
        if mark == b"+":
            return rest
        if mark == b"-":
            return ReplyError(rest.decode("utf-8", "replace"))
        if mark == b":":
            return int(rest)
        if mark == b"$":
            size = int(rest)
            if size < 0:
                return None
            data = self.file.read(size + 2)
            if len(data) != size + 2:
                raise EOFError("the server closed the connection")
            return data[:-2]
        if mark == b"*":
            size = int(rest)
            return None if size < 0 else [self.read() for _ in range(size)]
        raise ValueError("no reply: %r" % line)

    def pipeline(self, requests):
        """Replies of all requests; errors are values."""
        self.send(requests)
        return [self.read() for _ in requests]

    def call(self, *words):
        reply = self.pipeline([words])[0]
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def select(self, database):
        self.call("SELECT", database)

    def scan(self, count=1000):
        cursor = b"0"
        seen = set()
        while True:
            cursor, keys = self.call("SCAN", cursor, "COUNT", count)
            for key in keys:
                # Names come once for each of their types on a Pika, and maybe twice on a Redis.
                if key not in seen:
                    seen.add(key)
                    yield key
            if cursor == b"0":
                return

    def elements(self, name, key):
        """A collection by cursor: HSCAN, SSCAN, ZSCAN."""
        cursor = b"0"
        while True:
            cursor, part = self.call(name, key, cursor, "COUNT", 1000)
            yield from part
            if cursor == b"0":
                return


def score_bits(text):
    value = float(text)
    return struct.pack(">d", 0.0 if value == 0 else value)


def read_value(client, kind, key):
    """The value in a form that two servers must agree on; None if the key has no such type."""
    if kind == "string":
        return client.call("GET", key)
    if kind == "list":
        result, start = [], 0
        while True:
            part = client.call("LRANGE", key, start, start + 999)
            result += part
            if len(part) < 1000:
                return tuple(result) or None
            start += 1000
    if kind == "hash":
        flat = list(client.elements("HSCAN", key))
        return dict(zip(flat[::2], flat[1::2])) or None
    if kind == "set":
        return frozenset(client.elements("SSCAN", key)) or None
    flat = list(client.elements("ZSCAN", key))
    return {member: score_bits(score) for member, score in zip(flat[::2], flat[1::2])} or None


def kinds_of(client, keys):
    """The types of each key: on a Pika several are possible."""
    if not client.is_pika:
        replies = client.pipeline([("TYPE", key) for key in keys])
        return [[reply.decode()] if reply not in (b"none",) else [] for reply in replies]
    requests = []
    for key in keys:
        requests += [("STRLEN", key), ("HLEN", key), ("LLEN", key), ("SCARD", key),
                     ("ZCARD", key), ("TYPE", key)]
    replies = client.pipeline(requests)
    found = []
    for index in range(len(keys)):
        sizes = replies[index * 6:index * 6 + 6]
        kinds = [kind for kind, size in zip(TYPES, sizes) if isinstance(size, int) and size > 0]
        # An empty string has no length, and is there all the same.
        if "string" not in kinds and sizes[5] == b"string":
            kinds.insert(0, "string")
        found.append(kinds)
    return found


def deadline(client, key):
    """When the key expires, Unix seconds of this machine; None = never, 0 = it is gone."""
    if client.is_pika:
        left = client.call("TTL", key)
    else:
        left = client.call("PTTL", key)
        left = left / 1000 if left > 0 else left
    if left == -1:
        return None
    return 0 if left < 0 else time.time() + left


def short(value, limit=60):
    if value is None:
        return None
    if isinstance(value, bytes):
        text = value[:limit].decode("utf-8", "backslashreplace")
        return text + ("... %d bytes" % len(value) if len(value) > limit else "")
    if isinstance(value, (tuple, dict, frozenset)):
        return "%s of %d" % (type(value).__name__, len(value))
    return str(value)


def where(left, right):
    """The first place where two values differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        for name in left.keys() | right.keys():
            if left.get(name) != right.get(name):
                return {"element": short(name), "from": repr(left.get(name))[:80],
                        "to": repr(right.get(name))[:80]}
    if isinstance(left, frozenset) and isinstance(right, frozenset):
        for name in left ^ right:
            return {"element": short(name), "only": "from" if name in left else "to"}
    if isinstance(left, tuple) and isinstance(right, tuple):
        for index in range(max(len(left), len(right))):
            one = left[index] if index < len(left) else None
            two = right[index] if index < len(right) else None
            if one != two:
                return {"index": index, "from": short(one), "to": short(two),
                        "lengths": [len(left), len(right)]}
    return {"from": short(left), "to": short(right)}


class Comparison:
    def __init__(self, source, target, options):
        self.source, self.target, self.options = source, target, options
        self.counts = {"keys": 0, "equal": 0, "different": 0, "expiring": 0, "unsupported": 0}
        self.kinds = {}

    def report(self, database, key, what, **detail):
        self.counts["different"] += 1
        if self.counts["different"] <= self.options.limit:
            print(json.dumps({"db": database, "key": short(key, 200), "what": what, **detail}))

    def is_left_out(self, key):
        return any(key.startswith(prefix) for prefix in self.options.exclude_bytes)

    def compare_key(self, database, key, left_kinds, right_kinds):
        self.counts["keys"] += 1
        odd = [kind for kind in left_kinds + right_kinds if kind not in TYPES]
        if odd:
            self.counts["unsupported"] += 1
            if sorted(left_kinds) != sorted(right_kinds):
                self.report(database, key, "type", **{"from": left_kinds, "to": right_kinds})
            return
        if sorted(left_kinds) != sorted(right_kinds):
            if self.is_expiring(key):
                self.counts["expiring"] += 1
                return
            what = "missing" if not right_kinds else "extra" if not left_kinds else "type"
            self.report(database, key, what, **{"from": left_kinds, "to": right_kinds})
            return
        for kind in left_kinds:
            left = read_value(self.source, kind, key)
            right = read_value(self.target, kind, key)
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
            if left != right:
                if self.is_expiring(key):
                    self.counts["expiring"] += 1
                    return
                self.report(database, key, "value", kind=kind, **where(left, right))
                return
        if self.compare_deadline(database, key):
            self.counts["equal"] += 1

    def is_expiring(self, key):
        """Whether one of the sides has it only for moments, or has just let it go."""
        ends = [deadline(self.source, key), deadline(self.target, key)]
        limit = time.time() + self.options.ttl_tolerance + 1
        return any(end is not None and end < limit for end in ends) and any(
            end is not None and end > 0 for end in ends)

    def compare_deadline(self, database, key):
        if self.options.ignore_ttl:
            return True
        left, right = deadline(self.source, key), deadline(self.target, key)
        if left == 0 or right == 0:
            self.counts["expiring"] += 1
            return left == right
        if (left is None) != (right is None) or (
                left is not None and abs(left - right) > self.options.ttl_tolerance):
            now = time.time()
            self.report(database, key, "ttl", **{
                "from": None if left is None else round(left - now, 3),
                "to": None if right is None else round(right - now, 3)})
            return False
        return True

    def run(self):
        for one, two in self.options.map:
            self.source.select(one)
            self.target.select(two)
            keys = sorted(set(self.source.scan()) | set(self.target.scan()))
            keys = [key for key in keys if not self.is_left_out(key)]
            for start in range(0, len(keys), 200):
                part = keys[start:start + 200]
                left, right = kinds_of(self.source, part), kinds_of(self.target, part)
                for key, one_kinds, two_kinds in zip(part, left, right):
                    self.compare_key(one, key, one_kinds, two_kinds)


def database_map(text, source, target):
    if text:
        return [tuple(int(part) for part in pair.split("=")) for pair in text.split(",")]
    count = min(source.databases(), target.databases())
    # Databases that only one side has must be empty there.
    return [(index, index) for index in range(count)]


def beyond(client, count):
    """Keys in databases that the other side does not have."""
    total = 0
    for index in range(count, client.databases()):
        client.select(index)
        total += sum(1 for _ in client.scan())
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", metavar="FROM")
    parser.add_argument("target", metavar="TO")
    parser.add_argument("--map", default="", help="databases: 0=0,1=4; default: the same numbers")
    parser.add_argument("--ttl-tolerance", type=float, default=2.0, help="seconds")
    parser.add_argument("--ignore-ttl", action="store_true")
    parser.add_argument("--exclude", action="append", default=["__pika_migrate:"],
                        help="prefix of keys to be left out")
    parser.add_argument("--limit", type=int, default=100, help="differences that are printed")
    options = parser.parse_args()
    options.exclude_bytes = [prefix.encode() for prefix in options.exclude]
    try:
        source = Client(options.source, os.environ.get("COMPARE_FROM_PASSWORD"))
        target = Client(options.target, os.environ.get("COMPARE_TO_PASSWORD"))
        has_map = bool(options.map)
        options.map = database_map(options.map, source, target)
        started = time.time()
        comparison = Comparison(source, target, options)
        comparison.run()
        if not has_map:
            for client, side in ((source, "missing"), (target, "extra")):
                left = beyond(client, len(options.map))
                if left:
                    comparison.report(None, b"", side, keys=left, databases="beyond the other's")
    except (OSError, EOFError, ReplyError, ValueError) as error:
        print(json.dumps({"error": str(error)}), file=sys.stderr)
        return 2
    summary = {"from": source.name, "to": target.name, "databases": len(options.map),
               **comparison.counts, "kinds": comparison.kinds,
               "seconds": round(time.time() - started, 1)}
    print(json.dumps(summary))
    return 1 if comparison.counts["different"] else 0


if __name__ == "__main__":
    sys.exit(main())
