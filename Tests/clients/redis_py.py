"""redis-py PORT: both protocols, pipelines, transactions, messages, scans, blocking."""

import sys
import threading

import redis


def check(port, protocol):
    r = redis.Redis(port=port, protocol=protocol, decode_responses=True)
    p = f"py{protocol}:"
    assert r.ping()
    assert r.set(p + "k", "v", ex=100) and r.get(p + "k") == "v"
    assert 0 < r.ttl(p + "k") <= 100
    assert r.hset(p + "h", mapping={"a": 1, "b": 2}) == 2
    assert r.hgetall(p + "h") == {"a": "1", "b": "2"}
    assert r.sadd(p + "s", "x", "y") == 2 and r.smembers(p + "s") == {"x", "y"}
    assert r.zadd(p + "z", {"m": 1.5, "n": 2}) == 2
    assert r.zscore(p + "z", "m") == 1.5
    pairs = r.zrange(p + "z", 0, -1, withscores=True)
    assert [tuple(pair) for pair in pairs] == [("m", 1.5), ("n", 2.0)]
    assert r.rpush(p + "l", 1, 2, 3) == 3 and r.lpop(p + "l") == "1"
    with r.pipeline(transaction=True) as pipeline:
        assert pipeline.incr(p + "n").incrby(p + "n", 5).execute() == [1, 6]
    assert sorted(r.scan_iter(p + "[hs]")) == [p + "h", p + "s"]
    assert "pika_version" in r.info("server")
    assert r.client_setname("smoke") and r.client_getname() == "smoke"

    listener = r.pubsub()
    listener.subscribe(p + "news")
    listener.psubscribe(p + "n*")
    while len(listener.channels) + len(listener.patterns) < 2 or listener.get_message(timeout=0.2):
        pass
    assert r.publish(p + "news", "hello") == 2
    kinds = {listener.get_message(timeout=5)["type"] for _ in range(2)}
    assert kinds == {"message", "pmessage"}, kinds
    listener.close()

    other = redis.Redis(port=port, protocol=protocol, decode_responses=True)
    timer = threading.Timer(0.2, lambda: other.rpush(p + "wait", "now"))
    timer.start()
    assert list(r.blpop(p + "wait", timeout=10)) == [p + "wait", "now"]
    timer.join()


for version in (2, 3):
    check(int(sys.argv[1]), version)
