"""Copies: seeding beside `cp`, catching up, verifying, backing up."""

import random
import subprocess
import threading
import time
from statistics import mean

from ..result import Line, at_least, at_most, ratio_at_least

CHUNK = "with recursive n(i) as (select 1 union all select i+1 from n where i<160) insert into big select randomblob(100000) from n"
CHUNKS_PER_GIB = 67
PAGES = 20_000


def grown(server, gib):
    """With a table of so many GiB that do not compress."""
    server.sql("create table big(x blob)")
    connection = server.connect()
    for _ in range(CHUNKS_PER_GIB * gib):
        server.sql(CHUNK, connection)
    return server


def timed(work):
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def cp(bench, server):
    """Seconds to copy its database's file, durably."""
    target = bench.fresh("cp")
    spent = timed(lambda: subprocess.run(f"cp --reflink=never '{server.data}/1.db' '{target}' && sync -d '{target}'", shell=True, check=True))
    target.unlink()
    return spent


def seed(bench):
    principal = grown(bench.filled(bench.server("principal", "--checkpoint-bytes", "64MiB")), 1)
    size = principal.size() / 1e6

    def seeded():
        mirror = bench.server("mirror")
        spent = timed(lambda: (principal.mirror_to(mirror, wait_for=False), principal.await_state()))
        bench.cli("mirror", "stop", "--yes", "--server", principal.url)
        mirror.remove()
        return spent

    kept = {"before": [], "during": []}

    def loaded():
        load = bench.begin("load", url=principal.url, work="update", clients=32, seconds=25, timeline=True)
        time.sleep(4)
        begun = time.time()
        spent = seeded()
        seen = bench.finish(load)
        slices, length = seen["slices"], seen["slice_seconds"]
        at = [int((moment - seen["begun"]) / length) for moment in (begun, begun + spent)]
        kept["before"].append(mean(slices[int(1 / length):at[0]]) / length)
        kept["during"].append(mean(slices[at[0]:at[1]]) / length)
        return spent

    seen = bench.turns({"cp": lambda: size / cp(bench, principal), "idle": lambda: size / seeded(), "loaded": lambda: size / loaded()}, warm_up=False)
    yield Line("seed", "live seed of 1 GiB, commits of 32 clients going on", "MB/s", seen["loaded"], "cp and sync", seen["cp"], at_least(400))
    yield Line("seed-commits", "commits that go on while it is seeded", "/s", kept["during"], "before the seed", kept["before"], ratio_at_least(0.7))
    yield Line("seed-idle", "seed of 1 GiB, nothing else going on", "MB/s", seen["idle"], "cp and sync", seen["cp"])


def miss(principal, events):
    """Single-row autocommit updates of random rows, one row to a page, thousands in a request."""
    chance, step = random.Random(1), 5_000

    def write(count):
        connection = principal.connect()
        for _ in range(count // step):
            ids = (chance.randrange(PAGES) + 1 for _ in range(step))
            principal.script("".join(f"update few set n=n+1 where id={id};" for id in ids), connection)

    writers = [threading.Thread(target=write, args=(events // 2,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()


def catch_up(bench, events=1_000_000):
    principal, mirror = bench.server("principal"), bench.server("mirror")
    principal.sql("create table few(id integer primary key, n integer, filler text)")
    # Text that shrinks to about a tenth, as text does that people write again and again.
    principal.sql(f"with recursive i(i) as (select 1 union all select i+1 from i where i<{PAGES}) insert into few select i, 0, replace(hex(zeroblob(5)),'00',hex(randomblob(300))) from i")
    principal.mirror_to(mirror)
    mirror.await_applied(principal)
    mirror.stop()
    miss(principal, events)
    begun = time.monotonic()
    mirror.start()
    principal.await_state()
    synchronized = time.monotonic() - begun
    mirror.await_applied(principal)
    served = time.monotonic() - begun
    sent = [copy for copy in principal.status()["copies"] if copy["sending"]]
    way = f"{sum(copy['pages'] for copy in sent):,} pages in {sum(copy['bytes'] for copy in sent) / 1e6:,.0f} MB were sent" if sent else "the journal was sent"
    yield Line("catchup", f"catch-up after {events:,} missed one-row events over {PAGES:,} pages, start to `SYNCHRONIZED`", "s", [synchronized], goal=at_most(3),
               note=f"{way}; all of it served after {served:.1f} s")


def files(bench):
    """Reading back, backing up and restoring 2 GiB."""
    server = grown(bench.server("alone"), 2)
    size = server.size() / 1e6
    seen = {"verify": [], "backup": [], "restore": [], "cp": []}
    for _ in range(min(bench.rounds, 3)):
        journal = server.status()["journal"]["bytes"] / 1e6
        file, restored = bench.fresh("backup"), bench.fresh("restored")
        seen["cp"].append(size / cp(bench, server))
        seen["verify"].append((size + journal) / timed(lambda: bench.cli("verify", "--deep", "--server", server.url)))
        seen["backup"].append(size / timed(lambda: bench.cli("backup", file, "--server", server.url)))
        seen["restore"].append(size / timed(lambda: bench.cli("restore", file, "--data", restored)))
        bench.forget(file)
        bench.forget(restored)
    yield Line("verify", "`verify --deep` of 2 GiB and its journal", "MB/s", seen["verify"])
    yield Line("backup", "`backup` of 2 GiB that does not compress", "MB/s", seen["backup"], "cp and sync", seen["cp"])
    yield Line("restore", "`restore` of the same", "MB/s", seen["restore"], "cp and sync", seen["cp"])
