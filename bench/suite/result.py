"""What a row of the page is: figures of several rounds, and what they are judged by."""

from dataclasses import asdict, dataclass, field
from statistics import median


@dataclass
class Goal:
    """`of` is what is judged: "ours", or "ratio" (ours ÷ peer, pair by pair)."""

    of: str
    op: str  # ">=" or "<="
    limit: float

    def is_met(self, value):
        return value >= self.limit if self.op == ">=" else value <= self.limit


@dataclass
class Line:
    """One figure. `ours` and `peer` have one value for each round, in the order in which they were taken by turns."""

    key: str
    what: str
    unit: str
    ours: list
    peer_name: str = ""
    peer: list = field(default_factory=list)
    goal: Goal | None = None
    note: str = ""
    missing: str = ""

    def ratios(self):
        return [a / b for a, b in zip(self.ours, self.peer) if b]

    def judged(self):
        return self.ratios() if self.goal and self.goal.of == "ratio" else self.ours

    def is_met(self):
        """None where there is no goal, or nothing was measured."""
        values = self.judged()
        return self.goal.is_met(median(values)) if self.goal and values else None

    def to_json(self):
        return asdict(self)

    @staticmethod
    def from_json(value):
        return Line(**{**value, "goal": Goal(**value["goal"]) if value["goal"] else None})


def at_least(limit):
    return Goal("ours", ">=", limit)


def at_most(limit):
    return Goal("ours", "<=", limit)


def ratio_at_least(limit):
    return Goal("ratio", ">=", limit)


def ratio_at_most(limit):
    return Goal("ratio", "<=", limit)
