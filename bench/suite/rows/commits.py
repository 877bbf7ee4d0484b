"""Commits per second: mirrored, beside PostgreSQL with a synchronous second server, unmirrored, and plain SQLite."""

from ..machine import Missing
from ..postgres import Postgres
from ..result import Line, at_least, ratio_at_least, ratio_at_most
from ..servers import Failed

PG = "PostgreSQL, synchronous"
RULES = {"remote_apply": "PostgreSQL, visible on the second", "local": "PostgreSQL, alone"}


def commits(bench):
    principal, _ = bench.pair()
    alone = bench.filled(bench.server("alone"))
    postgres, missing = None, ""
    try:
        if bench.quick:
            raise Missing("not in a smoke run")
        postgres = Postgres(bench)
    except Missing as reason:
        missing = str(reason)
    except Failed as reason:
        # Ours can be measured all the same; that its peer is there and does not start is a failure of this run.
        bench.failed["PostgreSQL"] = str(reason)
        missing = "it did not start"
    plain = {"path": bench.fresh("plain"), "seconds": bench.seconds}
    for clients in (1, 32) if bench.quick else (1, 8, 32):
        sides = {
            "mirrored": lambda: bench.wrk(principal.url, "update", clients),
            "alone": lambda: bench.wrk(alone.url, "update", clients),
        }
        if postgres:
            sides["pg"] = lambda: postgres.commits(clients)
        if postgres and clients == 32:
            for rule in RULES:
                sides[rule] = lambda rule=rule: postgres.commits(32, rule)
        if clients == 1:
            sides["sqlite"] = lambda: (bench.measure("sqlite", **plain)["rate"], 0)
        # One round is too few for what a smoke run is judged by.
        seen = bench.turns(sides, rounds=max(3, bench.rounds))
        yield from lines(clients, seen, missing)
    if postgres:
        bench.versions["PostgreSQL"] = postgres.version
    if bench.quick:
        return
    for key, peer, limit in (("rqlite", "rqlite", 4), ("libsql", "libSQL server", 30)):
        yield Line(f"{key}-32", "the same, beside others over HTTP", "/s", [values[0] for values in seen["mirrored"]], peer, [],
                   ratio_at_least(limit), missing=f"{peer} is no package of apt, npm or crates")


def lines(clients, seen, missing):
    def column(side, nth=0):
        return [values[nth] for values in seen.get(side, [])]

    who = "1 client" if clients == 1 else f"{clients} clients"
    mirrored = column("mirrored")
    yield Line(f"commits-{clients}", f"synchronously mirrored commits over HTTP, {who}", "/s", mirrored,
               PG, column("pg"), ratio_at_least(1.25) if clients == 32 else None, missing=missing)
    if clients == 1:
        yield Line("latency-1", "the same, median latency", "ms", column("mirrored", 1), PG, column("pg", 1), ratio_at_most(1.0),
                   note="PostgreSQL is asked over a Unix socket, we over HTTP and TCP", missing=missing)
        yield Line("sqlite-1", "the same, beside plain SQLite with `synchronous=FULL`", "/s", mirrored,
                   "SQLite FULL, in-process", column("sqlite"), note="without a server, a network or a second copy")
    yield Line(f"mirror-cost-{clients}", f"cost of the mirror: mirrored ÷ unmirrored, {who}", "/s", mirrored,
               "our server, unmirrored", column("alone"), ratio_at_least(0.75) if clients == 32 else None)
    for rule, name in RULES.items():
        if rule in seen:
            yield Line(f"pg-{rule}-{clients}", f"synchronously mirrored commits over HTTP, {who}", "/s", mirrored, name, column(rule))


def pipelined(bench):
    """Many statements under way at once, from one client or a few."""
    principal, _ = bench.pair()
    plain = {"path": bench.fresh("plain"), "seconds": bench.seconds}
    goal = at_least(60_000)

    def batch(work, url):
        return bench.measure("load", url=url, work=work, clients=8, seconds=bench.seconds)["rate"]

    seen = bench.turns({
        "socket": lambda: bench.measure("pipelined", url=principal.url, window=64, seconds=bench.seconds)["rate"],
        "stream": lambda: bench.measure("pipelined", url=principal.url, window=64, streams=1, seconds=bench.seconds)["rate"],
        "batch": lambda: batch("batch", principal.url),
        "batch-sqlite": lambda: bench.measure("sqlite", work="batch", **plain)["rate"],
        "autocommit": lambda: batch("batch-autocommit", principal.url),
        "autocommit-sqlite": lambda: bench.measure("sqlite", work="batch-autocommit", **plain)["rate"],
    })
    yield Line("pipelined", "updates over one WebSocket, 64 under way, each its own commit, mirrored", "statements/s", seen["socket"], goal=goal)
    yield Line("pipelined-stream", "the same, all on one stream", "statements/s", seen["stream"], goal=goal)
    yield Line("batch", "batches of 50 updates in one transaction, 8 clients over HTTP, mirrored", "statements/s", seen["batch"],
               "SQLite FULL, in-process", seen["batch-sqlite"], goal)
    yield Line("batch-autocommit", "batches of 50 updates that each commit, 8 clients over HTTP, mirrored", "statements/s", seen["autocommit"],
               "SQLite FULL, in-process", seen["autocommit-sqlite"])
