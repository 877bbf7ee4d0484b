"""Reads over HTTP: points beside an empty handler on the same stack, and ranges through cursors, also while writes go on."""

import json

from ..result import Line, ratio_at_least
from ..servers import wait

EMPTY = "empty handler, same HTTP stack"


def empty(bench):
    """An empty handler's address."""
    ready = bench.fresh("empty")
    process = bench.spawn(bench.client, "empty", "--ready-file", ready)
    wait(lambda: ready.exists() and ready.read_text().endswith("\n"), "the empty handler", process=process)
    return json.loads(ready.read_text())["client_url"]


def points(bench):
    principal, mirror = bench.pair()
    nothing = empty(bench)
    mirror.await_applied(principal)

    def read(url):
        return bench.wrk(url, "read", 32)[0]

    seen = bench.turns({
        "empty": lambda: read(nothing),
        "principal": lambda: read(principal.url),
        "mirror": lambda: read(mirror.url),
    })
    yield Line("reads", "point reads over HTTP, 32 clients, on the principal", "/s", seen["principal"], EMPTY, seen["empty"], ratio_at_least(0.9))
    yield Line("reads-mirror", "the same on the mirror", "/s", seen["mirror"], EMPTY, seen["empty"])
    if bench.quick:
        return
    writes = bench.half_rate(principal)
    with bench.writing(principal, writes):
        busy = bench.turns({"principal": lambda: read(principal.url), "mirror": lambda: read(mirror.url)})
    note = f"{writes:,.0f} commits/s meanwhile, half of what the pair can do"
    yield Line("reads-busy", "the same on the principal while writes go on", "/s", busy["principal"], "without writes", seen["principal"], note=note)
    yield Line("reads-mirror-busy", "the same on the mirror while writes go on", "/s", busy["mirror"], "without writes", seen["mirror"], note=note)


def scans(bench):
    principal, mirror = bench.pair()
    mirror.await_applied(principal)
    plain = {"path": bench.fresh("plain"), "seconds": bench.seconds, "work": "scan"}

    def scan(url):
        return bench.measure("load", url=url, work="scan", clients=2, seconds=bench.seconds)["rate"]

    sides = {"principal": lambda: scan(principal.url), "mirror": lambda: scan(mirror.url)}
    seen = bench.turns({"sqlite": lambda: bench.measure("sqlite", **plain)["rate"], **sides})
    what = "ranges of 10,000 rows through cursors, 2 clients, on the"
    for side in sides:
        yield Line(f"scans-{side}", f"{what} {side}", "rows/s", seen[side], "SQLite, in-process, 1 thread", seen["sqlite"])
    with bench.writing(principal, bench.half_rate(principal)):
        busy = bench.turns(sides)
    for side in sides:
        yield Line(f"scans-{side}-busy", f"the same on the {side} while writes go on at half load", "rows/s", busy[side], "without writes", seen[side])
