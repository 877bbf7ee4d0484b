"""What the bench makes of figures and failures: ratios, verdicts, the smoke run's bounds, the page. `python3 -m unittest suite.tests`"""

import http.client
import http.server
import threading
import unittest
from contextlib import contextmanager, nullcontext
from subprocess import CompletedProcess
from unittest.mock import patch

from . import chart, guard, page, rows
from .result import Line, at_most, ratio_at_least
from .rows.takeover import Writers
from .servers import Bench, Failed, wrk_saw


def line(**changed):
    return Line(**{"key": "k", "what": "commits", "unit": "/s", "ours": [100, 200, 90], "peer_name": "peer", "peer": [100, 100, 100],
                   "goal": ratio_at_least(0.9), **changed})


def figures(*lines, load=0.1, stolen=0.01, failed=None):
    about = dict.fromkeys(("processor", "memory", "disk", "system", "rustc", "wrk", "counterpart", "commit"), "x")
    return {"date": "2026-01-01", "seconds": 5, "rounds": 3, "machine": {**about, "load": load, "stolen": stolen}, "versions": {"PostgreSQL": "postgres 15"},
            "lines": [each.to_json() for each in lines], "failed": failed or {}}


class Results(unittest.TestCase):
    def test_a_ratio_is_taken_round_by_round_and_its_median_is_judged(self):
        self.assertEqual(line().ratios(), [1.0, 2.0, 0.9])
        self.assertTrue(line().is_met())
        # The ratio of the medians would be 1.0.
        self.assertFalse(line(ours=[80, 100, 120], peer=[100, 100, 180], goal=ratio_at_least(0.9)).is_met())

    def test_without_a_peer_a_goal_of_a_ratio_is_neither_met_nor_missed(self):
        self.assertIsNone(line(peer=[], missing="it is not there").is_met())
        self.assertIn("not measured: it is not there", page.row(line(peer=[], missing="it is not there")))

    def test_figures_are_the_same_after_they_were_saved(self):
        self.assertEqual(Line.from_json(line().to_json()), line())


class SmokeRun(unittest.TestCase):
    def lines(self, **changed):
        good = {"mirror-cost-32": 1, "sqlite-1": 1, "bytes-update": 100, "bytes-append": 100, "bytes-delete": 100, **changed}
        return [line(key=key, ours=[value], peer=[1]) for key, value in good.items() if value is not None]

    def test_usual_figures_break_no_bound(self):
        self.assertEqual(guard.broken(self.lines()), [])

    def test_a_mirror_that_costs_nearly_everything_breaks_one(self):
        self.assertEqual(len(guard.broken(self.lines(**{"mirror-cost-32": 0.01}))), 1)

    def test_a_whole_page_to_a_commit_breaks_one(self):
        self.assertEqual(len(guard.broken(self.lines(**{"bytes-update": 4096}))), 1)

    def test_a_figure_that_is_not_there_breaks_its_bound(self):
        self.assertEqual(guard.broken(self.lines(**{"bytes-append": None})), ["bytes-append was not measured"])

    def test_every_row_of_a_smoke_run_exists(self):
        self.assertLessEqual(set(rows.QUICK), set(rows.ALL))


@contextmanager
def answering(*answers):
    """The address of a server that gives these answers in turn, and the last one again and again. None means that it hangs up."""
    left = list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            answer = left.pop(0) if len(left) > 1 else left[0]
            if answer is None:
                self.close_connection = True
                return
            status, body = answer
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address
        finally:
            server.shutdown()
            thread.join()


class Address:
    """As much of a server as its clients need."""

    url = "http://127.0.0.1:1"

    def __init__(self, address):
        self.connect = lambda: http.client.HTTPConnection(*address)


class Failures(unittest.TestCase):
    OK = (200, b'{"results":[{"type":"ok"}]}')

    def written(self, *answers):
        with answering(*answers) as address:
            writers = Writers([Address(address)] * 2)
            with writers:
                for _ in range(1000):
                    if len(writers.confirmed) > 1:
                        break
                    threading.Event().wait(0.01)
            return writers

    def test_a_write_that_is_not_confirmed_counts_as_failed_whatever_is_wrong(self):
        refused = (200, b'{"results":[{"type":"error","error":{"message":"no","code":"SQLITE_BUSY"}}]}')
        gone = (400, b'{"message":"the server changed its role","code":"STREAM_EXPIRED"}')
        for wrong in (refused, gone, None, (200, b"{}"), (200, b"[")):
            writers = self.written(self.OK, wrong, wrong, self.OK)
            self.assertEqual(len(writers.failed), 2, wrong)

    def test_being_sent_to_the_other_server_is_no_failure(self):
        sent_on = (200, b'{"results":[{"type":"error","error":{"message":"go","code":"READ_ONLY_MIRROR"}}]}')
        writers = self.written(sent_on, self.OK)
        self.assertEqual((writers.failed, writers.sent_on), ([], 1))

    def test_what_wrk_tells_of_broken_connections_is_no_success(self):
        text = "  50%  1.50ms\n{}Requests/sec:  1000.5\n"
        self.assertEqual(wrk_saw(CompletedProcess([], 0, text.format(""), "")), (1000.5, 1.5))
        for told in ("  Socket errors: connect 0, read 7, write 0, timeout 0\n", "  Non-2xx or 3xx responses: 1\n"):
            with self.assertRaises(Failed):
                wrk_saw(CompletedProcess([], 0, text.format(told), ""))

    def test_what_fails_in_a_load_beside_a_measurement_fails_the_measurement(self):
        for seen, fails in (('{"failed": 0}', False), ('{"failed": 3, "failure": "no"}', True)):
            with Bench("", "", 1, 1) as bench:
                # Stands in for the client: ends when its input does, and tells.
                bench.begin = lambda *_, **__: bench.spawn("sh", "-c", f"cat >&2; echo '{seen}'", stdin=-1, stdout=-1, text=True)
                with self.assertRaises(Failed) if fails else nullcontext(), bench.writing(Address(None), 1):
                    pass


class Page(unittest.TestCase):
    def test_it_says_what_is_missed_and_what_could_not_be_measured(self):
        lines = [line(what=key, key=key, peer=[], goal=at_most(10)) for key in ("known", "unknown")]
        with patch.dict(page.WHY, known="it is far"):
            text = page.text(figures(line(), *lines, failed={"seed": "no\nroom"}))
        self.assertIn("1 of 3 goals met", text)
        self.assertIn("- known: it is far", text)
        self.assertIn("- unknown: nobody has looked into it yet", text)
        self.assertIn("- seed: no room", text)

    def test_figures_of_a_machine_with_other_work_are_marked(self):
        self.assertIn("with care", page.text(figures(line(), load=4)))
        self.assertIn("with care", page.text(figures(line(), stolen=0.2)))
        self.assertIn("20.0% of the processor time", page.text(figures(line(), stolen=0.2)))
        self.assertNotIn("with care", page.text(figures(line())))

    def test_a_chart_has_a_bar_for_each_row(self):
        self.assertEqual(chart.bars("t", "u", [("a", 2, True), ("b", 1, False)]).count("<rect"), 2)


if __name__ == "__main__":
    unittest.main()
