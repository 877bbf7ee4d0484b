"""What a smoke run refuses: ratios so gross that no machine and no build without optimization explains them.

Each is several times away from what an unoptimized build measures on a machine with other work. They are of our own
programs in one run; PostgreSQL has no part in them.
"""

from statistics import median

# Bytes of a commit. A third of it is what a slow build sends, heartbeats included; a page that is sent whole takes twice as much.
WHOLE = 900

# Key of a line, what is looked at, and the bound.
BOUNDS = (
    ("mirror-cost-32", "ratio", ">=", 0.2),
    ("sqlite-1", "ratio", ">=", 0.01),
    ("bytes-update", "ours", "<=", WHOLE),
    ("bytes-append", "ours", "<=", WHOLE),
    ("bytes-delete", "ours", "<=", WHOLE),
)


def broken(lines):
    """A sentence for each bound that does not hold; also for one whose figure is not there, or it would guard nothing."""
    by_key, found = {line.key: line for line in lines}, []
    for key, of, op, bound in BOUNDS:
        line = by_key.get(key)
        values = line and (line.ratios() if of == "ratio" else line.ours)
        if not values:
            found.append(f"{key} was not measured")
            continue
        value = median(values)
        if value < bound if op == ">=" else value > bound:
            beside = f" × {line.peer_name}" if of == "ratio" else f" {line.unit}"
            found.append(f"{line.what}: {value:.3g}{beside}, and {bound:g} is the bound")
    return found
