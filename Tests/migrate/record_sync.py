#!/usr/bin/env python3
"""Records what a server sends to a replica: replies, snapshot, stream; and what must come of it.

    record_sync.py SERVER-BINARY DIRECTORY

Writes NAME.sync (the bytes) and NAME.txt (keys and units, one a line), NAME being product and version.
The lines are made from what was written and by a splitter of its own, not by the product's code.
"""
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

FAR = 4102444800
BEFORE = [
    ("0", "SET", "text", "value"), ("0", "SET", "number", "12345"),
    ("0", "SET", "packed", "a" * 300), ("0", "RPUSH", "list", "a", "2", "c"),
    ("0", "SADD", "set", "x", "yy"), ("0", "SADD", "ints", "1", "2", "300000"),
    ("0", "HMSET", "hash", "f", "v", "g", "1"), ("0", "ZADD", "zset", "1.5", "m", "-inf", "n"),
    ("0", "EXPIREAT", "text", str(FAR)), ("3", "SET", "other", "db"),
    ("3", "EXPIREAT", "other", str(FAR)),
]
KEYS = [
    "0 hash hash 4", "0 ints set 3", "0 list list 3", "0 number string 5", "0 packed string 300",
    "0 set set 2", "0 text string 5", "0 zset sortedSet 2", "3 other string 2"]
LIVE = [
    ("SELECT", "0"), ("SET", "a", "1", "EX", "5000"), ("SETEX", "b", "5000", "v"),
    ("EXPIRE", "list", "5000"), ("PEXPIREAT", "hash", str(FAR * 1000)), ("INCRBYFLOAT", "f", "1.5"),
    ("HINCRBYFLOAT", "hash", "n", "0.5"), ("MULTI",), ("INCR", "t"), ("RPOPLPUSH", "list", "set2"),
    ("EXEC",), ("SPOP", "set"), ("GETSET", "a", "2"), ("SELECT", "3"), ("SET", "o", "1"),
    ("EVAL", "redis.call('INCR', KEYS[1]) return redis.call('RPUSH', KEYS[2], ARGV[1])", "2", "s",
     "l", "x"),
    ("RENAME", "o", "p"), ("SORT", "l", "ALPHA", "STORE", "sorted"), ("FLUSHDB",),
    ("SET", "end", "1"),
]


def encode(words):
    data = [word.encode() for word in words]
    return b"*%d\r\n" % len(data) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in data)


def ask(link, *words):
    link.sendall(encode(words))
    time.sleep(0.05)
    return link.recv(1 << 16)


def commands(stream):
    """Commands with the database that they run in."""
    found, at = [], 0
    while at < len(stream):
        end = stream.index(b"\r\n", at)
        if stream[at:at + 1] != b"*":
            at = end + 2
            continue
        words, count = [], int(stream[at + 1:end])
        at = end + 2
        for _ in range(count):
            end = stream.index(b"\r\n", at)
            size = int(stream[at + 1:end])
            words.append(stream[end + 2:end + 2 + size].decode())
            at = end + 4 + size
        found.append(words)
    return found


def units(found):
    lines, database, group = [], "0", None
    for words in found:
        name = words[0].upper()
        if name == "SELECT":
            database = words[1]
        elif name == "MULTI":
            group = []
        elif name == "EXEC":
            lines.append("; ".join(group))
            group = None
        elif name not in ("PING", "REPLCONF"):
            text = f"{database}:{' '.join(words)}"
            if group is None:
                lines.append(text)
            else:
                group.append(text)
    return lines


def record(port):
    client = socket.create_connection(("127.0.0.1", port))
    for database, *words in BEFORE:
        ask(client, "SELECT", database)
        ask(client, *words)
    link = socket.create_connection(("127.0.0.1", port))
    link.settimeout(0.2)
    received = b""

    def receive(seconds):
        nonlocal received
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                received += link.recv(1 << 16)
            except socket.timeout:
                pass

    requests = [("PING",), ("REPLCONF", "listening-port", "0"),
                ("REPLCONF", "capa", "eof", "capa", "psync2"), ("PSYNC", "?", "-1")]
    for request in requests:
        link.sendall(encode(request))
        receive(0.3)
    # A stream behind a snapshot of unknown size begins with an acknowledgement after it.
    for _ in range(8):
        receive(1)
        link.sendall(encode(("REPLCONF", "ACK", "0")))
    for words in LIVE:
        ask(client, *words)
    receive(2)
    return received


def main():
    binary, directory = sys.argv[1:3]
    text = subprocess.run([binary, "--version"], capture_output=True, text=True).stdout
    version = re.search(r"v=([0-9.]+)", text).group(1)
    name = f"{os.path.basename(binary).split('-')[0]}-{version}"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as work:
        server = subprocess.Popen(
            [binary, "--port", str(port), "--save", "", "--repl-diskless-sync-delay", "0"],
            cwd=work, stdout=subprocess.DEVNULL)
        try:
            time.sleep(2)
            received = record(port)
        finally:
            server.terminate()
            server.wait()
    head = received.index(b"+FULLRESYNC")
    start = received.index(b"$", head)
    line = received.index(b"\r\n", start)
    if received[start:line].startswith(b"$EOF:"):
        mark = received[start + 5:line]
        end = received.index(mark, line) + len(mark)
    else:
        end = line + 2 + int(received[start + 1:line])
    lines = KEYS + ["stream"] + units(commands(received[end:]))
    with open(os.path.join(directory, name + ".sync"), "wb") as file:
        file.write(received)
    with open(os.path.join(directory, name + ".txt"), "w") as file:
        file.write("\n".join(lines) + "\n")
    print(name, len(received))


if __name__ == "__main__":
    main()
