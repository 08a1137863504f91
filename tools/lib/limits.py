"""What is too much for a server: it must say so, or drop the connection, and live."""

import argparse
import os
import shutil
import socket
import sys
import tempfile
import time

from pikalib import Failure, Server, free_base_port, size

LONGEST = 512 << 20
MOST_ARGUMENTS = 1_048_576


def expect(what, found, wanted):
    """`wanted` is the reply, or the beginning of the text of an error."""
    if isinstance(wanted, RuntimeError):
        good = isinstance(found, RuntimeError) and str(found).startswith(str(wanted))
    else:
        good = found == wanted and not isinstance(found, RuntimeError)
    if not good:
        raise Failure(f"{what}: {str(found)[:120]!r} instead of {str(wanted)[:120]!r}")


def ask(client, *words):
    """One command; an error is a value."""
    client.send([words])
    return client.read()


def ask_to_be_closed(port, data):
    """Sends bytes until the server closes; returns what it said before."""
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        try:
            while piece := connection.recv(1 << 16):
                said += piece
        except ConnectionError:
            pass
    return said


def large_values(server):
    client = server.client(300)
    value = b"v" * LONGEST
    expect("SET of 512 MiB", ask(client, "SET", "k", value), "OK")
    expect("its length", ask(client, "STRLEN", "k"), LONGEST)
    expect("its end", ask(client, "GETRANGE", "k", -3, -1), b"vvv")
    too_long = RuntimeError("ERR string exceeds maximum allowed size")
    expect("APPEND beyond", ask(client, "APPEND", "k", "x"), too_long)
    expect("SETRANGE at the end", ask(client, "SETRANGE", "k", LONGEST - 1, "x"), LONGEST)
    expect("SETRANGE beyond", ask(client, "SETRANGE", "k", LONGEST, "x"), too_long)
    expect("SETBIT of the last bit", ask(client, "SETBIT", "bits", LONGEST * 8 - 1, 1), 0)
    expect("SETBIT beyond", ask(client, "SETBIT", "bits", LONGEST * 8, 1),
           RuntimeError("ERR bit offset is not an integer or out of range"))
    expect("BITCOUNT", ask(client, "BITCOUNT", "bits"), 1)
    expect("APPEND up to 512 MiB", ask(client, "APPEND", "a", value[:LONGEST // 2]), LONGEST // 2)
    expect("APPEND up to 512 MiB", ask(client, "APPEND", "a", value[:LONGEST // 2]), LONGEST)
    expect("GET", len(ask(client, "GET", "a")), LONGEST)
    expect("a transaction beyond atomic-group-limit", transaction(client, value[:LONGEST // 2]),
           RuntimeError("ERR too much to be written at once"))
    del value
    said = ask_to_be_closed(server.port, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % (LONGEST + 1))
    if b"invalid bulk length" not in said:
        raise Failure(f"512 MiB and a byte: {said!r}")
    expect("DEL", ask(client, "DEL", "k", "bits", "a"), 3)
    client.close()


def transaction(client, value):
    """Writes 5 times 256 MiB together, by APPENDs whose requests are short."""
    expect("SET", ask(client, "SET", "source", value), "OK")
    expect("MULTI", ask(client, "MULTI"), "OK")
    for number in range(5):
        expect("COPY", ask(client, "COPY", "source", f"copy:{number}"), "QUEUED")
    reply = ask(client, "EXEC")
    expect("what was not written", ask(client, "EXISTS", "copy:0", "copy:4"), 0)
    expect("DEL", ask(client, "DEL", "source"), 1)
    return reply


def many_arguments(server):
    client = server.client(300)
    names = [b"key:%07d" % number for number in range(MOST_ARGUMENTS - 2)]
    count = len(names)
    pairs = [word for name in names[:count // 2] for word in (name, b"v")]
    expect("MSET", ask(client, "MSET", *pairs), "OK")
    expect("RPUSH", ask(client, "RPUSH", "list", *names), count)
    expect("SADD", ask(client, "SADD", "set", *names), count)
    scored = [word for number, name in enumerate(names[:count // 2]) for word in (number, name)]
    expect("ZADD", ask(client, "ZADD", "zset", *scored), count // 2)
    expect("HSET", ask(client, "HSET", "hash", *pairs), count // 2)
    expect("EXISTS", ask(client, "EXISTS", *names), count // 2)
    expect("MGET", len(ask(client, "MGET", *names)), count)
    expect("DEL", ask(client, "DEL", "list", "set", "zset", "hash"), 4)
    expect("DEL", ask(client, "DEL", *names), count // 2)
    said = ask_to_be_closed(server.port, b"*%d\r\n" % (MOST_ARGUMENTS + 1))
    if b"invalid multibulk length" not in said:
        raise Failure(f"an argument too many: {said!r}")
    client.close()


def floods(server):
    client = server.client()
    expect("a limit", ask(client, "CONFIG", "SET", "maxclients", 500), "OK")
    limit = 500 + int(ask(client, "CONFIG", "GET", "root-connection-num")[1])
    connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(1500)]
    refused = 0
    for connection in connections:
        try:
            connection.sendall(b"PING\r\n")
            refused += not connection.recv(100).startswith(b"+PONG")
        except ConnectionError:
            refused += 1
    if len(connections) - refused != limit - 1:
        raise Failure(f"{len(connections) - refused} clients were served besides one, not {limit - 1}")
    # Half a request each: 1 MiB of a value that never comes to its end.
    for connection in connections:
        try:
            connection.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2000000\r\n" + b"x" * (1 << 16))
        except OSError:
            pass
    expect("PING beside half requests", ask(client, "PING"), "PONG")
    for connection in connections:
        connection.close()
    never_reads(server, client)
    expect("a limit", ask(client, "CONFIG", "SET", "maxclients", 20000), "OK")
    client.close()


def never_reads(server, client):
    """Some clients ask for a gigabyte each and take nothing of it."""
    expect("SET", ask(client, "SET", "k", b"v" * 100_000), "OK")
    greedy = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(4)]
    for connection in greedy:
        connection.settimeout(2)
        try:
            connection.sendall(b"GET k\r\n" * 10_000)
        except OSError:
            pass
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        expect("PING beside clients that take nothing", ask(client, "PING"), "PONG")
        time.sleep(0.05)
    for connection in greedy:
        connection.close()


def main():
    parser = argparse.ArgumentParser(prog="tools/limits", description=__doc__)
    parser.add_argument("--pika", required=True, help="the server's binary")
    parser.add_argument("--only", default="", help="parts whose name contains this")
    parser.add_argument("--directory", help="where the data go; default: the system's")
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="pika-limits-", dir=options.directory)
    parts = [("large values", large_values), ("many arguments", many_arguments),
             ("floods", floods)]
    settings = ["timeout : 0", "max-conn-rbuf-size : 1G"]
    server = None
    try:
        for number, (name, part) in enumerate(parts):
            if options.only not in name:
                continue
            server = Server(name, os.path.abspath(options.pika),
                            os.path.join(directory, str(number)), free_base_port(), settings)
            server.start()
            began = time.monotonic()
            part(server)
            with server.client() as client:
                expect("SET before the kill", ask(client, "SET", "last", "v"), "OK")
            peak = server.peak_memory()
            server.kill()
            server.start(120)
            with server.client() as client:
                expect("GET after the kill", ask(client, "GET", "last"), b"v")
            server.stop(20)
            print(f"{name:16} as it should be: {time.monotonic() - began:.1f} s, at most "
                  f"{size(peak)}", flush=True)
    except Failure as failure:
        print(f"tools/limits: {server.name if server else ''}: {failure}", file=sys.stderr)
        if server:
            print(server.log_tail(), file=sys.stderr)
        return 1
    finally:
        if server:
            server.stop(5)
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
