"""The server's parts in one process, without clients."""

from ..result import Line, at_least, ratio_at_least


def parts(bench):
    commits = 20_000 if bench.quick else 100_000
    plain = {"path": bench.fresh("plain"), "seconds": bench.seconds}

    def part(what):
        directory = bench.fresh(what)
        directory.mkdir()
        try:
            return bench.measure(what, directory=directory, commits=commits)["rate"]
        finally:
            bench.forget(directory)

    seen = bench.turns({
        "capture": lambda: part("capture"),
        "off": lambda: bench.measure("sqlite", synchronous="off", **plain)["rate"],
        "apply": lambda: part("apply"),
    })
    yield Line("capture", "in-process capture and journal, one writer that does not wait", "commits/s", seen["capture"],
               "SQLite OFF, in-process", seen["off"], ratio_at_least(0.7),
               note="a checkpoint every 256 MiB of changed pages, as the server has it; SQLite has its own, every 1,000 pages")
    yield Line("apply", "applying one-row updates from the journal, in-process", "transactions/s", seen["apply"], goal=at_least(100_000))
