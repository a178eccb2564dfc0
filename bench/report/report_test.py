# SPDX-License-Identifier: MIT
#
# Tests what is said of figures: the three verdicts and their words, each question's, what others took of the CPUs, the
# comparison of two results, and the page. The figures are made up here, and nowhere else.
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

import fixed_buffers
import guest
import nop_cost
import others
import own_cost
import peers
import ring_cost
import scale
from compare import compare, orders, ratio_interval
from sample import Failure, Sample
from verdict import Verdict, amount, student, unseen, verdict, words

REPORT = Path(__file__).resolve().parent


def document(question, figures, **machine):
    return {
        "question": question, "command": f"bench/run --{question} <made up>", "date": "2025-01-02T03:04:05+00:00",
        "machine": {"kernel": "Linux 6.1", "CPU": "a CPU", "CPUs": "2", "memory": "1 GiB", **machine},
        "processes": 7, "table": ["a < b & c"], "warnings": ["<b>loud</b>"], "taken": {}, "expectations": [],
        "words": ["What is < 3?", "  a: <i>worth it</i>", "Nothing else."], "verdict": "all < 3",
        "figures": [
            {"name": name, "unit": "ns/op", "better": better, "labels": labels, "values": values}
            for name, better, labels, values in figures
        ],
    }


def own_costs(factor=1.0, processes=7, **machine):
    wander = [1.0, 1.01, 0.99, 1.02, 0.98, 1.03, 0.97][:processes]
    return document("own-cost", [
        ("cost", "less", {"peer": peer, "op": op}, [factor * ns * one for one in wander])
        for peer, ns in (("squall", 2.0), ("liburing 2.15", 5.0)) for op in ("nop", "read")
    ], **machine)


def run_report(*arguments):
    return subprocess.run([sys.executable, "-B", str(REPORT), *arguments], capture_output=True, text=True, check=False)


def ratios(median, spread, processes=7):
    """A Sample whose logarithms lie symmetrically about the median."""
    steps = [step - (processes - 1) / 2 for step in range(processes)]
    return Sample(median * exp(spread * step) for step in steps)


class Verdicts(unittest.TestCase):
    def test_a_ratio_is_less_or_more_or_shows_no_difference(self):
        for median, kind, says in ((0.47, "less", "worth it: about half the CPU time, 0.47 ("),
                                   (1.02, "same", "no difference seen: 1.02 ("),
                                   (1.36, "more", "costs more: 36 % more CPU time, 1.36 (")):
            found = verdict(ratios(median, 0.03))
            self.assertEqual(found.kind, kind)
            self.assertTrue(words(found, "CPU time", "worth it", "costs more").startswith(says), words(found, "CPU time"))

    def test_a_difference_that_is_certain_and_slight_is_told_and_not_called_one(self):
        for median, kind in ((0.9499, "less"), (0.9501, "same"), (1.0501, "more"), (1.0499, "same")):
            found = verdict(ratios(median, 0.001))
            self.assertTrue(found.is_seen)
            self.assertEqual(found.kind, kind, median)
            self.assertEqual("hardly a difference" in words(found, "time"), kind == "same", median)

    def test_an_interval_with_1_at_its_end_shows_no_difference(self):
        spread = 0.05
        half = verdict(ratios(1, spread)).high  # of the interval, as a factor
        for median, kind in ((half * 1.0001, "more"), (half * 0.9999, "same"),
                             (0.9999 / half, "less"), (1.0001 / half, "same")):
            self.assertEqual(verdict(ratios(median, spread)).kind, kind, median)

    def test_the_same_figures_of_fewer_processes_say_less(self):
        self.assertEqual(verdict(Sample([0.8, 0.9, 0.85] * 3)).kind, "less")
        self.assertEqual(verdict(Sample([0.8, 0.9])).kind, "same")

    def test_an_interval_holds_the_true_ratio_19_times_in_20_and_no_difference_is_marked_once_in_20(self):
        chance = random.Random(1)
        for processes in (3, 7):
            found = [verdict(Sample(chance.lognormvariate(0, 0.1) for _ in range(processes))) for _ in range(4000)]
            marked = sum(one.is_seen for one in found) / 4000
            self.assertTrue(0.04 < marked < 0.06, marked)

    def test_the_interval_holds_the_median_that_is_shown(self):
        found = verdict(Sample([1.0] * 50 + [3.0] * 49))
        self.assertEqual(found.low, found.median)
        self.assertLess(found.low, found.high)

    def test_students_quantiles_are_those_of_the_tables(self):
        for freedom, value in ((1, 12.706), (2, 4.303), (6, 2.447), (10, 2.228), (11, 2.201), (20, 2.086), (30, 2.042),
                               (98, 1.984)):
            self.assertAlmostEqual(student(freedom), value, 3, freedom)

    def test_how_large_a_difference_may_hide_is_never_told_too_small(self):
        for low, high, says in ((0.97, 1.0701, "up to 8 %"), (0.88, 1.07, "up to 12 %"), (0.93, 1.07, "up to 7 %"),
                                (1, 1, "up to 1 %")):
            self.assertIn(says, unseen([Verdict(1, low, high)]))
        self.assertIn("up to 12 %", unseen([Verdict(1, 0.97, 1.03), Verdict(1, 0.88, 1.03)]))
        self.assertIn("too few or lie too far apart", words(Verdict(1, 0.4, 2.1), "time"))

    def test_a_ratio_in_words(self):
        for ratio, says in ((0.47, "about half the time"), (0.17, "about a sixth of the time"), (0.41, "59 % less time"),
                            (0.05, "95 % less time"), (0.8, "20 % less time"), (1.36, "36 % more time"),
                            (3.1, "3.1 times the time")):
            self.assertEqual(amount(ratio, "time"), says)
        self.assertEqual(amount(0.8, "reads"), "20 % fewer reads")

    def test_what_cannot_be_judged_is_refused(self):
        for values, why in (([0.5], "one process"), ([0.5, 0.0], "is 0"), ([0.5, -1], "is -1")):
            with self.assertRaisesRegex(Failure, why):
                verdict(Sample(values))


WANDER = (0.0, 1.0, -1.0, 0.7, -0.7, 0.3, -0.3)  # of the processes
LIKE = {"base/unregistered": 1.0, "base/fixed": 1.0, "base/copied": 1.0, "huge/unregistered": 1.0, "huge/fixed": 1.0}


def reads(costs, sizes=(4096, 131072), kinds=("page_cache", "direct"), wander=0.01, huge="transparent", processes=7):
    """What fixed_buffers writes. costs: (kind, size) -> "pages/buffers" -> CPU time, 1 where nothing is said."""
    results = []
    for number in range(processes):
        for kind in kinds:
            runs = []
            for size in sizes:
                ways = LIKE | costs.get((kind, size), {})
                for place, (way, cost) in enumerate(ways.items()):
                    if way.startswith("huge") and huge == "none":
                        continue
                    cpu = 1000 * cost * (1 + wander * WANDER[(3 * number + place) % 7])
                    runs.append({
                        "name": f"{kind}/{size}/{way}/min_time:0.150/process_time/real_time", "cpu_time": cpu,
                        "real_time": 2000, "fixed_share": 0.0 if way.endswith("unregistered") else 1.0, "enters_per_op": 0.03,
                        "io_worker_share": 0.0, "resident_share": 1.0, "io_workers": 0,
                    })
            context = {"squall_optimized": "yes", "sizes": ",".join(map(str, sizes)), "huge_pages": huge, "depth": "64",
                       "batch": "32", "span_mib": "256", "page_cache_filled": "by such reads"}
            results.append({"context": context, "benchmarks": runs})
    return results


HALF_DIRECT = {("direct", 131072): {"base/fixed": 0.5, "base/copied": 1.5, "huge/unregistered": 0.5, "huge/fixed": 0.3}}


class FixedBuffers(unittest.TestCase):
    def answer(self, *arguments, **named):
        return fixed_buffers.answer(reads(*arguments, **named), [])

    def line(self, found, beginning):
        return next(line for line in found.words if line.strip().startswith(beginning))

    def test_each_kind_and_size_has_its_verdict(self):
        costs = HALF_DIRECT | {("page_cache", 131072): {"base/fixed": 1.2, "huge/fixed": 1.2}}
        found = self.answer(costs)
        self.assertIn("worth it: about half the CPU time, 0.50 (", self.line(found, "O_DIRECT    128 KiB"))
        self.assertIn("no difference seen: 1.00 (", self.line(found, "O_DIRECT    4 KiB"))
        self.assertIn("no difference seen: 1.00 (", self.line(found, "page cache  4 KiB"))
        self.assertIn("costs more: 20 % more CPU time, 1.20 (", self.line(found, "page cache  128 KiB"))
        self.assertRegex(
            found.sentence,
            r"^here fixed buffers are worth it for O_DIRECT reads of 128 KiB \(about half the CPU time\), make no difference that"
            r" shows for page-cache reads of 4 KiB and O_DIRECT reads of 4 KiB \(one of up to \d % may hide\) and cost more for"
            r" page-cache reads of 128 KiB \(20 % more CPU time\); huge pages under them save more for O_DIRECT reads of 128 KiB$",
        )

    def test_what_huge_pages_add_and_what_is_left_of_it_in_a_copy(self):
        found = self.answer(HALF_DIRECT)
        self.assertIn("O_DIRECT reads of 128 KiB (40 % less CPU time)", self.line(found, "they save more"))
        self.assertIn("O_DIRECT reads of 128 KiB (50 % more CPU time)", self.line(found, "costs more"))
        self.assertNotIn("still worth it", " ".join(found.words))
        found = self.answer({("direct", 131072): {"base/fixed": 0.5, "base/copied": 0.8}})
        self.assertIn("O_DIRECT reads of 128 KiB (20 % less CPU time)", self.line(found, "still worth it"))

    def test_without_huge_pages_it_says_so(self):
        found = self.answer(HALF_DIRECT, huge="none")
        self.assertIn("What huge pages would add is not known", " ".join(found.words))
        self.assertNotIn("huge pages", found.sentence)

    def test_what_wanders_hides_a_difference_and_says_how_large_a_one(self):
        small = {("page_cache", 4096): {"base/fixed": 0.9}}
        self.assertIn("worth it: 10 % less", self.line(self.answer(small), "page cache  4 KiB"))
        found = self.line(self.answer(small, wander=0.3), "page cache  4 KiB")
        self.assertRegex(found, r"no difference seen: .* one of up to [2-9]\d % may hide")

    def test_where_nothing_is_known_it_says_so_and_spoils_no_other_verdict(self):
        results = reads({})
        for number, result in enumerate(results):
            for run in result["benchmarks"]:
                if run["name"].startswith("direct/4096/base/fixed"):
                    run["cpu_time"] *= 30 if number == 1 else 1
        found = fixed_buffers.answer(results, [])
        self.assertIn("no difference seen", self.line(found, "O_DIRECT    4 KiB"))
        self.assertRegex(
            found.sentence,
            r"no difference that shows for page-cache reads of 4 KiB to 128 KiB and O_DIRECT reads of 128 KiB \(one of up to \d %"
            r" may hide\) and make no difference that shows for O_DIRECT reads of 4 KiB \(nor could one be: the processes",
        )

    def test_neighbours_among_the_sizes_are_a_range_and_others_a_list(self):
        sizes = (4096, 16384, 65536, 131072, 1048576)

        def where(*of):
            return fixed_buffers.where_text([("direct", size) for size in of], [("direct", size) for size in sizes])

        self.assertEqual(where(65536, 131072, 1048576), "O_DIRECT reads of 64 KiB to 1 MiB")
        self.assertEqual(where(4096, 65536), "O_DIRECT reads of 4 KiB and 64 KiB")
        self.assertEqual(where(4096, 16384, 131072, 1048576), "O_DIRECT reads of 4 KiB to 16 KiB and 128 KiB to 1 MiB")

    def test_nothing_is_called_expected_and_a_missed_expectation_fails_those_alone_who_ask(self):
        with tempfile.TemporaryDirectory() as scratch:
            files = written(scratch, reads({}))
            plain = run_report("answer", "fixed-buffers", *files)
            self.assertEqual(plain.returncode, 0, plain.stderr)
            self.assertNotIn("expect", plain.stdout)
            asked = run_report("answer", "--expect", "fixed-buffers", *files)
            self.assertEqual(asked.returncode, 3)
            self.assertIn("page cache, 4 KiB: fixed at least 1.10x in IOPS or in CPU: 1.00x, MISSED", asked.stdout)
            self.assertIn("2 of 2 expectations missed", asked.stdout.splitlines()[-1])
        with tempfile.TemporaryDirectory() as scratch:
            files = written(scratch, reads(HALF_DIRECT | {("page_cache", 4096): {"base/fixed": 0.8}}))
            self.assertEqual(run_report("answer", "--expect", "fixed-buffers", *files).returncode, 0)

    def test_rows_that_are_lacking_or_cannot_be_fail(self):
        def spoilt(spoil):
            results = reads({})
            spoil(results)
            with tempfile.TemporaryDirectory() as scratch:
                return run_report("answer", "fixed-buffers", *written(scratch, results))

        def first(results):
            return results[0]["benchmarks"]

        for spoil, why in (
            (lambda results: first(results).pop(3), "1 of 10 rows are lacking: page_cache/4096/huge/unregistered"),
            (lambda results: first(results).clear(), "a process has rows of nothing"),
            (lambda results: results.clear(), "there is no result to report"),
            (lambda results: first(results)[1].update(fixed_share=0.9), "90% of its transfers were fixed"),
            (lambda results: first(results)[0].update(cpu_time=0), "it took no time"),
            (lambda results: first(results)[0].update(error_occurred=True, error_message="a read failed"), "a read failed"),
            (lambda results: [results.remove(one) for one in results[::2]], "no process read out of the page cache"),
        ):
            found = spoilt(spoil)
            self.assertEqual(found.returncode, 2, why)
            self.assertIn(why, found.stderr)


def written(directory, results):
    files = []
    for number, result in enumerate(results):
        files.append(str(Path(directory) / f"{number}.result"))
        Path(files[-1]).write_text(json.dumps(result), encoding="utf-8")
    return files


def benchmark_results(times, processes=7, **more):
    """What a Google Benchmark of ours writes: name -> ns, or name -> several numbers."""
    results = []
    for number in range(processes):
        runs = []
        for place, (name, numbers) in enumerate(times.items()):
            numbers = numbers if isinstance(numbers, dict) else {"cpu_time": numbers, "real_time": numbers}
            factor = 1 + 0.01 * WANDER[(3 * number + place) % 7]
            scaled = {key: value * factor for key, value in numbers.items()}
            runs.append({"name": name, "run_type": "iteration", "ops": 1, **scaled, **more})
        results.append({"context": {"squall_optimized": "yes", "liburing_version": "2.9"}, "benchmarks": runs})
    return results


class OtherQuestions(unittest.TestCase):
    def test_the_librarys_own_cost_is_less_or_the_same_or_more_than_liburings(self):
        for theirs, says in ((6.0, "about half"), (3.0, "no difference seen"), (2.0, "[45]\\d % more CPU time")):
            times = {"stand_in": 1.0}
            for what in own_cost.OPERATIONS:
                times |= {f"squall_{what}": 4.0, f"liburing_{what}": 1.0 + theirs}
            found = own_cost.answer(benchmark_results(times), [])
            self.assertRegex(found.sentence, says)
            self.assertEqual(sum(bool(re.search(says, line)) for line in found.words), 3, found.words)
        self.assertIn("a million a second take 0.30 % of a CPU", found.words[1])

    def test_a_nop_is_told_beside_liburings_and_by_how_many_are_queued(self):
        for factor, says in ((1.2, "less time"), (1.0, "no difference seen"), (0.8, "more time")):
            times = {}
            for batch, ns in ((1, 130.0), (8, 50.0), (32, 40.0), (128, 39.0)):
                times |= {f"squall_poll/{batch}": ns, f"liburing_submit/{batch}": factor * ns}
            times |= {f"squall_sampled/{batch}": times[f"squall_poll/{batch}"] for batch in (1, 32)}
            found = nop_cost.answer(benchmark_results(times), [])
            self.assertIn("takes 130 ns by itself and 40 where 32", found.sentence)
            self.assertEqual(found.sentence.count(says), 2)
            self.assertTrue(any("32 at a time: 40 ns each, about a third of the time" in line for line in found.words))

    def test_a_rings_own_cost_is_told_with_liburings_and_without(self):
        arenas = [f"create_large_arena/{pages}" for pages in ("base", "transparent", "hugetlb")]
        times = {name: {"cpu_time": 2.0, "real_time": 2e4, "p50": 6e3, "p99": 9e3, "first": 3e3, "destroy": 1e4, "arena": 4e8}
                 for name in ("idle_poll", "wake_park", "wake_read", "create_bare", "create_small_arena", "acquire_release/1",
                              "acquire_release/2", *arenas)}
        found = ring_cost.answer(benchmark_results(times), [])
        self.assertNotIn("liburing", " ".join(found.words))
        self.assertTrue(any("an arena of 1 GiB on huge pages: 400 ms to make" in line for line in found.words))
        times |= {"wake_liburing": {"p50": 3e3, "p99": 9e3}}
        found = ring_cost.answer(benchmark_results(times, cpu_time=1.0, real_time=1.0), [])
        self.assertTrue(any("park()" in line and "2.0 times the time" in line for line in found.words))

    def test_what_a_guests_device_gives_is_told_for_buffers_polling_and_the_floor(self):
        def results(fixed, polled, floor):
            found = []
            for number in range(5):
                rows = []
                for way in ("interrupt", "busy"):
                    for place, buffers in enumerate(("unregistered", "fixed")):
                        iops = 1e5 * (fixed if place else 1) * (polled if way == "busy" else 1)
                        iops *= 1 + 0.01 * WANDER[(number + place) % 7]
                        row = {"device": "nullb0", "size": 4096, "way": way, "buffers": buffers}
                        rows.append({**row, "peer": "squall", "iops": iops, "polled_share": float(way == "busy")})
                        rows.append({**row, "peer": guest.FLOOR, "iops": floor * iops * (1 + 0.01 * WANDER[number])})
                found.append({"context": {"squall_optimized": "yes"}, "rows": rows})
            return guest.answer(found, [])

        found = results(1.4, 1.0, 1.1)
        self.assertRegex(found.sentence, "over unregistered (39|40|41) % more reads, over t/io_uring 9 % fewer reads")
        self.assertTrue(any("busy fixed: no difference" in line or "busy fixed: hardly" in line for line in found.words))
        self.assertRegex(results(0.8, 1.5, 1.0).sentence, "(19|20|21) % fewer reads, over t/io_uring no difference")

    def test_a_cell_of_the_peers_has_a_verdict_on_transfers_and_on_cpu_time(self):
        def sentence(iops, cpu):
            results = []
            for number in range(5):
                runs = [
                    {"peer": peer, "what": "", "pages": "base", "iops": 1e5 * rate * (1 + 0.01 * WANDER[(number + place) % 7]),
                     "cpu_ns": 1e3 * cost * (1 + 0.01 * WANDER[(number + place) % 7]), "switches": 0.0}
                    for place, (peer, rate, cost) in enumerate((("squall", iops, cpu), ("libaio", 1, 1), ("pread", 0.5, 2)))
                ]
                cell = {"op": "read", "kind": "direct", "size": 4096, "depth": 64, "batch": 32}
                results.append({"context": {"squall_optimized": "yes", "span_mib": 256, "cell": cell}, "absent": {},
                                "benchmarks": runs})
            found = peers.answer(results, [])
            self.assertEqual(sum("squall over libaio" in line for line in found.words), 2)
            return found.sentence

        self.assertIn("transfers a second more in 1, fewer in 0, no difference seen in 0; CPU time more in 0, less in 1",
                      sentence(1.5, 0.5))
        self.assertIn("more in 0, fewer in 1, no difference seen in 0; CPU time more in 1, less in 0", sentence(0.5, 1.5))
        self.assertIn("more in 0, fewer in 0, no difference seen in 1; CPU time more in 0, less in 0, no difference seen in 1",
                      sentence(1, 1))

    def test_more_rings_are_dearer_only_beyond_what_plain_system_calls_are(self):
        def sentence(grown, control):
            results = benchmark_results({"x": 1.0})
            for number, result in enumerate(results):
                result["benchmarks"] = [
                    {"name": f"rings/{series}/real_time/threads:{rings}", "threads": rings, "items_per_second": 1e6,
                     "cpu": 100 * (growth if rings == 2 else 1) * (1 + 0.01 * WANDER[(number + rings + place) % 7])}
                    for place, (series, growth) in enumerate((("nop", grown), ("pread(2), one file", control))) for rings in (1, 2)
                ]
            return scale.answer(results, []).sentence

        self.assertIn("nothing was seen to cost more", sentence(1.0, 1.0))
        self.assertIn("dearer for each where there is more of it: more rings (nop: 1.20", sentence(1.2, 1.0))
        self.assertIn("nothing was seen to cost more", sentence(1.2, 1.2))


class Others(unittest.TestCase):
    def test_what_others_take_is_told_in_cpus_and_warned_of_when_it_is_much(self):
        with tempfile.TemporaryDirectory() as scratch:
            files, taken = written(scratch, reads({})), Path(scratch) / "taken"
            for lines, says, is_warned in (
                ("2 0.010 0.000\n2 0.030 0.010\n", "took 0.02 of the 2 CPUs and the hypervisor 0.01", False),
                ("2 0.500 0.000\n2 1.500 0.000\n", "took 1.00 of the 2 CPUs", True),
                ("2 0.000 0.500\n2 0.000 0.500\n", "the hypervisor 0.50", True),
            ):
                taken.write_text(lines, encoding="utf-8")
                found = run_report("answer", "--taken", str(taken), "fixed-buffers", *files)
                self.assertEqual(found.returncode, 0, found.stderr)
                self.assertIn(says, " ".join(found.stdout.split()))
                self.assertEqual("\nwarning " in found.stdout, is_warned)
                self.assertEqual("\nmachine " in found.stdout, not is_warned)

    def test_one_cpu_of_many_is_not_much(self):
        self.assertTrue(others.is_much(others.others(["2 1.0 0.0"])))
        self.assertFalse(others.is_much(others.others(["64 1.0 0.0"])))
        self.assertFalse(others.is_much(others.others([])))

    def test_lines_that_are_not_such_are_refused(self):
        with self.assertRaisesRegex(Failure, "what others took"):
            others.others(["2 x 0.0"])

    def test_ticks_become_cpus(self):
        def taken(before, after):
            command = ["bash", "-c", f'. bench/shared.sh; taken "{before}" "{after}"']
            return subprocess.run(command, cwd=REPORT.parent.parent, capture_output=True, text=True, check=True).stdout

        self.assertEqual(taken("2 1000 400 0", "2 1400 600 20"), "2 1.000 0.100\n")
        self.assertEqual(taken("2 1000 400 0", "2 1400 390 0"), "2 0.000 0.000\n")
        self.assertEqual(taken("2 1000 400 0", "2 1000 400 0"), "")
        # Threads of the kernel: one spends more, one is new, and one has ended.
        self.assertEqual(taken("2 1000 400 0 5 300 6 900", "2 1400 600 0 5 340 7 20"), "2 0.700 0.000\n")


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
        text, verdict, is_within = self.said(own_costs(), own_costs(1.1), 5)
        self.assertEqual(text.count(" worse"), 2)
        self.assertIn("2 of 2 figures differ: 0 better, 2 worse", verdict)
        self.assertFalse(is_within)
        self.assertTrue(self.said(own_costs(), own_costs(1.1), 15)[2])
        self.assertTrue(self.said(own_costs(), own_costs(0.9), 5)[2])

    def test_more_of_what_should_be_more_is_better(self):
        base, new = (document("peers", [("IOPS", "more", {}, [factor * n for n in range(90, 97)])]) for factor in (1, 1.5))
        self.assertIn("1 better, 0 worse", self.said(base, new)[1])
        self.assertIn("0 better, 1 worse", self.said(new, base)[1])

    def test_what_moved_with_its_peers_is_told_to_be_the_machines(self):
        moved = "so much is the machine's"
        self.assertIn("2 figures, are 1.100 of what they were in the median: " + moved,
                      self.said(own_costs(), own_costs(1.1))[0])
        new = own_costs()
        for figure in new["figures"][:2]:  # squall's
            figure["values"] = [2 * value for value in figure["values"]]
        text, verdict, _ = self.said(own_costs(), new)
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
        self.assertIn("0 of 2 figures differ", self.said(own_costs(), own_costs(1.001))[1])

    def test_three_processes_are_too_few_to_tell(self):
        text, verdict, is_within = self.said(own_costs(1, 3), own_costs(2, 3), 5)
        self.assertIn("too few processes", verdict)
        self.assertNotIn("worse", text)
        self.assertTrue(is_within)

    def test_other_questions_and_other_machines_are_refused_and_other_facts_named(self):
        with self.assertRaisesRegex(Failure, "A answers own-cost and B peers"):
            self.said(own_costs(), document("peers", []))
        with self.assertRaisesRegex(Failure, "CPU is a CPU in A and another in B"):
            self.said(own_costs(), own_costs(CPU="another"))
        self.assertIn("kernel: Linux 6.1 in A, Linux 6.2 in B", self.said(own_costs(), own_costs(kernel="Linux 6.2"))[0])
        for other in (document("own-cost", []), document("own-cost", [("cost", "less", {"peer": "liburing"}, [1.0])])):
            with self.assertRaisesRegex(Failure, "no figure of squall's is in both"):
                self.said(own_costs(), other)

    def test_the_command_says_what_file_is_wrong_and_fails_by_number(self):
        with tempfile.TemporaryDirectory() as scratch:
            base, new, neither = (str(Path(scratch) / name) for name in ("a.json", "b.json", "c.json"))
            Path(base).write_text(json.dumps(own_costs()), encoding="utf-8")
            Path(new).write_text(json.dumps(own_costs(1.2)), encoding="utf-8")
            Path(neither).write_text("{}", encoding="utf-8")
            self.assertEqual(run_report("compare", base, new).returncode, 0)
            self.assertEqual(run_report("compare", base, new, "--fail-if-slower", "10").returncode, 1)
            refused = run_report("compare", base, neither)
            self.assertEqual(refused.returncode, 2)
            self.assertIn("c.json is not what bench/run --json writes", refused.stderr)


class Page(unittest.TestCase):
    def test_a_page_needs_nothing_beside_it_escapes_what_it_shows_and_can_be_drawn_again(self):
        with tempfile.TemporaryDirectory() as scratch:
            answers = [own_costs(), document("a-question-without-plots", [])]
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
            for text in ("&lt;b&gt;loud", "a &lt; b &amp; c", "no &lt;disk&gt;", "all &lt; 3", "&lt;i&gt;worth it", "bench/run --report X"):
                self.assertIn(text, html)
            self.assertNotIn("<b>loud", html)
            self.assertEqual(json.loads((first / "results.json").read_text(encoding="utf-8"))["answers"], answers)

            made = run_report("page", str(again), str(first / "results.json"))
            self.assertEqual(made.returncode, 0, made.stderr)
            self.assertEqual((again / "index.html").read_text(encoding="utf-8"), html)

    def test_what_was_expected_is_on_the_page_when_it_was_asked_for_and_after_what_a_reader_wants(self):
        with tempfile.TemporaryDirectory() as scratch:
            plain, asked = own_costs(), own_costs()
            asked["expectations"] = [{"rule": "a < 3", "found": "2", "met": True}, {"rule": "b", "found": "9", "met": False}]
            for name, answer in (("plain", plain), ("asked", asked)):
                (Path(scratch) / f"{name}.json").write_text(json.dumps(answer), encoding="utf-8")

            def made(name, *options):
                found = run_report("page", *options, str(Path(scratch) / "page"), str(Path(scratch) / f"{name}.json"))
                return found, (Path(scratch) / "page" / "index.html").read_text(encoding="utf-8")

            found, html = made("plain")
            self.assertEqual(found.returncode, 0, found.stderr)
            self.assertNotRegex(html, "expect|missed|&#1000[37];")
            self.assertNotIn("expect", found.stdout)
            found, html = made("asked", "--expect")
            self.assertEqual(found.returncode, 3, found.stderr)
            self.assertIn("1 of 2 expectations missed", found.stdout)
            self.assertIn("1 of 2 figures are met", html)
            self.assertLess(html.index("all &lt; 3"), html.index("a &lt; 3</td>"))
            self.assertEqual(made("asked")[0].returncode, 0)
            found, _ = made("plain", "--expect")
            self.assertEqual(found.returncode, 2)
            self.assertIn("measured with --expect", found.stderr)

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
