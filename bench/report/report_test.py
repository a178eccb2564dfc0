# SPDX-License-Identifier: MIT
#
# Tests what every question shares: the comparison of two results and the page. The figures are made up here, and nowhere
# else. What a question's own module makes of its results, bench/run shows.
#
#   python3 bench/report/report_test.py
import json
import random
import re
import subprocess
import sys
import tempfile
import unittest
from collections import Counter
from itertools import combinations
from math import exp
from pathlib import Path

from compare import compare, orders, ratio_interval
from sample import Failure

REPORT = Path(__file__).resolve().parent


def document(question, figures, **machine):
    return {
        "question": question, "command": f"bench/run --{question} <made up>", "date": "2025-01-02T03:04:05+00:00",
        "machine": {"kernel": "Linux 6.1", "CPU": "a CPU", "CPUs": "2", "memory": "1 GiB", **machine},
        "processes": 7, "table": ["a < b & c"], "warnings": ["<b>loud</b>"], "verdict": "as expected: all < 3",
        "expectations": [{"rule": "a < 3", "found": "2", "met": True}, {"rule": "b", "found": "9", "met": False}],
        "figures": [
            {"name": name, "unit": "ns/op", "better": better, "labels": labels, "values": values}
            for name, better, labels, values in figures
        ],
    }


def own_cost(factor=1.0, processes=7, **machine):
    wander = [1.0, 1.01, 0.99, 1.02, 0.98, 1.03, 0.97][:processes]
    return document("own-cost", [
        ("cost", "less", {"peer": peer, "op": op}, [factor * ns * one for one in wander])
        for peer, ns in (("squall", 2.0), ("liburing 2.15", 5.0)) for op in ("nop", "read")
    ], **machine)


def run_report(*arguments):
    return subprocess.run([sys.executable, "-B", str(REPORT), *arguments], capture_output=True, text=True, check=False)


class Comparing(unittest.TestCase):
    def said(self, base, new, fail_if_slower=None):
        lines = []
        verdict, is_within = compare(base, new, fail_if_slower, lines.append)
        return "\n".join(lines), verdict, is_within

    def test_the_distribution_of_u_is_that_of_all_orders(self):
        for count, other in ((2, 3), (4, 4), (5, 3)):
            every = Counter(
                sum(mine > theirs for mine in places for theirs in set(range(count + other)) - set(places))
                for places in combinations(range(count + other), count)
            )
            self.assertEqual([every[u] for u in range(count * other + 1)],
                             [orders(count, other, u) for u in range(count * other + 1)])

    def test_an_interval_holds_the_true_ratio_as_often_as_it_says(self):
        chance = random.Random(1)
        hits = marks = 0
        for _ in range(2000):
            base = [chance.lognormvariate(0, 0.1) for _ in range(7)]
            new = [chance.lognormvariate(0.05, 0.1) for _ in range(7)]
            _, low, high = ratio_interval(base, new)
            hits += low <= exp(0.05) <= high
            marks += not low <= 1 <= high
        self.assertTrue(0.94 < hits / 2000 < 0.98, hits)
        self.assertTrue(0.05 < marks / 2000 < 0.2, marks)

    def test_what_takes_longer_is_worse_and_a_limit_may_fail_it(self):
        text, verdict, is_within = self.said(own_cost(), own_cost(1.1), 5)
        self.assertEqual(text.count(" worse"), 2)
        self.assertIn("2 of 2 figures differ: 0 better, 2 worse", verdict)
        self.assertFalse(is_within)
        self.assertTrue(self.said(own_cost(), own_cost(1.1), 15)[2])
        self.assertTrue(self.said(own_cost(), own_cost(0.9), 5)[2])

    def test_more_of_what_should_be_more_is_better(self):
        base, new = (document("peers", [("IOPS", "more", {}, [factor * n for n in range(90, 97)])]) for factor in (1, 1.5))
        self.assertIn("1 better, 0 worse", self.said(base, new)[1])
        self.assertIn("0 better, 1 worse", self.said(new, base)[1])

    def test_what_moved_with_its_peers_is_told_to_be_the_machines(self):
        moved = "so much is the machine's"
        self.assertIn("2 figures, are 1.100 of what they were in the median: " + moved,
                      self.said(own_cost(), own_cost(1.1))[0])
        new = own_cost()
        for figure in new["figures"][:2]:  # squall's
            figure["values"] = [2 * value for value in figure["values"]]
        text, verdict, _ = self.said(own_cost(), new)
        self.assertIn("2 worse", verdict)
        self.assertNotIn(moved, text)

    def test_of_very_many_figures_those_that_differ_are_shown(self):
        def many(factor):
            values = [float(n) for n in range(100, 107)]
            return document("peers", [("IOPS", "more", {"size": n}, [(factor if n == 7 else 1) * value for value in values])
                                      for n in range(100)])

        text, verdict, _ = self.said(many(1), many(2))
        self.assertIn("size 7 ", text)
        self.assertNotIn("size 8 ", text)
        self.assertIn("99 figures that do not differ", text)
        self.assertIn("1 of 100 figures differ", verdict)

    def test_the_same_again_does_not_differ(self):
        self.assertIn("0 of 2 figures differ", self.said(own_cost(), own_cost(1.001))[1])

    def test_three_processes_are_too_few_to_tell(self):
        text, verdict, is_within = self.said(own_cost(1, 3), own_cost(2, 3), 5)
        self.assertIn("too few processes", verdict)
        self.assertNotIn("worse", text)
        self.assertTrue(is_within)

    def test_other_questions_and_other_machines_are_refused_and_other_facts_named(self):
        with self.assertRaisesRegex(Failure, "A answers own-cost and B peers"):
            self.said(own_cost(), document("peers", []))
        with self.assertRaisesRegex(Failure, "CPU is a CPU in A and another in B"):
            self.said(own_cost(), own_cost(CPU="another"))
        self.assertIn("kernel: Linux 6.1 in A, Linux 6.2 in B", self.said(own_cost(), own_cost(kernel="Linux 6.2"))[0])
        for other in (document("own-cost", []), document("own-cost", [("cost", "less", {"peer": "liburing"}, [1.0])])):
            with self.assertRaisesRegex(Failure, "no figure of squall's is in both"):
                self.said(own_cost(), other)

    def test_the_command_says_what_file_is_wrong_and_fails_by_number(self):
        with tempfile.TemporaryDirectory() as scratch:
            base, new, neither = (str(Path(scratch) / name) for name in ("a.json", "b.json", "c.json"))
            Path(base).write_text(json.dumps(own_cost()), encoding="utf-8")
            Path(new).write_text(json.dumps(own_cost(1.2)), encoding="utf-8")
            Path(neither).write_text("{}", encoding="utf-8")
            self.assertEqual(run_report("compare", base, new).returncode, 0)
            self.assertEqual(run_report("compare", base, new, "--fail-if-slower", "10").returncode, 1)
            refused = run_report("compare", base, neither)
            self.assertEqual(refused.returncode, 2)
            self.assertIn("c.json is not what bench/run --json writes", refused.stderr)


class Page(unittest.TestCase):
    def test_a_page_needs_nothing_beside_it_escapes_what_it_shows_and_can_be_drawn_again(self):
        with tempfile.TemporaryDirectory() as scratch:
            answers = [own_cost(), document("a-question-without-plots", [])]
            files = []
            for number, answer in enumerate(answers):
                files.append(str(Path(scratch) / f"{number}.json"))
                Path(files[-1]).write_text(json.dumps(answer), encoding="utf-8")
            first, again = (Path(scratch) / name for name in ("first", "again"))
            made = run_report("page", "--command=bench/run --report X", "--failure=--peers: no <disk>", str(first), *files)
            self.assertEqual(made.returncode, 0, made.stderr)
            html = (first / "index.html").read_text(encoding="utf-8")
            outward = [url for url in re.findall(r"""(?:src|href)=["']([^"']*)""", html) if not re.match("#|data:", url)]
            self.assertEqual(outward, ["results.json"])
            self.assertNotRegex(html, r"@import|url\(|<script|<link")
            self.assertEqual(html.count("<img "), 1)
            for text in ("&lt;b&gt;loud", "a &lt; b &amp; c", "no &lt;disk&gt;", "2 of 4 figures", "bench/run --report X"):
                self.assertIn(text, html)
            self.assertNotIn("<b>loud", html)
            self.assertEqual(json.loads((first / "results.json").read_text(encoding="utf-8"))["answers"], answers)

            made = run_report("page", str(again), str(first / "results.json"))
            self.assertEqual(made.returncode, 0, made.stderr)
            self.assertEqual((again / "index.html").read_text(encoding="utf-8"), html)

    def test_the_figures_that_are_drawn_are_those_that_were_measured(self):
        from drawing import svg
        from plot import Plot, Series
        from sample import Sample

        def drawn(value):
            return svg(Plot("t", "c", "x", "y", [Series("squall", "squall", [(1, Sample([value])), (2, Sample([5]))])]))

        self.assertEqual(drawn(3), drawn(3))
        self.assertNotEqual(drawn(3), drawn(4))


if __name__ == "__main__":
    unittest.main()
