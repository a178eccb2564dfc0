#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
#
# Compares what several processes of one benchmark measured: medians over the processes, how far they lie apart, ratios
# taken within each process (what a process finds, from where its memory lies to the clock, is common to both sides), and
# a verdict in one sentence. It reads Google Benchmark's JSON and knows nothing of how it was made.
#
#   bench/report.py fixed-buffers|own-cost|nop-cost WARNINGS-FILE JSON-FILE|- RESULT...
import json
import os
import sys
import textwrap
from statistics import median

PAGE = f"{os.sysconf('SC_PAGE_SIZE') // 1024} KiB"
KINDS = {"page_cache": "page cache", "direct": "O_DIRECT"}

# What squall promises of itself on an ordinary x86-64 machine. A device or a CPU may be such that it cannot be.
FIXED_PAGE_CACHE_MIN = 1.08  # 4 KiB, page cache: IOPS, or the inverse of CPU time, of fixed over unregistered
FIXED_DIRECT_MAX = 0.65  # 128 KiB, O_DIRECT: CPU time of fixed on huge pages over unregistered on ordinary pages
OWN_COST_MAX_NS = 2.2
NOP_COST_MAX = 0.94  # batch 32: squall over the quickest of liburing's ways

WANDER_MAX = 0.15  # a spread above this is worth a warning
WORKERS_MAX = 0.05  # so is this share of the CPU time spent by io-wq workers
RESIDENT_MIN = 0.999  # and less than this of the file in the page cache


class Failure(Exception):
    """The results cannot be what they are taken for."""


class Sample:
    """One figure, measured in several processes."""

    def __init__(self, values):
        self.values = list(values)
        self.median = median(self.values)
        self.half = (max(self.values) - min(self.values)) / 2

    @property
    def spread(self):
        return self.half / self.median if self.median else 0.0

    def over(self, other):
        return Sample(mine / theirs for mine, theirs in zip(self.values, other.values))

    def text(self, digits=2):
        return f"{self.median:.{digits}f} ±{self.half:.{digits}f}"

    def as_json(self):
        return {"median": self.median, "low": min(self.values), "high": max(self.values), "values": self.values}


def size_text(size):
    return f"{size >> 20} MiB" if size % (1 << 20) == 0 else f"{size >> 10} KiB"


def met(is_met):
    return "met" if is_met else "NOT MET"


def named(context):
    return f"liburing {context['liburing_version']}" if "liburing_version" in context else "liburing"


def check_build(context, warnings):
    if context.get("squall_optimized") != "yes":
        warnings.append("this is a debug build: its figures are not squall's")


def repetitions(results):
    """For each process: benchmark name -> median over its repetitions of ns per operation."""
    processes = []
    for result in results:
        found = {}
        for run in result["benchmarks"]:
            if run["run_type"] == "iteration":
                name = "/".join(part for part in run["name"].split("/") if ":" not in part)
                found.setdefault(name, []).append(run["cpu_time"] / run["ops"])
        processes.append({name: median(times) for name, times in found.items()})
    return processes


# --- Fixed against unregistered -------------------------------------------------------------------------------------------


def fixed_rows(results):
    rows = {}
    for result in results:
        for run in result["benchmarks"]:
            kind, size, pages, buffers = run["name"].split("/")[:4]
            rows.setdefault((kind, int(size), pages, buffers), []).append(run)
    for (_, _, _, buffers), runs in rows.items():
        for run in runs:
            if run["fixed_share"] != (1.0 if buffers == "fixed" else 0.0):
                raise Failure(f"{run['name']}: {run['fixed_share']:.0%} of its transfers were fixed")
    order = {"page_cache": 0, "base": 0, "unregistered": 0}
    keys = sorted(rows, key=lambda key: (order.get(key[0], 1), key[1], order.get(key[2], 1), order.get(key[3], 1)))
    return {
        key: {
            "iops": Sample(1e9 / run["real_time"] for run in rows[key]),
            "cpu_ns": Sample(run["cpu_time"] for run in rows[key]),
            "enters_per_op": Sample(run["enters_per_op"] for run in rows[key]),
            "fixed_share": Sample(run["fixed_share"] for run in rows[key]),
            "io_worker_share": Sample(run["io_worker_share"] for run in rows[key]),
            "resident_share": Sample(run["resident_share"] for run in rows[key]),
            "io_workers": Sample(run["io_workers"] for run in rows[key]),
        }
        for key in keys
    }


def fixed_warnings(rows, warnings):
    for kind, what in KINDS.items():
        shares = [row["io_worker_share"].median for key, row in rows.items() if key[0] == kind]
        if shares and max(shares) > WORKERS_MAX:
            warnings.append(
                f"{what}: io-wq workers of the kernel spent up to {max(shares):.0%} of the CPU time, so these rows measure"
                " them; the file system or the device cannot do without blocking"
            )
        spreads = [row["cpu_ns"].spread for key, row in rows.items() if key[0] == kind]
        if spreads and median(spreads) > WANDER_MAX:
            warnings.append(f"{what}: figures of one row lie ±{median(spreads):.0%} apart: more --rounds or a calmer machine")
    resident = [row["resident_share"].median for key, row in rows.items() if key[0] == "page_cache"]
    if resident and min(resident) < RESIDENT_MIN:
        warnings.append(
            f"the page cache held no more than {min(resident):.1%} of what was read, so these rows also measure the device:"
            " more free memory or a smaller --span would help"
        )


def fixed_report(results, warnings):
    context = results[0]["context"]
    rows = fixed_rows(results)
    fixed_warnings(rows, warnings)
    huge = {"hugetlb": "hugetlb", "transparent": "huge", "none": ""}[context["huge_pages"]]
    page_names = {"base": PAGE, "huge": huge}

    print(
        f"random reads of {context['span_mib']} MiB, {context['depth']} in flight, queued {context['batch']} at a time;"
        f" page cache filled {context['page_cache_filled']}"
    )
    print(f"medians of {len(results) // len({key[0] for key in rows})} processes")
    print()
    print("reads       size      pages    buffers            IOPS  spread  CPU ns/op  spread  enters/op  fixed")
    last = None
    for (kind, size, pages, buffers), row in rows.items():
        if last not in (None, (kind, size)):
            print()
        last = (kind, size)
        print(
            f"{KINDS[kind]:<11} {size_text(size):<9} {page_names[pages]:<8} {buffers:<13}{row['iops'].median:>10,.0f}"
            f" {'±' + format(row['iops'].spread, '.0%'):>7} {row['cpu_ns'].median:>10,.0f}"
            f" {'±' + format(row['cpu_ns'].spread, '.0%'):>7} {row['enters_per_op'].median:>10.3f}"
            f" {row['fixed_share'].median:>6.0%}"
        )

    def ratio(figure, kind, size, pages, against_pages):
        mine, theirs = rows.get((kind, size, pages, "fixed")), rows.get((kind, size, against_pages, "unregistered"))
        return mine[figure].over(theirs[figure]) if mine and theirs else None

    ratios = []
    print()
    print("fixed / unregistered   IOPS, more is better        CPU time per operation, less is better")
    print(f"{'':<22} {PAGE + ' pages':<13}{'huge pages':<15}{PAGE + ' pages':<13}{'huge pages':<15}huge / {PAGE} *")
    for kind, size in dict.fromkeys(key[:2] for key in rows):
        found = {
            "iops_base": ratio("iops", kind, size, "base", "base"),
            "iops_huge": ratio("iops", kind, size, "huge", "huge"),
            "cpu_base": ratio("cpu_ns", kind, size, "base", "base"),
            "cpu_huge": ratio("cpu_ns", kind, size, "huge", "huge"),
            "cpu_huge_over_base": ratio("cpu_ns", kind, size, "huge", "base"),
        }
        ratios.append({"reads": kind, "size": size, **found})
        cells = [sample.text() if sample else "-" for sample in found.values()]
        line = f"{KINDS[kind]:<11} {size_text(size):<10} "
        print((line + "".join(f"{cell:<{width}}" for cell, width in zip(cells, (13, 15, 13, 15, 13)))).rstrip())
    if huge:
        print(f"* fixed on huge pages / unregistered on {PAGE} pages: all that an arena can bring")

    def find(kind, size):
        return next((entry for entry in ratios if (entry["reads"], entry["size"]) == (kind, size)), None)

    clauses, expectations = [], []
    if entry := find("page_cache", 4096):
        cpu, iops = entry["cpu_base"].median, entry["iops_base"].median
        best = max(iops, 1 / cpu)
        rule = f"page cache, 4 KiB: fixed at least {FIXED_PAGE_CACHE_MIN:.2f}x in IOPS or in CPU"
        expectations.append((rule, f"{best:.2f}x", best >= FIXED_PAGE_CACHE_MIN))
        clauses.append(f"{cpu - 1:+.0%} at 4 KiB cached")
    entry = find("direct", 131072)
    if entry and entry["cpu_huge_over_base"]:
        cpu = entry["cpu_huge_over_base"].median
        rule = f"O_DIRECT, 128 KiB: CPU, huge / {PAGE} *, at most {FIXED_DIRECT_MAX:.2f}"
        expectations.append((rule, f"{cpu:.2f}", cpu <= FIXED_DIRECT_MAX))
        clauses.append(f"{cpu - 1:+.0%} at 128 KiB O_DIRECT")
    if not clauses:
        for entry in (min(ratios, key=lambda entry: entry["size"]), max(ratios, key=lambda entry: entry["size"])):
            clauses.append(f"{entry['cpu_base'].median - 1:+.0%} at {size_text(entry['size'])} {KINDS[entry['reads']]}")
    document = {
        "rows": [
            {"reads": key[0], "size": key[1], "pages": key[2], "buffers": key[3],
             **{name: sample.as_json() for name, sample in row.items()}}
            for key, row in rows.items()
        ],
        "ratios": [
            {name: value.as_json() if isinstance(value, Sample) else value for name, value in entry.items()}
            for entry in ratios
        ],
    }
    return document, expectations, "fixed: CPU " + ", ".join(dict.fromkeys(clauses))


# --- The library's own cost -----------------------------------------------------------------------------------------------


def own_cost_report(results, warnings):
    context = results[0]["context"]
    processes = repetitions(results)
    stand_in = Sample(process["stand_in"] for process in processes)
    rows = {}
    for name in processes[0]:
        if name != "stand_in":
            rows[name] = Sample(process[name] - process["stand_in"] for process in processes)
    peer = named(context)
    print(f"ns per operation, batches of 32, less the {stand_in.median:.2f} of the kernel's stand-in")
    print(f"{'':<18} {'squall':<15}{peer:<15}squall / {peer}")
    ratios = {}
    for what in ("nop", "read", "read_fixed"):
        mine, theirs = rows[f"squall_{what}"], rows.get(f"liburing_{what}")
        ratios[what] = mine.over(theirs) if theirs else None
        cells = [mine.text(), theirs.text() if theirs else "-", ratios[what].text() if theirs else "-"]
        print(f"{what.replace('_', ', '):<18} {cells[0]:<15}{cells[1]:<15}{cells[2]}")
    expectations = [
        (f"{what.replace('_', ', ')}: at most {OWN_COST_MAX_NS} ns", f"{rows['squall_' + what].median:.2f} ns",
         rows[f"squall_{what}"].median <= OWN_COST_MAX_NS)
        for what in ("nop", "read", "read_fixed")
    ]
    if max(sample.spread for sample in rows.values()) > WANDER_MAX:
        warnings.append("figures of one row lie far apart: more --rounds or a calmer machine")
    document = {"stand_in": stand_in.as_json(), "rows": {name: sample.as_json() for name, sample in rows.items()}}
    sentence = f"{rows['squall_read'].median:.1f} ns per read, {rows['squall_read_fixed'].median:.1f} per fixed read"
    if ratios["read"]:
        sentence += f": {ratios['read'].median:.2f} and {ratios['read_fixed'].median:.2f} of {peer}"
    return document, expectations, sentence


# --- NOPs through the kernel ----------------------------------------------------------------------------------------------


def nop_cost_report(results, warnings):
    context = results[0]["context"]
    processes = repetitions(results)
    rows = {name: Sample(process[name] for process in processes) for name in processes[0]}
    peer = named(context)
    print(f"ns per NOP through the kernel; {peer}'s quickest way, which is named")
    print(f"{'batch':<7}{'squall':<16}{peer:<16}{'squall / ' + peer:<25}quickest way")
    expectations, sentence, document = [], "", {"rows": {name: sample.as_json() for name, sample in rows.items()}}
    document["ratios"] = {}
    for batch in (1, 32, 128):
        mine = rows[f"squall_poll/{batch}"]
        ways = [name for name in rows if name.startswith("liburing_") and name.endswith(f"/{batch}")]
        if not ways:
            print(f"{batch:<7}{mine.text(1):<16}-")
            continue
        way = min(ways, key=lambda name: rows[name].median)
        ratio = mine.over(rows[way])
        document["ratios"][str(batch)] = {"against": way, **ratio.as_json()}
        called = way.split("/")[0].replace("liburing", "io_uring")
        print(f"{batch:<7}{mine.text(1):<16}{rows[way].text(1):<16}{ratio.text(3):<25}{called}")
        if batch == 32:
            expectations.append(
                (f"batch 32: at most {NOP_COST_MAX} of {peer}", f"{ratio.median:.3f}", ratio.median <= NOP_COST_MAX)
            )
            sentence = f"{mine.median:.1f} ns per NOP, 32 at a time: {ratio.median:.2f} of {peer}"
    if not sentence:
        sentence = f"{rows['squall_poll/32'].median:.1f} ns per NOP, 32 at a time; there is no liburing to compare with"
    if max(sample.spread for sample in rows.values()) > WANDER_MAX:
        warnings.append("figures of one row lie far apart: more --rounds or a calmer machine")
    return document, expectations, sentence


REPORTS = {"fixed-buffers": fixed_report, "own-cost": own_cost_report, "nop-cost": nop_cost_report}


def main(question, warnings_file, json_file, *files):
    results = [json.load(open(file, encoding="utf-8")) for file in files]
    if not results:
        raise Failure("there is no result to report")
    for result in results:
        for run in result["benchmarks"]:
            if run.get("error_occurred"):
                raise Failure(f"{run['name']}: {run['error_message']}")
    warnings = list(dict.fromkeys(line.strip() for line in open(warnings_file, encoding="utf-8")))
    check_build(results[0]["context"], warnings)
    document, expectations, sentence = REPORTS[question](results, warnings)

    print()
    for rule, found, is_met in expectations:
        print(f"expected  {rule}: {found}, {met(is_met)}")
    for warning in warnings:
        print(textwrap.fill(warning, 100, initial_indent="warning   ", subsequent_indent=" " * 10, break_long_words=False))
    if expectations:
        sentence = ("as" if all(is_met for _, _, is_met in expectations) else "NOT as") + " expected: " + sentence
    if warnings:
        sentence += f"; {len(warnings)} warning{'s' if len(warnings) > 1 else ''}"
    if json_file != "-":
        document = {
            "question": question,
            "machine": {"kernel": " ".join(os.uname()[i] for i in (0, 2, 4)), "processes": len(results)},
            **document,
            "expectations": [{"rule": rule, "found": found, "met": is_met} for rule, found, is_met in expectations],
            "warnings": warnings,
            "verdict": sentence,
            "results": results,
        }
        with open(json_file, "w", encoding="utf-8") as out:
            json.dump(document, out, indent=1)
            out.write("\n")
        print(f"JSON      {json_file}")
    print(f"bench/run: {sentence}")


try:
    main(*sys.argv[1:])
except (Failure, OSError, ValueError, KeyError) as error:
    what = f"no {error}" if isinstance(error, KeyError) else error
    sys.exit(f"bench/report.py: {what}")
