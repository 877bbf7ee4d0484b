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


def besides(bench, principal, mirror, rate, sides):
    """Each of the sides once more, while writes go on at that rate."""
    def beside(side):
        with bench.writing(principal, rate):
            seen = side()
        mirror.await_applied(principal)  # Whoever comes next is alone.
        return seen

    return {f"{name}-busy": lambda side=side: beside(side) for name, side in sides.items()}


def points(bench):
    principal, mirror = bench.pair()
    nothing = empty(bench)
    mirror.await_applied(principal)

    def read(url):
        return bench.wrk(url, "read", 32)[0]

    sides = {"principal": lambda: read(principal.url), "mirror": lambda: read(mirror.url)}
    writes = None if bench.quick else bench.half_rate(principal)
    busy = {} if bench.quick else besides(bench, principal, mirror, writes, sides)
    seen = bench.turns({"empty": lambda: read(nothing), **sides, **busy})
    yield Line("reads", "point reads over HTTP, 32 clients, on the principal", "/s", seen["principal"], EMPTY, seen["empty"], ratio_at_least(0.9))
    yield Line("reads-mirror", "the same on the mirror", "/s", seen["mirror"], EMPTY, seen["empty"])
    if bench.quick:
        return
    note = f"{writes:,.0f} commits/s meanwhile, half of what the pair can do"
    yield Line("reads-busy", "the same on the principal while writes go on", "/s", seen["principal-busy"], "without writes", seen["principal"], note=note)
    yield Line("reads-mirror-busy", "the same on the mirror while writes go on", "/s", seen["mirror-busy"], "without writes", seen["mirror"], note=note)


def scans(bench):
    principal, mirror = bench.pair()
    mirror.await_applied(principal)
    plain = {"path": bench.fresh("plain"), "seconds": bench.seconds, "work": "scan"}

    def scan(url):
        return bench.measure("load", url=url, work="scan", clients=2, seconds=bench.seconds)["rate"]

    sides = {"principal": lambda: scan(principal.url), "mirror": lambda: scan(mirror.url)}
    busy = besides(bench, principal, mirror, bench.half_rate(principal), sides)
    seen = bench.turns({"sqlite": lambda: bench.measure("sqlite", **plain)["rate"], **sides, **busy})
    what = "ranges of 10,000 rows through cursors, 2 clients, on the"
    for side in sides:
        yield Line(f"scans-{side}", f"{what} {side}", "rows/s", seen[side], "SQLite, in-process, 1 thread", seen["sqlite"])
    for side in sides:
        yield Line(f"scans-{side}-busy", f"the same on the {side} while writes go on at half load", "rows/s", seen[f"{side}-busy"], "without writes", seen[side])
