"""The page of the manual, its charts, and the figures they are made from. Rendering needs the figures alone."""

import json
from statistics import median

from . import chart
from .chart import number
from .machine import ROOT
from .missed import WHY
from .result import Line

PAGE = ROOT / "docs" / "src" / "benchmarks.md"
FIGURES = ROOT / "docs" / "src" / "benchmarks"

# A machine that does nothing else has less than this before the run.
QUIET = 0.5

# And one that is not shared loses less than this share of its processor time to others.
STOLEN = 0.05


def save(figures):
    FIGURES.mkdir(exist_ok=True)
    (FIGURES / "figures.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")


def load():
    return json.loads((FIGURES / "figures.json").read_text())


def goal_text(line):
    if not line.goal:
        return "–"
    sign = {">=": "≥", "<=": "≤"}[line.goal.op]
    return f"{sign} {line.goal.limit:g} × {line.peer_name}" if line.goal.of == "ratio" else f"{sign} {number(line.goal.limit)} {line.unit}"


def verdict(line):
    if line.missing and not line.peer:
        return f"not measured: {line.missing}"
    return {True: "met", False: "**missed**", None: "–"}[line.is_met()]


def middle(values):
    return number(median(values)) if values else "–"


def spread(values):
    """From the least to the most, as far as there was more than one round."""
    return f"{number(min(values))} … {number(max(values))}" if len(values) > 1 else "–"


def row(line):
    ratios = line.ratios()
    peer = f"{middle(line.peer)} ({line.peer_name})" if line.peer else "–"
    spread_of = ratios or line.ours
    return f"| {line.what} | {goal_text(line)} | {middle(line.ours)} {line.unit} | {peer} | {middle(ratios)} | {spread(spread_of)} | {verdict(line)} |"


def charts(lines):
    """Name, title and the rows of each chart that can be drawn from what was measured."""
    by_key = {line.key: line for line in lines}

    def bar(key, label, side="ours"):
        values = getattr(by_key[key], side) if key in by_key else []
        return [(label, median(values), side == "ours")] if values else []

    for clients in (1, 32):
        rows = bar(f"commits-{clients}", "Counterpart, mirrored") + [
            (label, value, True) for label, value, _ in bar(f"mirror-cost-{clients}", "Counterpart, unmirrored", "peer")]
        rows += bar(f"commits-{clients}", "PostgreSQL, synchronous", "peer")
        rows += bar(f"pg-remote_apply-{clients}", "PostgreSQL, visible on the second", "peer") + bar(f"pg-local-{clients}", "PostgreSQL, alone", "peer")
        rows += bar("sqlite-1", "SQLite FULL, in-process", "peer") if clients == 1 else []
        yield f"commits-{clients}", f"Commits of {clients} client{'s' * (clients > 1)}", "per second", rows
    yield "reads", "Point reads of 32 clients", "per second", (
        bar("reads", "principal") + bar("reads-mirror", "mirror") + bar("reads-busy", "principal, while writes go on")
        + bar("reads-mirror-busy", "mirror, while writes go on") + bar("reads", "empty handler, same HTTP stack", "peer"))
    yield "bytes", "Sent to the mirror per commit", "bytes", (
        bar("bytes-update", "one-row update") + bar("bytes-append", "append") + bar("bytes-delete", "delete"))


def warning(machine):
    reasons = []
    if machine["load"] > QUIET:
        reasons.append(f"the machine had other work until shortly before the run (load {machine['load']:.1f})")
    if machine.get("stolen", 0) > STOLEN:
        reasons.append(f"this machine is a virtual one, whose host kept {machine['stolen']:.0%} of the processor time from it")
    if machine["commit"].endswith("-dirty"):
        reasons.append("the source had changes that are not committed")
    care = "Both sides of a row were disturbed alike, so ratios bear more than figures; take them again on a quiet machine"
    return f"> **Read these figures with care:** {' and '.join(reasons)}. {care}.\n\n" if reasons else ""


def noise(machine):
    load = f"load {machine['load']:.1f} before the run"
    if "stolen" not in machine:
        return f"{load}; what the host gave to other machines was not looked at"
    return f"{load}; {machine['stolen']:.1%} of the processor time was given to other machines by the host during it"


def listed(title, points):
    """A section with a list; nothing without points."""
    return "\n".join([f"## {title}", "", *points, "", ""]) if points else ""


def text(figures):
    """The whole page."""
    machine, lines = figures["machine"], [Line.from_json(line) for line in figures["lines"]]
    judged = [line.is_met() for line in lines if line.is_met() is not None]
    pictures = [f"![{title}, {unit}](benchmarks/{name}.svg)" for name, title, unit, rows in charts(lines) if rows]
    names = {"processor": "processor", "memory": "memory", "disk": "disk", "system": "system", "rustc": "compiler"}
    about = [f"| {label} | {machine[key]} |" for key, label in names.items()]
    versions = ", ".join([f"{machine['counterpart']} ({machine['commit']})", *figures["versions"].values(), machine["wrk"]])
    notes = [f"- {line.what}: {line.note}." for line in lines if line.note]
    missed = [f"- {line.what}: {WHY.get(line.key, 'nobody has looked into it yet')}." for line in lines if line.is_met() is False]
    failed = [f"- {name}: {' '.join(why.split())[:300]}" for name, why in figures["failed"].items()]
    end = "\n"
    return f"""# How fast it is

{warning(machine)}Written by `bench/run` on {figures['date']}; {sum(judged)} of {len(judged)} goals met. Only ratios taken in one run count: every side of a row
was measured by turns (A B A B …) on one machine, {figures['rounds']} rounds of {figures['seconds']:g} s each. A figure is the median of its rounds, a ratio
the median of the rounds' ratios, and the spread goes from the least to the most of them (of the ratios, where there is a peer).

The work, unless a row says otherwise: a table `acc(id integer primary key, bal int, filler text)` of 100,000 rows, one autocommit
`update acc set bal=bal+? where id=?` of a random row to a request, clients that ask again as soon as they are answered. Clients,
principal and mirror share the machine.

{end.join(pictures)}

## Every figure

| what | goal | Counterpart | peer | ratio | spread | |
|---|---|---|---|---|---|---|
{end.join(row(line) for line in lines)}

{end.join(notes)}

{listed('What is missed, and why', missed)}{listed('What could not be measured', failed)}## The machine

| | |
|---|---|
{end.join(about)}
| noise | {noise(machine)} |
| versions | {versions} |

## Taking them again

```sh norun: it takes an hour and wants a quiet machine
bench/run                       # every row; installs what it needs, and writes this page
bench/run --only seed           # one row, to the terminal alone
bench/run --render              # this page again, from its figures
```

The figures behind this page, round by round: [figures.json](benchmarks/figures.json). Commits and point reads are asked for by
`wrk` (one thread) and `pgbench -M prepared` (one thread, a Unix socket), everything else by `bench/client`. PostgreSQL is
configured as packaged, with `shared_buffers=256MB` and `max_wal_size=4GB`.
"""


def render(figures):
    """Writes the page and its charts; the page's path."""
    FIGURES.mkdir(exist_ok=True)
    for name, title, unit, rows in charts([Line.from_json(line) for line in figures["lines"]]):
        if rows:
            (FIGURES / f"{name}.svg").write_text(chart.bars(title, unit, rows))
    PAGE.write_text(text(figures))
    return PAGE
