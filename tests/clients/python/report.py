"""Runs named checks one after another and prints one JSON line for each.

A check that fails never hides the following ones: the exit code tells at the end.
"""

import json
import time
import traceback
from contextlib import contextmanager


class Report:
    """What one client passed and failed."""

    def __init__(self, client):
        self.client = client
        self.failed = 0

    @contextmanager
    def check(self, name):
        """Reports the body of the `with` as the check `name`; its exceptions end there."""
        line = {"client": self.client, "check": name, "ok": True}
        try:
            yield
        except Exception as error:  # whatever a client raises is this check's failure
            self.failed += 1
            line["ok"] = False
            line["code"] = getattr(error, "code", None)
            line["error"] = str(error) or type(error).__name__
            line["at"] = traceback.format_tb(error.__traceback__)[-1].strip()
        print(json.dumps(line, ensure_ascii=False, default=str), flush=True)


def equal(actual, expected, what):
    """Fails with both values unless they are equal."""
    if actual != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {actual!r}")


def contains(whole, part, what):
    """Fails with the whole text unless the part is in it."""
    if part not in whole:
        raise AssertionError(f"{what}: expected {part} in: {whole}")


def refused(body, what):
    """The text of the error of something that has to fail; it holds the server's code.

    For drivers without error classes of their own: any exception is accepted.
    """
    try:
        value = body()
    except Exception as error:
        return str(error)
    raise AssertionError(f"{what}: expected a refusal, got {value!r}")


class Deadline:
    """How long a mirror may take to show what it has hardened; a read is asked again until then."""

    def __init__(self, seconds=15.0):
        self.end = time.monotonic() + seconds

    def passed(self):
        return time.monotonic() >= self.end
