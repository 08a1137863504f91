"""The bench of the bandwidth limit: full syncs through a relay that notes when bytes pass."""

import bisect
import selectors
import socket
import threading
import time

WINDOW, LONG_WINDOW = 0.1, 10.0
ERROR_LIMIT = 0.01  # of the bytes of any 10 s
BURST_LIMIT = 1.6  # of its share in any 100 ms
REACTION_LIMIT = 0.1  # seconds from CONFIG SET on


class Relay:
    """Stands between a replica and its master's two services; notes what the replica got.

    It holds little on the way: a buffer that grows, of its own or of its socket, would let bytes pass
    here that the replica has not taken yet.
    """

    PIECE = 64 << 10
    HELD = 64 << 10  # bytes held for a slow replica before the master is no longer read
    SOCKET_BUFFER = 64 << 10

    def __init__(self, port, target):
        self.times, self.sums = [], [0]
        self.lock = threading.Lock()
        self.selector = selectors.DefaultSelector()
        self.pairs = {}
        self.listeners = []
        self.is_stopping = False
        for offset in (2000, 10001):
            listener = socket.create_server(("127.0.0.1", port + offset))
            self.listeners.append(listener)
            self.selector.register(listener, selectors.EVENT_READ, target + offset)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.is_stopping:
            for key, events in self.selector.select(0.05):
                if key.fileobj in self.listeners:
                    self.accept(key.fileobj, key.data)
                elif key.fileobj in self.pairs:
                    self.forward(key.fileobj, events)

    def accept(self, listener, port):
        replica, _ = listener.accept()
        try:
            master = socket.create_connection(("127.0.0.1", port))
        except OSError:
            replica.close()
            return
        for end, other in ((master, replica), (replica, master)):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.SOCKET_BUFFER)
            end.setblocking(False)
            self.pairs[end] = {"other": other, "held": bytearray(), "counts": end is master}
            self.selector.register(end, selectors.EVENT_READ)

    def forward(self, end, events):
        try:
            if events & selectors.EVENT_READ:
                data = end.recv(self.PIECE)
                if not data:
                    return self.close(end)
                self.pairs[end]["held"] += data
            self.push(end)
            if events & selectors.EVENT_WRITE:
                self.push(self.pairs[end]["other"])
        except OSError:
            self.close(end)

    def push(self, end):
        """Passes on what was read from `end`."""
        pair = self.pairs[end]
        held, other = pair["held"], pair["other"]
        if held:
            try:
                count = other.send(held)
            except BlockingIOError:
                count = 0
            if count:
                del held[:count]
                if pair["counts"]:
                    with self.lock:
                        self.times.append(time.monotonic())
                        self.sums.append(self.sums[-1] + count)
        for each in (end, other):
            mine, theirs = self.pairs[each]["held"], self.pairs[self.pairs[each]["other"]]["held"]
            wanted = (selectors.EVENT_READ if len(mine) < self.HELD else 0) \
                | (selectors.EVENT_WRITE if theirs else 0)
            if wanted != self.selector.get_key(each).events:
                self.selector.modify(each, wanted or selectors.EVENT_WRITE)

    def close(self, end):
        for each in (end, self.pairs[end]["other"]):
            self.selector.unregister(each)
            del self.pairs[each]
            each.close()

    def stop(self):
        self.is_stopping = True
        self.thread.join()
        for end in [*self.listeners, *self.pairs]:
            end.close()
        self.selector.close()

    def total(self):
        with self.lock:
            return self.sums[-1]

    def notes(self):
        with self.lock:
            return Notes(list(self.times), list(self.sums))


class Notes:
    """What passed, and when."""

    def __init__(self, times, sums):
        self.times, self.sums = times, sums

    def before(self, moment):
        return self.sums[bisect.bisect_left(self.times, moment)]

    def between(self, start, end):
        return self.before(end) - self.before(start)

    def starts(self, start, end, window):
        """Where windows of this length may begin, to be the fullest or the emptiest."""
        first = bisect.bisect_left(self.times, start)
        for moment in self.times[first:]:
            if moment + window > end:
                return
            yield moment

    def fullest(self, start, end, window=WINDOW):
        return max((self.between(at, at + window)
                    for at in self.starts(start, end, window)), default=0)

    def error(self, rate, start, end):
        """The largest error of any 10 s, as a part of what there should be."""
        wanted = rate * LONG_WINDOW
        return max((abs(self.between(at, at + LONG_WINDOW) - wanted) / wanted
                    for at in self.starts(start, end, LONG_WINDOW)), default=1.0)

    def reaction(self, old, new, changed, end):
        """Seconds from the change to the moment from which on the new rate holds."""
        share = new * WINDOW
        if new > old:
            for at in self.starts(changed, end, WINDOW):
                if self.between(at, at + WINDOW) >= (old + new) / 2 * WINDOW:
                    return at - changed
            return end - changed
        late = [at for at in self.starts(changed, end, WINDOW)
                if self.between(at, at + WINDOW) > BURST_LIMIT * share]
        return late[-1] - changed if late else 0.0


class ThrottleBench:
    """One full sync with a limit, a change of it down and up, seen from outside."""

    def __init__(self, bench, master):
        self.bench, self.master = bench, master
        self.failed = False

    def verdict(self, value, limit):
        self.failed |= value > limit
        return "" if value <= limit else f" (ABOVE {limit:g})"

    def run(self, side, rate, seconds):
        bench = self.bench
        relay_port = bench.port()
        relay = Relay(relay_port, self.master.port)
        replica = bench.pika(f"throttle-{side}-{rate}")
        try:
            limited = self.master if side == "sent" else replica
            client = limited.client()
            client.call("CONFIG", "SET", "throttle-bytes-per-second", rate)
            replica.client().call("SLAVEOF", "127.0.0.1", relay_port)
            while relay.total() < rate // 10:
                time.sleep(0.01)
            # The first burst belongs to the measurement, the handshake does not.
            start = relay.notes().times[0] + 0.2
            time.sleep(seconds + 0.2)
            end = time.monotonic()
            reactions = []
            for old, new in ((rate, rate // 4), (rate // 4, rate)):
                client.call("CONFIG", "SET", "throttle-bytes-per-second", new)
                changed = time.monotonic()
                time.sleep(1.5)
                reactions.append((old, new, changed, time.monotonic()))
            notes = relay.notes()
            self.report(side, rate, notes, start, end, reactions)
            client.call("CONFIG", "SET", "throttle-bytes-per-second", 0)
        finally:
            replica.kill()
            relay.stop()

    def report(self, side, rate, notes, start, end, reactions):
        error = notes.error(rate, start, end)
        fullest = notes.fullest(start, end) / (rate * WINDOW)
        mean = notes.between(start, end) / (end - start)
        print(f"throttle {side:8} {rate / 1e6:5.0f} MB/s: mean {mean / 1e6:.3f} MB/s, "
              f"error of any {LONG_WINDOW:.0f} s at most {error * 100:.2f} %"
              f"{self.verdict(error, ERROR_LIMIT)}, fullest 100 ms {fullest:.2f} of its share"
              f"{self.verdict(fullest, BURST_LIMIT)}", flush=True)
        for old, new, changed, until in reactions:
            reaction = notes.reaction(old, new, changed, until)
            print(f"{'':18} CONFIG SET {old / 1e6:g} -> {new / 1e6:g} MB/s in effect after "
                  f"{reaction * 1000:.0f} ms{self.verdict(reaction, REACTION_LIMIT)}", flush=True)
