"""Bytes that one commit costs on the way to the mirror, as the kernel counts what the principal sent."""

from ..result import Line, at_most
from ..servers import ROWS

LIMITS = {"one-row update": 800, "append": 250, "delete": 150}


def statement(kind, n):
    if kind == "one-row update":
        return f"update acc set bal=bal+1 where id={n * 7919 % ROWS + 1}"
    if kind == "append":
        return f"insert into acc values({2 * ROWS + n},0,hex(randomblob(42)))"
    return f"delete from acc where id={2 * ROWS + n}"


def bytes_per_commit(bench):
    principal, mirror = bench.pair()
    count = 200 if bench.quick else 2000
    connection = principal.connect()
    # After a mark the first change of a page is sent whole. A server that is busy has that behind it nearly always.
    principal.sql("update acc set bal=bal+1", connection)
    seen = {kind: [] for kind in LIMITS}
    for turn in range(bench.rounds):
        for kind in LIMITS:
            mirror.await_applied(principal)
            before = principal.sent_bytes()
            for n in range(count):
                principal.sql(statement(kind, turn * count + n), connection)
            mirror.await_applied(principal)
            seen[kind].append((principal.sent_bytes() - before) / count)
    for kind, limit in LIMITS.items():
        yield Line(f"bytes-{kind.split()[-1]}", f"sent to the mirror per commit: {kind}, one at a time, {ROWS:,} rows", "bytes", seen[kind],
                   goal=at_most(limit), note="heartbeats and positions included; each page has changed since the newest mark")
