"""Runs the smoke tests of Tests/clients, each with the client library that is installed here."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile

import pikalib

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.join(os.path.dirname(os.path.dirname(HERE)), "Tests", "clients")
LIMIT_SECONDS = 120


def succeeds(*command):
    outcome = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return outcome.returncode == 0


def redis_cli(_):
    return ["bash", os.path.join(TESTS, "redis_cli.sh")] if shutil.which("redis-cli") else None


def hiredis(directory):
    compiler = shutil.which("cc") or shutil.which("clang")
    program = os.path.join(directory, "hiredis")
    source = os.path.join(TESTS, "hiredis.c")
    if not compiler or not succeeds(compiler, "-o", program, source, "-lhiredis"):
        return None
    return [program]


def redis_py(_):
    found = succeeds(sys.executable, "-c", "import redis")
    return [sys.executable, os.path.join(TESTS, "redis_py.py")] if found else None


def phpredis(_):
    found = shutil.which("php") and succeeds("php", "-r", "exit(class_exists('Redis') ? 0 : 1);")
    return ["php", os.path.join(TESTS, "phpredis.php")] if found else None


def node_redis(_):
    # Where Debian puts it.
    os.environ.setdefault("NODE_PATH", "/usr/share/nodejs")
    found = shutil.which("node") and succeeds("node", "-e", "require('redis')")
    return ["node", os.path.join(TESTS, "node_redis.mjs")] if found else None


CLIENTS = [redis_cli, hiredis, redis_py, phpredis, node_redis]


def main():
    parser = argparse.ArgumentParser(prog="tools/clients", description=__doc__)
    parser.add_argument("--pika", required=True, help="the server's binary")
    parser.add_argument("--all", action="store_true", help="what is not installed is a failure")
    arguments = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="clients-") as directory:
        server = pikalib.Server(
            "server", os.path.abspath(arguments.pika), os.path.join(directory, "data"),
            pikalib.free_base_port(), ("timeout : 0",)).start()
        try:
            for client in CLIENTS:
                command = client(directory)
                if command is None:
                    print(f"{client.__name__:12} not installed")
                    failed += arguments.all
                    continue
                try:
                    outcome = subprocess.run(
                        [*command, str(server.port)], timeout=LIMIT_SECONDS,
                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                    is_good, text = outcome.returncode == 0, outcome.stdout
                except subprocess.TimeoutExpired as expired:
                    is_good, text = False, expired.output or b"it did not end"
                print(f"{client.__name__:12} {'ok' if is_good else 'FAILED'}", flush=True)
                if not is_good:
                    failed += 1
                    print(text.decode("utf-8", "replace"))
        finally:
            server.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except pikalib.Failure as failure:
        print(f"tools/clients: {failure}", file=sys.stderr)
        sys.exit(2)
