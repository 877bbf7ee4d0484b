"""Why a goal is missed, and what it would take, by the key of its line; the page shows it as long as the goal is missed."""

WRITER = (
    "the thread that executes is the bound: of its time half is SQLite's, most of that the write into the WAL and the reading of pages; "
    "a third goes into the record, from reading the WAL back to the deltas. All that belongs to the stream and the protocol is a tenth"
)

SEED = (
    "a MiB takes both servers together a millisecond of processor time: a third of it is hashing (what was read, the frame on either side, the "
    "page map), another third copying (out of the file, into the socket, out of it), and commits are sent to the mirror meanwhile. It would "
    "take frames that carry the page map's hashes, so that each side hashes once, and larger runs of records while nobody waits for the mirror"
)

WHY = {
    "seed": SEED,
    "seed-commits": SEED,
    "pipelined": WRITER,
    "pipelined-stream": WRITER,
    "reads": (
        "no thread is changed any more; on the one that is left a fifth of the time is SQLite's, a fifth the write to the socket, an eighth JSON "
        "in and out, and most of the rest the HTTP stack's, which the empty handler has too. It would take pages that are verified once and not "
        "at each read beyond a connection's cache, and answers written without types in between"
    ),
}
