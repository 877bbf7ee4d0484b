"""The `libsql-client` package, unchanged, over a WebSocket (subprotocol `hrana2`) and over http.

Over http it calls v1/execute and v1/batch, and has no transactions.
"""

import asyncio

import libsql_client
from report import Deadline, Report, equal

INTEGERS = [2**53 + 1, 2**63 - 1, -(2**63)]
BYTES = bytes(range(256))


def cells(result):
    """The rows as plain tuples."""
    return [row.astuple() for row in result.rows]


async def refused(awaitable, what):
    """The error of something that has to fail."""
    try:
        value = await awaitable
    except libsql_client.LibsqlError as error:
        return error
    raise AssertionError(f"{what}: expected a refusal, got {value!r}")


async def statements(report, client, table):
    with report.check("creates a table"):
        await client.execute(f"DROP TABLE IF EXISTS {table}")
        await client.execute(
            f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, word TEXT UNIQUE, big INTEGER, bytes BLOB, ratio REAL)"
        )
    with report.check("inserts with positional and named arguments"):
        first = await client.execute(f"INSERT INTO {table} (id, word) VALUES (?, ?)", [1, "one"])
        equal((first.rows_affected, first.last_insert_rowid), (1, 1), "affected and last row")
        second = await client.execute(
            f"INSERT INTO {table} (id, word) VALUES (:id, :word)", {"id": 2, "word": "two"}
        )
        equal(second.last_insert_rowid, 2, "last row")
    with report.check("selects what it inserted"):
        result = await client.execute(f"SELECT id, word FROM {table} ORDER BY id")
        equal(list(result.columns), ["id", "word"], "columns")
        equal(cells(result), [(1, "one"), (2, "two")], "rows")
    with report.check("keeps integers beyond 2^53"):
        for offset, big in enumerate(INTEGERS):
            await client.execute(f"INSERT INTO {table} (id, big) VALUES (?, ?)", [10 + offset, big])
        result = await client.execute(f"SELECT big FROM {table} WHERE id >= 10 ORDER BY id")
        equal(cells(result), [(big,) for big in INTEGERS], "integers")
    with report.check("keeps blobs, floats, nulls and text beyond ASCII"):
        await client.execute(
            f"INSERT INTO {table} (id, word, big, bytes, ratio) VALUES (20, ?, ?, ?, ?)",
            ["žluťoučký 🐎", None, BYTES, 0.1],
        )
        result = await client.execute(
            f"SELECT word, big, bytes, ratio, typeof(bytes) FROM {table} WHERE id = 20"
        )
        equal(cells(result), [("žluťoučký 🐎", None, BYTES, 0.1, "blob")], "row")
    with report.check("runs a batch as one transaction"):
        results = await client.batch(
            [
                (f"INSERT INTO {table} (id, word) VALUES (?, ?)", [30, "batch"]),
                f"UPDATE {table} SET word = 'batch two' WHERE id = 30",
                f"SELECT word FROM {table} WHERE id = 30",
            ]
        )
        equal([cells(result) for result in results], [[], [], [("batch two",)]], "results")


async def transactions(report, client, table):
    with report.check("commits an interactive transaction"):
        with client.transaction() as transaction:
            await transaction.execute(f"INSERT INTO {table} (id, word) VALUES (50, 'committed')")
            inside = await transaction.execute(f"SELECT word FROM {table} WHERE id = 50")
            equal(cells(inside), [("committed",)], "rows inside")
            await transaction.commit()
        after = await client.execute(f"SELECT word FROM {table} WHERE id = 50")
        equal(cells(after), [("committed",)], "rows after")
    with report.check("rolls an interactive transaction back"):
        with client.transaction() as transaction:
            await transaction.execute(f"INSERT INTO {table} (id) VALUES (51)")
            await transaction.execute(f"DELETE FROM {table} WHERE id = 50")
            await transaction.rollback()
        after = await client.execute(f"SELECT id FROM {table} WHERE id IN (50, 51)")
        equal(cells(after), [(50,)], "rows after")
    with report.check("rolls back what a closed transaction left open"):
        with client.transaction() as transaction:
            await transaction.execute(f"INSERT INTO {table} (id) VALUES (52)")
        after = await client.execute(f"SELECT id FROM {table} WHERE id = 52")
        equal(cells(after), [], "rows after")


async def failures(report, client, table):
    with report.check("names the broken constraint"):
        error = await refused(
            client.execute(f"INSERT INTO {table} (id, word) VALUES (60, 'one')"), "a second 'one'"
        )
        equal(error.code, "SQLITE_CONSTRAINT_UNIQUE", "code")
    with report.check("rolls a failing batch back"):
        error = await refused(
            client.batch(
                [f"INSERT INTO {table} (id) VALUES (61)", f"INSERT INTO {table} (id) VALUES (1)"]
            ),
            "a batch with a duplicate key",
        )
        equal(error.code, "SQLITE_CONSTRAINT_PRIMARYKEY", "code")
        after = await client.execute(f"SELECT id FROM {table} WHERE id = 61")
        equal(cells(after), [], "rows after")
    with report.check("goes on after a syntax error"):
        await refused(client.execute("SELEKT 1"), "a syntax error")
        equal(cells(await client.execute("SELECT 1")), [(1,)], "rows")


async def eventually_equal(client, sql, expected):
    """A mirror applies what it has hardened a moment later: ask until the rows are equal."""
    deadline = Deadline()
    while True:
        try:
            equal(cells(await client.execute(sql)), expected, "rows")
            return
        except (AssertionError, libsql_client.LibsqlError):
            if deadline.passed():
                raise
        await asyncio.sleep(0.02)


async def check_mirror(report, client, mirror, table):
    everything = f"SELECT * FROM {table} ORDER BY id"
    with report.check("reads the same rows from the mirror"):
        expected = cells(await client.execute(everything))
        await eventually_equal(mirror, everything, expected)
    with report.check("is refused when it writes to the mirror"):
        insert = f"INSERT INTO {table} (id) VALUES (70)"
        equal((await refused(mirror.execute(insert), "insert")).code, "READ_ONLY_MIRROR", "insert")
        equal((await refused(mirror.batch([insert]), "batch")).code, "READ_ONLY_MIRROR", "batch")
        after = await client.execute(f"SELECT id FROM {table} WHERE id = 70")
        equal(cells(after), [], "rows on the principal")


async def run(principal, mirror):
    transport = "http" if principal.startswith("http") else "ws"
    report = Report(f"libsql-client (Python) {transport}")
    table = f"python_libsql_client_{transport}"
    async with libsql_client.create_client(principal) as client:
        await statements(report, client, table)
        if transport == "ws":
            await transactions(report, client, table)
        await failures(report, client, table)
        if mirror is not None:
            async with libsql_client.create_client(mirror) as on_mirror:
                await check_mirror(report, client, on_mirror, table)
    return report.failed


def check_libsql_client(principal, mirror):
    """The number of failed checks. Addresses are ws: or http: (or file:, to try the checks themselves)."""
    return asyncio.run(run(principal, mirror))
