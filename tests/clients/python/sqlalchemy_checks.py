"""SQLAlchemy over `sqlalchemy-libsql`, unchanged."""

import time
from urllib.parse import urlsplit

from report import Deadline, Report, contains, equal, refused
from sqlalchemy import Float, Integer, String, create_engine, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool

BYTES = bytes(range(256))


class Base(DeclarativeBase):
    """The schema's root."""


class Ship(Base):
    """A row with integers, text and floats; this driver lacks what LargeBinary asks of one."""

    __tablename__ = "python_ships"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String, unique=True)
    tonnage: Mapped[int | None] = mapped_column(Integer)
    draught: Mapped[float | None] = mapped_column(Float)

    def cells(self):
        return (self.id, self.name, self.tonnage, self.draught)


def engine_url(address):
    """`http://host:port/path` in SQLAlchemy's spelling."""
    if address.startswith("file:"):
        return "sqlite+libsql:///" + address.removeprefix("file:")
    parts = urlsplit(address)
    return f"sqlite+libsql://{parts.netloc}{parts.path}?secure={str(parts.scheme == 'https').lower()}"


def ships(engine):
    with Session(engine) as session:
        return [ship.cells() for ship in session.scalars(select(Ship).order_by(Ship.id))]


def orm_writes(report, engine):
    with report.check("creates a table"):
        Base.metadata.drop_all(engine)
        Base.metadata.create_all(engine)
    with report.check("inserts and selects objects"):
        with Session(engine) as session:
            session.add_all(
                [
                    Ship(name="Žofie 🐎", tonnage=402, draught=0.1),
                    Ship(name="Fram", tonnage=-7),
                ]
            )
            session.commit()
        expected = [
            (1, "Žofie 🐎", 402, 0.1),
            (2, "Fram", -7, None),
        ]
        equal(ships(engine), expected, "ships")
    with report.check("reads integers beyond 2^53"):
        # Written as text: as a parameter, this driver turns what 32 bits do not hold into a float.
        with engine.connect() as connection:
            row = connection.execute(text(f"SELECT {2**53 + 1}, {2**63 - 1}, -{2**63 - 1} - 1")).one()
        equal(tuple(row), (2**53 + 1, 2**63 - 1, -(2**63)), "integers")
    with report.check("keeps blobs"):
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE IF EXISTS python_blobs"))
            connection.execute(text("CREATE TABLE python_blobs (bytes BLOB)"))
            connection.execute(text("INSERT INTO python_blobs VALUES (:b)"), {"b": BYTES})
        with engine.connect() as connection:
            row = connection.execute(text("SELECT bytes, typeof(bytes) FROM python_blobs")).one()
        equal((bytes(row[0]), row[1]), (BYTES, "blob"), "row")
    with report.check("inserts many rows and updates and deletes"):
        with Session(engine) as session:
            session.execute(Ship.__table__.insert(), [{"name": f"ship {n}"} for n in range(3, 8)])
            session.commit()
            session.get(Ship, 2).tonnage = 402
            session.delete(session.scalars(select(Ship).where(Ship.name == "ship 7")).one())
            session.commit()
        equal([row[:3] for row in ships(engine)[1:3]], [(2, "Fram", 402), (3, "ship 3", None)], "rows")
        equal(len(ships(engine)), 6, "number of ships")


def orm_transactions(report, engine):
    with report.check("commits a transaction"):
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO python_ships (id, name) VALUES (:i, :n)"), {"i": 50, "n": "Kon-Tiki"})
            inside = connection.execute(text("SELECT name FROM python_ships WHERE id = 50")).all()
            equal([tuple(row) for row in inside], [("Kon-Tiki",)], "rows inside")
        equal([row[1] for row in ships(engine) if row[0] == 50], ["Kon-Tiki"], "rows after")
    with report.check("rolls a transaction back"):
        before = ships(engine)
        with engine.connect() as connection:
            connection.execute(text("INSERT INTO python_ships (name) VALUES ('Vasa')"))
            connection.execute(text("DELETE FROM python_ships WHERE id = 50"))
            connection.rollback()
        with Session(engine) as session:
            session.add(Ship(name="Mary Rose"))
            session.flush()
            session.rollback()
        equal(ships(engine), before, "ships after")
    with report.check("names the broken constraint and rolls back"):
        before = ships(engine)

        def twice():
            with Session(engine) as session:
                session.add_all([Ship(name="Gjøa"), Ship(id=99, name="Fram")])
                session.commit()

        contains(refused(twice, "a second Fram"), "UNIQUE", "error")
        equal(ships(engine), before, "ships after")


def check_mirror(report, engine, mirror):
    with report.check("reads the same rows from the mirror"):
        expected = ships(engine)
        deadline = Deadline()
        while True:
            try:
                equal(ships(mirror), expected, "ships")
                break
            except Exception:  # the mirror may not have the table yet, and the driver has no error classes
                if deadline.passed():
                    raise
            time.sleep(0.02)
    with report.check("is refused when it writes to the mirror"):

        def write():
            with Session(mirror) as session:
                session.add(Ship(name="Flying Dutchman"))
                session.commit()

        contains(refused(write, "a write"), "READ_ONLY_MIRROR", "error")
        equal([row for row in ships(engine) if row[1] == "Flying Dutchman"], [], "rows on the principal")


def check_sqlalchemy(principal, mirror):
    """The number of failed checks. Addresses are http: (or file:, to try the checks themselves)."""
    report = Report("sqlalchemy-libsql")
    # A connection is one stream, and a server may expire an idle one: none is kept between checks.
    engine = create_engine(engine_url(principal), poolclass=NullPool)
    orm_writes(report, engine)
    orm_transactions(report, engine)
    if mirror is not None:
        check_mirror(report, engine, create_engine(engine_url(mirror), poolclass=NullPool))
    return report.failed
