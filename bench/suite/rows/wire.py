"""Bytes that one commit costs on the way to the mirror, as the kernel counts what the principal sent."""

from ..result import Line, at_most
from ..servers import ROWS

KINDS = {
    "update": ("one-row update", at_most(800)),
    "append": ("append", at_most(250)),
    "delete": ("delete", at_most(150)),
    "purge": ("delete of neighbours, one after the other", None),
}


def statement(kind, n):
    anywhere = n * 7919 % ROWS + 1
    return {
        "update": f"update acc set bal=bal+1 where id={anywhere}",
        "append": f"insert into acc values({2 * ROWS + n},0,hex(randomblob(42)))",
        "delete": f"delete from acc where id={anywhere}",
        "purge": f"delete from acc where id={2 * ROWS + n}",
    }[kind]


def bytes_per_commit(bench):
    principal, mirror = bench.pair()
    count = 200 if bench.quick else 2000
    connection = principal.connect()
    seen = {kind: [] for kind in KINDS}
    for turn in range(bench.rounds):
        for kind in KINDS:
            # After a mark the first change of a page is sent whole. A server that is busy has that behind it nearly always.
            principal.sql("update acc set bal=bal+1", connection)
            mirror.await_applied(principal)
            before = principal.sent_bytes()
            for n in range(count):
                principal.sql(statement(kind, turn * count + n), connection)
            mirror.await_applied(principal)
            seen[kind].append((principal.sent_bytes() - before) / count)
    for kind, (name, goal) in KINDS.items():
        note = "heartbeats and positions included; each page has changed since the newest mark"
        if kind == "purge":
            note += "; pages become empty and are merged with those beside them"
        yield Line(f"bytes-{kind}", f"sent to the mirror per commit: {name}, one at a time, {ROWS:,} rows", "bytes", seen[kind], goal=goal, note=note)
