"""The rows of the page, by name, in its order: how each is measured, and whether the smoke run has it."""

from . import commits, copies, inside, latency, micro, reads, scale, takeover, wire

ALL = {
    "commits": commits.commits,
    "pipelined": commits.pipelined,
    "reads": reads.points,
    "scans": reads.scans,
    "bytes": wire.bytes_per_commit,
    "inside": inside.parts,
    "visible": latency.visible,
    "stalls": latency.stalls,
    "seed": copies.seed,
    "catchup": copies.catch_up,
    "files": copies.files,
    "failover": takeover.failover,
    "promote": takeover.promote,
    "restart": takeover.restart,
    "memory": scale.memory,
    "databases": scale.databases,
    "idle": scale.idle,
    "blobs": scale.blobs,
    "bulk": scale.bulk,
    "micro": micro.parts,
}

# What a smoke run takes: a few seconds each.
QUICK = ("commits", "pipelined", "reads", "bytes", "visible", "failover", "restart")
