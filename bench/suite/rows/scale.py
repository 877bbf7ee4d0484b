"""Many of something: databases, clients that are idle, large values, one large transaction."""

import json

from ..result import Line, at_most
from ..servers import Failed

DATABASES = 1000
CLIENTS = 10_000


def memory(bench):
    seen = []
    for _ in range(bench.rounds):
        server = bench.server("idle")
        seen.append(server.memory_mib())
        server.remove()
    yield Line("memory", "memory of an idle server with one database", "MiB RSS", seen, goal=at_most(30))


def databases(bench, count=DATABASES):
    server = bench.server("many")
    connection = server.connect()
    for n in range(1, count + 1):
        connection.request("POST", "/api/v1/databases", json.dumps({"name": f"d{n}"}), {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status >= 300:
            raise Failed(f"database d{n} was not created: {text}")
        server.sql("create table acc(id integer primary key, bal int, filler text)", connection, f"d{n}")
        server.sql("with recursive n(i) as (select 1 union all select i+1 from n where i<100) insert into acc select i,0,hex(randomblob(42)) from n", connection, f"d{n}")
    server.stop()
    server.start()
    connection = server.connect()
    for n in range(1, count + 1):
        server.sql("select count(*) from acc", connection, f"d{n}")
    yield Line("databases-memory", f"memory after {count:,} databases were opened in turn", "MiB RSS", [server.memory_mib()], goal=at_most(150))

    def load(**where):
        return bench.measure("load", url=server.url, work="update", clients=32, seconds=bench.seconds, rows=100, **where)["rate"]

    seen = bench.turns({"many": lambda: load(databases=count), "one": lambda: load(databases=1)})
    yield Line("databases-commits", f"commits over {count:,} databases, 32 clients, unmirrored", "/s", seen["many"], "all in one database", seen["one"])


def idle(bench):
    principal, _ = bench.pair()
    seen = {"without": [], "with": []}
    memory = []
    for _ in range(bench.rounds):
        seen["without"].append(bench.wrk(principal.url, "update", 32)[0])
        before = principal.memory_mib()
        clients = bench.begin("idle", url=principal.url, count=CLIENTS)
        line = clients.stdout.readline()
        if not line:
            raise Failed(f"{CLIENTS} idle clients ended with {clients.wait()}")
        memory.append(principal.memory_mib() - before)
        seen["with"].append(bench.wrk(principal.url, "update", 32)[0])
        held = bench.finish(clients)
        assert held == {"held": CLIENTS}, held
    yield Line("idle", f"mirrored commits, 32 clients, beside {CLIENTS:,} idle WebSockets", "/s", seen["with"], "without them", seen["without"],
               note=f"which take {memory[0]:,.0f} MiB of the server's memory, {memory[0] * 1024 / CLIENTS:,.0f} KiB each")


def blobs(bench):
    principal, _ = bench.pair()
    principal.sql("create table blobs(id integer primary key, content blob)")
    for kib in (64, 1024):
        size = {"work": "blob", "bytes": kib << 10, "seconds": bench.seconds}
        path = bench.fresh("plain")
        seen = bench.turns({
            "ours": lambda: bench.measure("load", url=principal.url, clients=8, **size)["rate"] * kib / 1024,
            "sqlite": lambda: bench.measure("sqlite", path=path, **size)["rate"] * kib / 1024,
        })
        yield Line(f"blobs-{kib}", f"rows with a blob of {kib} KiB that does not compress, 8 clients over HTTP, mirrored", "MiB/s", seen["ours"],
                   "SQLite FULL, in-process", seen["sqlite"])


def bulk(bench, gib=2):
    principal, mirror = bench.pair()
    principal.sql("create table big(x blob)")
    before = {}
    for server in (principal, mirror):
        server.forget_peak()
        before[server] = server.memory_mib()
    principal.sql(f"with recursive n(i) as (select 1 union all select i+1 from n where i<{gib * 1074}) insert into big select randomblob(1000000) from n")
    mirror.await_applied(principal)
    for server, name in ((principal, "principal"), (mirror, "mirror")):
        yield Line(f"bulk-{name}", f"one transaction of {gib} GiB: the {name}'s memory grows by", "MiB RSS", [server.memory_mib("VmHWM") - before[server]], goal=at_most(100))
