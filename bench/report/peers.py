# SPDX-License-Identifier: MIT
#
# squall beside its peers, cell by cell: medians over the rounds, and ratios taken within each round to the best of the
# others. Latencies of all rounds are one histogram. What a figure means is in the head of bench/peers/main.cpp.
from statistics import median

from sample import WANDER_MAX, Answer, Sample, liburing_name, size_text
from verdict import EXPLAINED, verdict, words

KINDS = {"page_cache": "page cache", "direct": "O_DIRECT"}
PAGES = {"base": "4 KiB", "huge": "huge", "hugetlb": "hugetlb"}
QUANTILES = (0.5, 0.99, 0.999, 0.9999)
CURVE = (0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999)
SAMPLES_BEYOND_MIN = 10  # a quantile with fewer samples beyond it is an accident
WORKERS_MAX = 0.05  # this share of the CPU time spent by io-wq workers is worth a note
TRACED_MIN = 3000  # with fewer transfers a peer's own count of system calls is not held against the kernel's
RESIDENT_MIN = 0.999  # and less than this of the file in the page cache is worth a warning

# What squall's developers expect: not to cost more than liburing with the same set-up. Both end in the same kernel.
LIKE_FOR_LIKE = (("squall", "liburing"), ("squall_files", "liburing_best"))
LIKE_FOR_LIKE_MAX = 1.05


def is_squall(name):
    return name.startswith("squall")


def shown(name):
    return name.replace("_", " ")


def quantile(histogram, share):
    """Of [[ns, how many], ...]: microseconds, or None where too few lie beyond."""
    count = sum(number for _, number in histogram)
    if round(count * (1 - share)) < SAMPLES_BEYOND_MIN:
        return None
    passed = 0
    for nanoseconds, number in histogram:
        passed += number
        if passed >= share * count:
            return nanoseconds / 1000
    return None


def merged(histograms):
    counts = {}
    for histogram in histograms:
        for nanoseconds, number in histogram:
            counts[nanoseconds] = counts.get(nanoseconds, 0) + number
    return sorted(counts.items())


class Row:
    """One peer in one cell."""

    def __init__(self, runs):
        self.runs = runs
        self.peer = runs[0]["peer"]
        self.what = runs[0]["what"]
        self.note = runs[-1].get("note", "")
        self.pages = PAGES.get(runs[0]["pages"], runs[0]["pages"])
        self.iops = Sample(run["iops"] for run in runs)
        self.cpu_ns = Sample(run["cpu_ns"] for run in runs)
        self.switches = Sample(run["switches"] for run in runs)
        self.io_wq_share = median(run.get("io_wq_ns", 0) / run["cpu_ns"] for run in runs)
        traced = [run["traced_calls"] for run in runs if "traced_calls" in run]
        self.traced_calls = Sample(traced) if traced else None
        own = [run["calls"] for run in runs if "calls" in run]
        self.calls = Sample(own) if own else self.traced_calls
        self.latency = merged(run.get("latency", []) for run in runs)

    def quantiles(self, shares=QUANTILES):
        return [quantile(self.latency, share) for share in shares]


class Cell:
    def __init__(self, key):
        self.op, self.kind, self.size, self.depth, self.batch = key
        self.rows = {}
        self.absent = {}

    def name(self):
        where = f"{KINDS[self.kind]} {self.op}, {size_text(self.size)}"
        return f"{where}, {self.depth} in flight, {self.batch} queued at a time"

    def best(self, figure, of_squall):
        """The row that has most IOPS or least CPU time, of squall's or of the others; None where there is none."""
        rows = [row for row in self.rows.values() if is_squall(row.peer) == of_squall and not self.is_partial(row, figure)]
        if not rows:
            return None
        return (max if figure == "iops" else min)(rows, key=lambda row: getattr(row, figure).median)

    def workers_share(self):
        return max((row.io_wq_share for row in self.rows.values()), default=0)

    def is_partial(self, row, figure):
        """fio knows the CPU time of its own thread alone, which is not all of it where workers did the transfers."""
        return figure == "cpu_ns" and row.peer == "fio" and self.workers_share() > WORKERS_MAX


def cells_of(results):
    cells, runs = {}, {}
    for result in results:
        labels = result["context"]["cell"]
        key = (labels["op"], labels["kind"], labels["size"], labels["depth"], labels["batch"])
        cell = cells.setdefault(key, Cell(key))
        cell.absent |= result["absent"]
        for run in result["benchmarks"]:
            runs.setdefault(key, {}).setdefault(run["peer"], []).append(run)
    for key, by_peer in runs.items():
        rounds = max(len(found) for found in by_peer.values())
        # A peer that some round went without cannot be paired with the others.
        cells[key].rows = {peer: Row(found) for peer, found in by_peer.items() if len(found) == rounds}
    order = {"read": 0, "page_cache": 0}
    return [cells[key] for key in sorted(cells, key=lambda key: (order.get(key[0], 1), order.get(key[1], 1), *key[2:]))]


def add_warnings(cells, results, warnings):
    spreads = [row.cpu_ns.spread for cell in cells for row in cell.rows.values()]
    if spreads and median(spreads) > WANDER_MAX:
        warnings.append(f"figures of one row lie ±{median(spreads):.0%} apart: more --rounds or a calmer machine")
    resident = [run["resident"] for result in results for run in result["benchmarks"] if "resident" in run]
    if resident and min(resident) < RESIDENT_MIN:
        warnings.append(
            f"the page cache held no more than {min(resident):.1%} of the file, so these cells also measure the device:"
            " more free memory or a smaller --span would help"
        )
    for cell in cells:
        for row in cell.rows.values():
            run = row.runs[0]
            # Of few transfers a peer's start and end would be too large a part.
            if run.get("traced_transfers", 0) < TRACED_MIN or "calls_while_traced" not in run:
                continue
            own, traced = run["calls_while_traced"], run["traced_calls"]
            if abs(own - traced) > 0.01 + 0.1 * traced:
                warnings.append(
                    f"{cell.name()}: {shown(row.peer)} counts {own:.3f} system calls per transfer, the kernel {traced:.3f}"
                )


def cell_text(value, digits=0):
    return "-" if value is None else f"{value:,.{digits}f}"


def say_cell(found, cell):
    found.say(cell.name())
    found.say(
        f"{'':<18} {'IOPS':>10} {'±':>4} {'of best':>7} {'CPU ns':>8} {'±':>4} {'of best':>7} {'calls':>7} {'switches':>8}"
        f" {'p50 us':>8} {'p99':>7} {'p99.9':>7} {'p99.99':>7}  pages"
    )
    best_iops, best_cpu = cell.best("iops", False), cell.best("cpu_ns", False)
    for row in cell.rows.values():
        of_iops = row.iops.over(best_iops.iops).median if best_iops else None
        of_cpu = row.cpu_ns.over(best_cpu.cpu_ns).median if best_cpu else None
        partial = cell.is_partial(row, "cpu_ns")
        digits = 1 if cell.kind == "page_cache" else 0
        latencies = [cell_text(value, digits) for value in row.quantiles()]
        found.say(
            f"{shown(row.peer):<18} {row.iops.median:>10,.0f} {row.iops.spread:>4.0%} {cell_text(of_iops, 2):>7}"
            f" {row.cpu_ns.median:>8,.0f} {row.cpu_ns.spread:>4.0%} {'*' if partial else cell_text(of_cpu, 2):>7}"
            f" {cell_text(row.calls.median if row.calls else None, 3):>7} {row.switches.median:>8.3f}"
            f" {latencies[0]:>8} {latencies[1]:>7} {latencies[2]:>7} {latencies[3]:>7}  "
            + ", ".join(text for text in (row.pages, row.note) if text)
        )
    if cell.workers_share() > WORKERS_MAX:
        found.say(
            f"io-wq workers of the kernel spent up to {cell.workers_share():.0%} of the CPU time: here io_uring has to block"
        )
    if "fio" in cell.rows and cell.is_partial(cell.rows["fio"], "cpu_ns"):
        found.say("* fio's own thread alone, without the kernel's workers")
    found.say()


def say_legend(found, cells, context):
    whats = {row.peer: row.what for cell in cells for row in cell.rows.values()}
    for peer, what in whats.items():
        found.say(f"{shown(peer):<18} {what}{', ' + liburing_name(context) if peer == 'liburing' else ''}")
    absent = {}
    for cell in cells:
        for peer, reason in cell.absent.items():
            absent.setdefault((peer, reason), []).append(cell)
    for (peer, reason), where in absent.items():
        places = "" if len(where) == len(cells) else f" ({len(where)} of {len(cells)} cells)"
        found.say(f"{shown(peer):<18} absent{places}: {reason}")
    found.say("of best: ratio to the best of the others, within each round. calls, switches: system calls and context switches")
    found.say("per transfer. CPU ns: per transfer, all threads of the process, io_uring's kernel threads among them; no")
    found.say("interrupts that met an idle CPU. Latencies from queueing to hand-out, in runs of their own; - where too few were")
    found.say("sampled.")


def best_against_best(cell):
    """IOPS and CPU time: what is compared, squall's best way, the best of the others, and the verdict on their ratio; empty
    where a side is lacking."""
    found = {}
    for figure, what in (("iops", "transfers a second"), ("cpu_ns", "CPU time")):
        mine, theirs = cell.best(figure, True), cell.best(figure, False)
        if mine and theirs and len(mine.runs) > 1:
            found[figure] = (what, mine, theirs, verdict(getattr(mine, figure).over(getattr(theirs, figure))))
    return found


def tally(verdicts, less, more):
    kinds = [one.kind for one in verdicts]
    return f"{more} in {kinds.count('more')}, {less} in {kinds.count('less')}, no difference seen in {kinds.count('same')}"


def tell(found, cells):
    compared = {cell: pairs for cell in cells if len(pairs := best_against_best(cell)) == 2}
    if not compared:
        found.sentence = "squall or its peers could not be measured here"
        return
    found.tell("Which way of doing I/O is the quickest here, and which takes the least CPU time? squall's best way over the"
               f" best of all others, each the best by its median. {EXPLAINED}")
    for cell, pairs in compared.items():
        found.tell(f"  {cell.name()}")
        for what, mine, theirs, one in pairs.values():
            found.tell(f"    {shown(mine.peer)} over {shown(theirs.peer)}: {words(one, what)}")
    iops, cpu = ([pairs[figure][3] for pairs in compared.values()] for figure in ("iops", "cpu_ns"))
    found.sentence = (
        f"squall's best way beside the best of all others, in {len(compared)} cells: transfers a second"
        f" {tally(iops, 'fewer', 'more')}; CPU time {tally(cpu, 'less', 'more')}"
    )


def expect(found, cells):
    for mine, theirs in LIKE_FOR_LIKE:
        ratios = [
            cell.rows[mine].cpu_ns.over(cell.rows[theirs].cpu_ns).median
            for cell in cells
            if mine in cell.rows and theirs in cell.rows
        ]
        if ratios:
            rule = f"CPU time of {shown(mine)} over {shown(theirs)}, set up alike: at most {LIKE_FOR_LIKE_MAX:.2f}"
            ratio = median(ratios)
            found.expect(f"{rule}, median of {len(ratios)} cells", f"{ratio:.2f}", ratio <= LIKE_FOR_LIKE_MAX)


def answer(results, warnings):
    found = Answer()
    context = results[0]["context"]
    cells = cells_of(results)
    add_warnings(cells, results, warnings)
    rounds = max((len(row.runs) for cell in cells for row in cell.rows.values()), default=0)
    where = f"random transfers in {context['span_mib']} MiB"
    found.say(f"{where}; medians of {rounds} rounds, a process for each peer, cell and round")
    found.say()
    for cell in cells:
        say_cell(found, cell)
    say_legend(found, cells, context)
    tell(found, cells)
    expect(found, cells)

    for cell in cells:
        for row in cell.rows.values():
            labels = {"peer": shown(row.peer), "op": cell.op, "kind": KINDS[cell.kind], "size": cell.size,
                      "depth": cell.depth, "batch": cell.batch}
            found.figure("IOPS", "op/s", "more", row.iops, **labels)
            if not cell.is_partial(row, "cpu_ns"):
                found.figure("CPU time", "ns/op", "less", row.cpu_ns, **labels)
            found.figure("context switches", "/op", None, row.switches, **labels)
            if row.calls:
                found.figure("system calls", "/op", "less", row.calls, **labels)
            for share, of_all in zip(CURVE, row.quantiles(CURVE)):
                # Of each round where it has enough samples, else of all rounds together.
                values = [quantile(run.get("latency", []), share) for run in row.runs]
                values = [of_all] if None in values else values
                if None not in values:
                    found.figure(f"latency p{share * 100:g}", "us", "less", values, **labels)
    return found
