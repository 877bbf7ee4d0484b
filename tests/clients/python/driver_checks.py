"""The drivers `libsql` and `libsql-experimental` (the one that SQLAlchemy stands on), as a script would use them.

Both are the Rust `libsql` crate behind Python's DB-API, at different ages.
"""

import time

import libsql
import libsql_experimental
from report import Deadline, Report, contains, equal, refused

BYTES = bytes(range(256))


def rows(connection, sql):
    return [tuple(row) for row in connection.execute(sql).fetchall()]


def on_principal(report, connection, table):
    with report.check("creates, inserts and selects"):
        connection.execute(f"DROP TABLE IF EXISTS {table}")
        connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, word TEXT UNIQUE, bytes BLOB)")
        connection.execute(f"INSERT INTO {table} VALUES (?, ?, ?)", (1, "žluť", BYTES))
        connection.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", [(2, "b", None), (3, "c", b"")])
        connection.commit()
        expected = [(1, "žluť", BYTES), (2, "b", None), (3, "c", b"")]
        equal(rows(connection, f"SELECT * FROM {table} ORDER BY id"), expected, "rows")
    with report.check("runs a script of several statements"):
        connection.executescript(f"INSERT INTO {table} (id) VALUES (4); INSERT INTO {table} (id) VALUES (5);")
        connection.commit()
        equal(rows(connection, f"SELECT id FROM {table} WHERE id > 3 ORDER BY id"), [(4,), (5,)], "rows")
    with report.check("commits and rolls back"):
        connection.execute(f"INSERT INTO {table} (id) VALUES (6)")
        equal(rows(connection, f"SELECT id FROM {table} WHERE id = 6"), [(6,)], "rows inside")
        connection.rollback()
        connection.execute(f"INSERT INTO {table} (id) VALUES (7)")
        connection.commit()
        equal(rows(connection, f"SELECT id FROM {table} WHERE id > 5"), [(7,)], "rows after")
    with report.check("names the broken constraint and goes on"):
        insert = f"INSERT INTO {table} (word) VALUES ('b')"
        contains(refused(lambda: connection.execute(insert), "a second 'b'"), "UNIQUE", "error")
        connection.rollback()
        equal(rows(connection, "SELECT 1"), [(1,)], "rows")


def on_mirror(report, connection, mirror, table):
    everything = f"SELECT * FROM {table} ORDER BY id"
    with report.check("reads the same rows from the mirror"):
        expected = rows(connection, everything)
        deadline = Deadline()
        while True:
            try:
                equal(rows(mirror, everything), expected, "rows")
                break
            except Exception:  # the mirror may not have the table yet, and the driver has no error classes
                if deadline.passed():
                    raise
            time.sleep(0.02)
    with report.check("is refused when it writes to the mirror"):

        def write():
            mirror.execute(f"INSERT INTO {table} (id) VALUES (70)")
            mirror.commit()

        contains(refused(write, "a write"), "READ_ONLY_MIRROR", "error")
        equal(rows(connection, f"SELECT id FROM {table} WHERE id = 70"), [], "rows on the principal")


def check_drivers(principal, mirror):
    """The number of failed checks. Addresses are http: (or file:, to try the checks themselves)."""
    failed = 0
    for module in (libsql, libsql_experimental):
        report = Report(f"{module.__name__} (Python)")
        table = f"python_{module.__name__}"
        connection = module.connect(principal.removeprefix("file:"), auth_token="")
        on_principal(report, connection, table)
        if mirror is not None:
            on_mirror(report, connection, module.connect(mirror, auth_token=""), table)
        failed += report.failed
    return failed
