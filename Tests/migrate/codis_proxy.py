#!/usr/bin/env python3
"""A stand-in for a Codis proxy, in front of one server: it refuses what such a proxy refuses.

    codis_proxy.py PORT BACKEND-PORT

Keys lie in 1,024 slots by CRC32 of the name or of what stands in its first braces. DEL, MSET, MGET and
EXISTS are split by the proxy, as a Codis does; any other command whose keys lie in several slots would
go to the group of its first key, and is an error here so that nobody misses it. SLOTSSCAN lists the
names of one slot. Every refused request is printed, so that a test can look for them.
"""
import socket
import socketserver
import sys
import zlib

SLOTS = 1024
REFUSED = set(
    "keys migrate move object randomkey rename renamenx scan bitop msetnx blpop brpop brpoplpush"
    " psubscribe publish punsubscribe subscribe unsubscribe discard exec multi unwatch watch script"
    " bgrewriteaof bgsave client config dbsize debug flushall flushdb lastsave monitor save"
    " shutdown slaveof slowlog sync time psync replconf wait role swapdb".split())
SPLIT = {"del": 1, "exists": 1, "mget": 1, "mset": 2}
# Where the keys of commands with several of them stand: first, last, step.
MANY = {
    "rpoplpush": (1, 2, 1), "smove": (1, 2, 1), "sdiff": (1, -1, 1), "sdiffstore": (1, -1, 1),
    "sinter": (1, -1, 1), "sinterstore": (1, -1, 1), "sunion": (1, -1, 1),
    "sunionstore": (1, -1, 1), "pfmerge": (1, -1, 1), "pfcount": (1, -1, 1), "unlink": (1, -1, 1),
    "lmove": (1, 2, 1), "copy": (1, 2, 1),
}


def slot(key):
    start = key.find(b"{")
    end = key.find(b"}", start + 1)
    if start >= 0 and end > start + 1:
        key = key[start + 1:end]
    return zlib.crc32(key) % SLOTS


class Backend:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rb", 1 << 16)

    def raw(self, words):
        self.socket.sendall(encode(words))
        return read_raw(self.file)


def encode(words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def read_raw(file):
    """One reply, as bytes."""
    line = file.readline()
    if not line:
        raise EOFError
    size = int(line[1:]) if line[:1] in b"$*" else -1
    if line[:1] == b"$" and size >= 0:
        return line + file.read(size + 2)
    if line[:1] == b"*":
        return line + b"".join(read_raw(file) for _ in range(size))
    return line


def read_request(file):
    line = file.readline()
    if not line:
        return None
    words = []
    for _ in range(int(line[1:])):
        size = int(file.readline()[1:])
        words.append(file.read(size + 2)[:-2])
    return words


def places(name, words):
    if name in ("zunionstore", "zinterstore", "zdiffstore") and len(words) > 2:
        count = int(words[2])
        return [1] + list(range(3, 3 + count))
    first, last, step = MANY[name]
    return range(first, (len(words) + last if last < 0 else last) + 1, step)


def refusal(text):
    print("refused", text, flush=True)
    return b"-ERR handle request, %s\r\n" % text.encode()


class Session(socketserver.StreamRequestHandler):
    def handle(self):
        self.backend = Backend(self.server.backend_port)
        try:
            while True:
                words = read_request(self.rfile)
                if words is None:
                    return
                self.wfile.write(self.answer(words))
        except (OSError, EOFError, ValueError):
            return

    def answer(self, words):
        name = words[0].decode("latin-1").lower()
        if name in REFUSED:
            return refusal(f"command '{name.upper()}' is not allowed")
        if name == "select":
            return b"+OK\r\n" if words[1:] == [b"0"] else refusal("invalid DB index")
        if name == "info":
            if len(words) != 2:
                return b"-ERR wrong number of arguments for 'INFO' command\r\n"
            return refusal("backend server of that name not found")
        if name == "slotsscan":
            return self.slots_scan(int(words[1]))
        if name in MANY and len(words) > 2 or name in ("zunionstore", "zinterstore"):
            try:
                found = {slot(words[at]) for at in places(name, words)}
            except (IndexError, KeyError, ValueError):
                found = set()
            if len(found) > 1:
                return refusal(f"keys of {name.upper()} in {len(found)} slots")
        return self.backend.raw(words)

    def slots_scan(self, number):
        """All names of a slot at once: the cursor is always at its end."""
        self.backend.socket.sendall(encode([b"KEYS", b"*"]))
        line = self.backend.file.readline()
        names = []
        for _ in range(int(line[1:])):
            size = int(self.backend.file.readline()[1:])
            names.append(self.backend.file.read(size + 2)[:-2])
        names = [name for name in names if slot(name) == number]
        return b"*2\r\n$1\r\n0\r\n" + encode(names)


class Proxy(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main():
    with Proxy(("127.0.0.1", int(sys.argv[1])), Session) as server:
        server.backend_port = int(sys.argv[2])
        server.serve_forever()


if __name__ == "__main__":
    main()
