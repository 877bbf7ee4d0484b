"""What the bench makes of figures: ratios, verdicts, the smoke run's bounds, the page. `python3 -m unittest suite.tests`"""

import unittest

from . import chart, guard, page, rows
from .result import Line, at_most, ratio_at_least


def line(**changed):
    return Line(**{"key": "k", "what": "commits", "unit": "/s", "ours": [100, 200, 90], "peer_name": "peer", "peer": [100, 100, 100],
                   "goal": ratio_at_least(0.9), **changed})


def figures(*lines, load=0.1, failed=None):
    about = dict.fromkeys(("processor", "memory", "disk", "system", "rustc", "wrk", "counterpart", "commit"), "x")
    return {"date": "2026-01-01", "seconds": 5, "rounds": 3, "machine": {**about, "load": load}, "versions": {"PostgreSQL": "postgres 15"},
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

    def test_a_figure_that_is_not_there_breaks_its_bound(self):
        self.assertEqual(guard.broken(self.lines(**{"bytes-append": None})), ["bytes-append was not measured"])

    def test_every_row_of_a_smoke_run_exists(self):
        self.assertLessEqual(set(rows.QUICK), set(rows.ALL))


class Page(unittest.TestCase):
    def test_it_says_what_is_missed_and_what_could_not_be_measured(self):
        text = page.text(figures(line(), line(what="bytes", key="bytes-update", peer=[], goal=at_most(10)), failed={"seed": "no\nroom"}))
        self.assertIn("1 of 2 goals met", text)
        self.assertIn("- bytes: a page that changed is sent whole", text)
        self.assertIn("- seed: no room", text)

    def test_figures_of_a_machine_with_other_work_are_marked(self):
        self.assertIn("have to be taken again", page.text(figures(line(), load=4)))
        self.assertNotIn("have to be taken again", page.text(figures(line())))

    def test_a_chart_has_a_bar_for_each_row(self):
        self.assertEqual(chart.bars("t", "u", [("a", 2, True), ("b", 1, False)]).count("<rect"), 2)


if __name__ == "__main__":
    unittest.main()
