"""Why a goal is missed, and what it would take, by the key of its line; the page shows it as long as the goal is missed."""

PIPELINED = (
    "both processors are busy: of some 56 µs for a commit, of which HTTP itself is not more than a few, the writer's thread takes 14. Half of these are "
    "SQLite's, most of that the write into the WAL and the reading of pages; a third goes into the record, from reading the WAL back to the "
    "deltas. The mirror takes 15, the sockets the rest. Batches of 50, the other way to this goal, reach it"
)

SEED = (
    "a MiB takes both servers together a millisecond of processor time: a third of it is hashing (what was read, the frame on either side, the "
    "page map), another third copying (out of the file, into the socket, out of it), and commits are sent to the mirror meanwhile. It would "
    "take frames that carry the page map's hashes, so that each side hashes once, and larger runs of records while nobody waits for the mirror"
)

STALLS = (
    "no call of ours takes as long: what is left, once in some runs, are syncs of the journal that the disk itself answers late, and the "
    "processor time of two checkpoints at once, the principal's and the mirror's, on two processors that they share with the clients"
)

WHY = {
    "latency-1": (
        "the medians of the rounds are nearly equal, and the ratio goes to either side of 1. Half of the time is the two syncs, which run at once, most of the "
        "rest is waking threads, there and back. A quarter of it goes away when threads are bound to processors, which "
        "costs many clients as much (see [Where the time goes](where-time-goes.md))"
    ),
    "commits-32": (
        "both processors are busy, with 56 µs for a commit, and the client's share: 22 are the thread of all sockets, half of that the system's and "
        "most of the rest HTTP and JSON, which `pgbench`'s protocol does without. It would take a record that is made without reading the WAL back, and "
        "answers written without types in between"
    ),
    "mirror-cost-32": (
        "beyond the 34 µs that a commit takes unmirrored, the principal takes 7 for sending and being answered, and the mirror 15, a half of that for "
        "applying. Both servers' syncs go to one disk. It would take a machine for each, which is how they are used"
    ),
    "pipelined": PIPELINED,
    "pipelined-stream": PIPELINED,
    "reads": (
        "a read takes 14.6 µs, all of it on the thread that has the sockets, and the empty handler 8: of the difference a fifth of the whole is SQLite's and an eighth "
        "JSON in and out. It would take pages that are verified once and not at each read beyond a connection's cache, answers written without types "
        "in between, and a second thread for sockets where there are processors for it"
    ),
    "stalls": STALLS,
    "stalls-pinned": STALLS,
    "seed": SEED,
    "seed-commits": SEED,
    "capture": (
        "10.8 µs for a commit and its capture, where SQLite alone takes 7 to 8.5: what the transaction changed is read back from the WAL, compared, hashed and "
        "encoded, and the journal's thread writes beside it. The rounds differ by a third with the machine. It would take a record made as SQLite writes"
    ),
}
