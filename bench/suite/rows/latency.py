"""Latencies at half load: until a commit is visible on the mirror, and the worst of commits while checkpoints run."""

import json

from ..result import Line, at_most


def visible(bench):
    principal, mirror = bench.pair()
    rate = bench.half_rate(principal)
    p50, p99 = [], []
    with bench.writing(principal, rate):
        for _ in range(bench.rounds):
            seen = bench.measure("visible", principal=principal.url, mirror=mirror.url, seconds=bench.seconds)
            p50.append(seen["ms"]["p50"])
            p99.append(seen["ms"]["p99"])
    note = f"at {rate:,.0f} commits/s; the time of the read that sees it is included"
    yield Line("visible-p50", "commit confirmed → visible on the mirror, at half load, p50", "ms", p50, goal=at_most(2), note=note)
    yield Line("visible-p99", "the same, p99", "ms", p99, goal=at_most(20), note=note)


def pin(server):
    """A reader that keeps its snapshot; what ends it."""
    connection = server.connect()

    def send(baton, *requests):
        connection.request("POST", "/v2/pipeline", json.dumps({"baton": baton, "requests": list(requests)}), {"content-type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        assert all(result["type"] == "ok" for result in answer["results"]), answer
        return answer["baton"]

    baton = send(None, *({"type": "execute", "stmt": {"sql": sql}} for sql in ("begin", "select count(*) from acc")))
    return lambda: send(baton, {"type": "close"})


def stalls(bench):
    principal, _ = bench.pair("--stream-idle", "10m", "--checkpoint-bytes", "16MiB")
    rate = bench.half_rate(principal)
    seconds = max(60, bench.seconds)

    def load():
        return bench.measure("load", url=principal.url, work="update", clients=32, rate=rate, seconds=seconds)["ms"]["p999"]

    free = [load()]
    unpin = pin(principal)
    pinned = [load()]
    unpin()
    note = f"open loop at {rate:,.0f}/s for a minute, a checkpoint every 64 MiB of changed pages"
    yield Line("stalls", "latency of a mirrored commit at half load with checkpoints, p99.9", "ms", free, goal=at_most(10), note=note)
    yield Line("stalls-pinned", "the same while one reader holds a snapshot for that minute", "ms", pinned, goal=at_most(10), note=note)
