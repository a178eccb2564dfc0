# SPDX-License-Identifier: MIT
#
# Reads into fixed against unregistered buffers, by size, out of the page cache and with O_DIRECT, on ordinary and on
# huge pages. A ratio is taken within each process.
import os
from statistics import median

from sample import WANDER_MAX, Answer, Failure, Sample, size_text

PAGE = f"{os.sysconf('SC_PAGE_SIZE') // 1024} KiB"
KINDS = {"page_cache": "page cache", "direct": "O_DIRECT"}

# What squall promises of itself on an ordinary x86-64 machine. A device or a CPU may be such that it cannot be.
PAGE_CACHE_MIN = 1.10  # 4 KiB, page cache: IOPS, or the inverse of CPU time, of fixed over unregistered
DIRECT_MAX = 0.60  # 128 KiB, O_DIRECT: CPU time of fixed on huge pages over unregistered on ordinary pages

WORKERS_MAX = 0.05  # this share of the CPU time spent by io-wq workers is worth a warning
RESIDENT_MIN = 0.999  # and so is less than this of the file in the page cache

COUNTERS = ("enters_per_op", "fixed_share", "io_worker_share", "resident_share", "io_workers")


def rows_of(results):
    runs = {}
    for result in results:
        for run in result["benchmarks"]:
            kind, size, pages, buffers = run["name"].split("/")[:4]
            if run["fixed_share"] != (1.0 if buffers == "fixed" else 0.0):
                raise Failure(f"{run['name']}: {run['fixed_share']:.0%} of its transfers were fixed")
            runs.setdefault((kind, int(size), pages, buffers), []).append(run)
    order = {"page_cache": 0, "base": 0, "unregistered": 0}
    keys = sorted(runs, key=lambda key: (order.get(key[0], 1), key[1], order.get(key[2], 1), order.get(key[3], 1)))
    return {
        key: {
            "iops": Sample(1e9 / run["real_time"] for run in runs[key]),
            "cpu_ns": Sample(run["cpu_time"] for run in runs[key]),
            **{name: Sample(run[name] for run in runs[key]) for name in COUNTERS},
        }
        for key in keys
    }


def add_warnings(rows, warnings):
    for kind, what in KINDS.items():
        shares = [row["io_worker_share"].median for key, row in rows.items() if key[0] == kind]
        if shares and max(shares) > WORKERS_MAX:
            warnings.append(
                f"{what}: io-wq workers of the kernel spent up to {max(shares):.0%} of the CPU time, so these rows measure"
                " them; the file system or the device cannot do without blocking"
            )
        spreads = [row["cpu_ns"].spread for key, row in rows.items() if key[0] == kind]
        if spreads and median(spreads) > WANDER_MAX:
            spread = f"±{median(spreads):.0%}"
            warnings.append(f"{what}: figures of one row lie {spread} apart: more --rounds or a calmer machine")
    resident = [row["resident_share"].median for key, row in rows.items() if key[0] == "page_cache"]
    if resident and min(resident) < RESIDENT_MIN:
        warnings.append(
            f"the page cache held no more than {min(resident):.1%} of what was read, so these rows also measure the device:"
            " more free memory or a smaller --span would help"
        )


def say_rows(found, rows, page_names):
    found.say("reads       size      pages    buffers            IOPS  spread  CPU ns/op  spread  enters/op  fixed")
    last = None
    for (kind, size, pages, buffers), row in rows.items():
        if last not in (None, (kind, size)):
            found.say()
        last = (kind, size)
        found.say(
            f"{KINDS[kind]:<11} {size_text(size):<9} {page_names[pages]:<8} {buffers:<13}{row['iops'].median:>10,.0f}"
            f" {'±' + format(row['iops'].spread, '.0%'):>7} {row['cpu_ns'].median:>10,.0f}"
            f" {'±' + format(row['cpu_ns'].spread, '.0%'):>7} {row['enters_per_op'].median:>10.3f}"
            f" {row['fixed_share'].median:>6.0%}"
        )


def ratios_of(rows):
    """(kind, size) -> the five ratios of fixed over unregistered that the table shows, None where there is none."""

    def ratio(figure, kind, size, pages, against_pages):
        mine, theirs = rows.get((kind, size, pages, "fixed")), rows.get((kind, size, against_pages, "unregistered"))
        return mine[figure].over(theirs[figure]) if mine and theirs else None

    return {
        (kind, size): {
            "iops_base": ratio("iops", kind, size, "base", "base"),
            "iops_huge": ratio("iops", kind, size, "huge", "huge"),
            "cpu_base": ratio("cpu_ns", kind, size, "base", "base"),
            "cpu_huge": ratio("cpu_ns", kind, size, "huge", "huge"),
            "cpu_huge_over_base": ratio("cpu_ns", kind, size, "huge", "base"),
        }
        for kind, size in dict.fromkeys(key[:2] for key in rows)
    }


def say_ratios(found, ratios):
    found.say("fixed / unregistered   IOPS, more is better        CPU time per operation, less is better")
    found.say(f"{'':<22} {PAGE + ' pages':<13}{'huge pages':<15}{PAGE + ' pages':<13}{'huge pages':<15}huge / {PAGE} *")
    for (kind, size), row in ratios.items():
        cells = [sample.text() if sample else "-" for sample in row.values()]
        line = f"{KINDS[kind]:<11} {size_text(size):<10} "
        found.say((line + "".join(f"{cell:<{width}}" for cell, width in zip(cells, (13, 15, 13, 15, 13)))).rstrip())


def judge(found, ratios):
    clauses = []
    if row := ratios.get(("page_cache", 4096)):
        cpu, iops = row["cpu_base"].median, row["iops_base"].median
        best = max(iops, 1 / cpu)
        rule = f"page cache, 4 KiB: fixed at least {PAGE_CACHE_MIN:.2f}x in IOPS or in CPU"
        found.expect(rule, f"{best:.2f}x", best >= PAGE_CACHE_MIN)
        clauses.append(f"{cpu - 1:+.0%} at 4 KiB cached")
    row = ratios.get(("direct", 131072))
    if row and row["cpu_huge_over_base"]:
        cpu = row["cpu_huge_over_base"].median
        rule = f"O_DIRECT, 128 KiB: CPU, huge / {PAGE} *, at most {DIRECT_MAX:.2f}"
        found.expect(rule, f"{cpu:.2f}", cpu <= DIRECT_MAX)
        clauses.append(f"{cpu - 1:+.0%} at 128 KiB O_DIRECT")
    if not clauses:
        for kind, size in (min(ratios, key=lambda key: key[1]), max(ratios, key=lambda key: key[1])):
            clauses.append(f"{ratios[kind, size]['cpu_base'].median - 1:+.0%} at {size_text(size)} {KINDS[kind]}")
    found.sentence = "fixed: CPU " + ", ".join(dict.fromkeys(clauses))


def answer(results, warnings):
    found = Answer()
    context = results[0]["context"]
    rows = rows_of(results)
    add_warnings(rows, warnings)
    huge = {"hugetlb": "hugetlb", "transparent": "huge", "none": ""}[context["huge_pages"]]
    page_names = {"base": PAGE, "huge": huge}

    found.say(
        f"random reads of {context['span_mib']} MiB, {context['depth']} in flight, queued {context['batch']} at a time;"
        f" page cache filled {context['page_cache_filled']}"
    )
    found.say(f"medians of {len(results) // len({key[0] for key in rows})} processes")
    found.say()
    say_rows(found, rows, page_names)
    found.say()
    ratios = ratios_of(rows)
    say_ratios(found, ratios)
    if huge:
        found.say(f"* fixed on huge pages / unregistered on {PAGE} pages: all that an arena can bring")
    judge(found, ratios)

    depth, batch = int(context["depth"]), int(context["batch"])
    for (kind, size, pages, buffers), row in rows.items():
        labels = {"reads": KINDS[kind], "size": size, "pages": page_names[pages], "buffers": buffers,
                  "depth": depth, "batch": batch}
        found.figure("IOPS", "op/s", "more", row["iops"], **labels)
        found.figure("CPU time", "ns/op", "less", row["cpu_ns"], **labels)
        for name in COUNTERS:
            better = "less" if name == "enters_per_op" else None
            found.figure(name.replace("_", " "), "", better, row[name], **labels)
    return found
