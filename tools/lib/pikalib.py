"""What the tools share: a small RESP client, and servers as child processes."""

import os
import signal
import socket
import subprocess
import time


class Failure(Exception):
    """Something did not happen; the text is for the person who runs the tool."""


class Client:
    """A RESP2 client with pipelining."""

    def __init__(self, port, host="127.0.0.1", timeout=60):
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", buffering=1 << 18)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    @staticmethod
    def encode(arguments):
        parts = [b"*%d\r\n" % len(arguments)]
        for argument in arguments:
            if isinstance(argument, str):
                argument = argument.encode()
            elif isinstance(argument, int):
                argument = b"%d" % argument
            parts.append(b"$%d\r\n%s\r\n" % (len(argument), argument))
        return b"".join(parts)

    def send(self, commands):
        self.socket.sendall(b"".join(self.encode(command) for command in commands))

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise Failure("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if kind == b"-":
            return RuntimeError(rest.decode())
        if kind == b"$":
            length = int(rest)
            return None if length < 0 else self.file.read(length + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.read() for _ in range(int(rest))]
        raise Failure(f"an unexpected reply: {line!r}")

    def pipeline(self, commands):
        self.send(commands)
        replies = [self.read() for _ in commands]
        for command, reply in zip(commands, replies):
            if isinstance(reply, RuntimeError):
                raise Failure(f"{command[0]} answered: {reply}")
        return replies

    def call(self, *arguments):
        return self.pipeline([arguments])[0]

    def info(self, section):
        """A section of INFO as a dictionary; values of the form a=1,b=2 as dictionaries."""
        fields = {}
        for line in self.call("INFO", section).decode().split("\r\n"):
            name, colon, value = line.partition(":")
            if not colon or line.startswith("#"):
                continue
            if "=" in value:
                value = dict(part.partition("=")[::2] for part in value.split(","))
            fields[name] = value
        return fields


def free_base_port(taken=(), first=21000):
    """A port, a little above `first`, whose companions +2000 and +10001 are free, too."""
    for port in range(first + os.getpid() % 3000, 55000, 17):
        if any(abs(port + a - other - b) == 0 for other in taken
               for a in (0, 2000, 10001) for b in (0, 2000, 10001)):
            continue
        sockets = []
        try:
            for offset in (0, 2000, 10001):
                probe = socket.socket()
                sockets.append(probe)
                probe.bind(("127.0.0.1", port + offset))
            return port
        except OSError:
            continue
        finally:
            for probe in sockets:
                probe.close()
    raise Failure("there are no free ports")


class Server:
    """A server process of ours in a directory of its own."""

    def __init__(self, name, binary, directory, port, settings=()):
        self.name, self.binary, self.directory, self.port = name, binary, directory, port
        self.process = None
        self.conf = os.path.join(directory, "pika.conf")
        self.log = os.path.join(directory, "stderr.log")
        os.makedirs(directory, exist_ok=True)
        with open(self.conf, "w") as file:
            for item in (f"port : {port}", "databases : 1", *settings):
                file.write(item + "\n")

    def start(self, seconds=20):
        with open(self.log, "ab") as log:
            offset = log.tell()
            self.process = subprocess.Popen(
                [self.binary, "-c", self.conf], cwd=self.directory, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=log)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with open(self.log, "rb") as log:
                log.seek(offset)
                if b"going to start" in log.read():
                    return self
            if self.process.poll() is not None:
                raise Failure(f"the {self.name} ended with code {self.process.returncode}")
            time.sleep(0.02)
        raise Failure(f"the {self.name} did not start within {seconds} s")

    def client(self, timeout=60):
        return Client(self.port, timeout=timeout)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds=5):
        """Ends the process; returns how long that took."""
        if self.process is None or self.process.poll() is not None:
            return 0.0
        started = time.monotonic()
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        return time.monotonic() - started

    def peak_memory(self):
        """The largest amount of memory in RAM so far, in bytes."""
        with open(f"/proc/{self.process.pid}/status") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return 0

    def log_tail(self, lines=15):
        try:
            with open(self.log, errors="replace") as file:
                return "".join(file.readlines()[-lines:])
        except OSError:
            return ""


def size(count):
    return f"{count / 1e6:.1f} MB"


def wait_for(what, condition, seconds, pause=0.05):
    """Waits until the condition gives something true, and returns it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(pause)
    raise Failure(f"{what} did not happen within {seconds} s")
