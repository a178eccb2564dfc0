# SPDX-License-Identifier: MIT
#
# Reads into fixed against unregistered buffers, by size, out of the page cache and with O_DIRECT, on ordinary and on
# huge pages: for which of them fixed buffers are worth it on this machine, what huge pages add, and what is left when the
# bytes are copied out. A ratio is taken within each process. CPU time decides, since a device that is the limit hides the
# gain from IOPS.
import os
from statistics import median

from sample import WANDER_MAX, Answer, Failure, Sample, size_text
from verdict import EXPLAINED, amount, listing, unseen, verdict, words

PAGE = f"{os.sysconf('SC_PAGE_SIZE') // 1024} KiB"
KINDS = {"page_cache": "page cache", "direct": "O_DIRECT"}

# What squall's developers expect on an ordinary x86-64 machine. A device or a CPU may be such that it cannot be.
PAGE_CACHE_MIN = 1.10  # 4 KiB, page cache: IOPS, or the inverse of CPU time, of fixed over unregistered
DIRECT_MAX = 0.60  # 128 KiB, O_DIRECT: CPU time of fixed on huge pages over unregistered on ordinary pages

WORKERS_MAX = 0.05  # this share of the CPU time spent by io-wq workers is worth a warning
RESIDENT_MIN = 0.999  # and so is less than this of the file in the page cache

BUFFERS = ("unregistered", "fixed", "copied")  # copied: fixed, and then a memcpy
COUNTERS = ("enters_per_op", "fixed_share", "io_worker_share", "resident_share", "io_workers")


def rows_asked_for(result):
    """The names of the rows of one process: all of one kind."""
    kinds = {run["name"].split("/")[0] for run in result["benchmarks"]}
    if len(kinds) != 1:
        raise Failure(f"a process has rows of {listing(sorted(kinds)) if kinds else 'nothing'}: it must be of one kind")
    context = result["context"]
    ways = ["base/unregistered", "base/fixed", "base/copied"]
    if context["huge_pages"] != "none":
        ways += ["huge/unregistered", "huge/fixed"]
    return [f"{kind}/{size}/{way}" for kind in kinds for size in context["sizes"].split(",") for way in ways]


def rows_of(results):
    runs = {}
    for result in results:
        found = {}
        for run in result["benchmarks"]:
            kind, size, pages, buffers = run["name"].split("/")[:4]
            if run["fixed_share"] != (0.0 if buffers == "unregistered" else 1.0):
                raise Failure(f"{run['name']}: {run['fixed_share']:.0%} of its transfers were fixed")
            if run["cpu_time"] <= 0 or run["real_time"] <= 0:
                raise Failure(f"{run['name']}: it took no time, so nothing was measured")
            found[f"{kind}/{size}/{pages}/{buffers}"] = run
        asked_for = rows_asked_for(result)
        if lacking := [name for name in asked_for if name not in found]:
            raise Failure(f"{len(lacking)} of {len(asked_for)} rows are lacking: {', '.join(lacking)}")
        for name, run in found.items():
            kind, size, pages, buffers = name.split("/")
            runs.setdefault((kind, int(size), pages, buffers), []).append(run)
    keys = sorted(runs, key=lambda key: (key[0] != "page_cache", key[1], key[2] != "base", BUFFERS.index(key[3])))
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


def ratio(rows, figure, kind, size, mine, theirs):
    """Sample of the ratio of two rows, each "pages/buffers"; None where one of them is lacking."""
    sides = [rows.get((kind, size, *way.split("/"))) for way in (mine, theirs)]
    return sides[0][figure].over(sides[1][figure]) if all(sides) else None


def ratios_of(rows):
    """(kind, size) -> the five ratios of fixed over unregistered that the table shows, None where there is none."""
    return {
        (kind, size): {
            "iops_base": ratio(rows, "iops", kind, size, "base/fixed", "base/unregistered"),
            "iops_huge": ratio(rows, "iops", kind, size, "huge/fixed", "huge/unregistered"),
            "cpu_base": ratio(rows, "cpu_ns", kind, size, "base/fixed", "base/unregistered"),
            "cpu_huge": ratio(rows, "cpu_ns", kind, size, "huge/fixed", "huge/unregistered"),
            "cpu_huge_over_base": ratio(rows, "cpu_ns", kind, size, "huge/fixed", "base/unregistered"),
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


# --- In words ---------------------------------------------------------------------------------------------------------


def where_text(keys, every):
    """"page-cache reads of 4 KiB and O_DIRECT reads of 64 KiB to 1 MiB": neighbours among the sizes measured are a range."""
    parts = []
    for kind in KINDS:
        sizes = [size for one, size in keys if one == kind]
        measured = [size for one, size in every if one == kind]
        if not sizes:
            continue
        runs = []
        for size in sizes:
            if runs and measured.index(size) == measured.index(runs[-1][-1]) + 1:
                runs[-1].append(size)
            else:
                runs.append([size])
        spans = [size_text(run[0]) + (f" to {size_text(run[-1])}" if len(run) > 1 else "") for run in runs]
        parts.append(f"{KINDS[kind].replace('page cache', 'page-cache')} reads of {listing(spans)}")
    return listing(parts)


def grouped(verdicts):
    """Of (kind, size) -> Verdict: the keys of each of the three, and apart from them those of which nothing is known."""
    groups = {kind: [] for kind in ("less", "same", "vague", "more")}
    for key, one in verdicts.items():
        groups["vague" if one.is_vague else one.kind].append(key)
    return groups


def group_text(kind, keys, verdicts):
    """Which reads they are, and the most that is among them."""
    if kind in ("same", "vague"):
        return f"{where_text(keys, verdicts)} ({unseen(verdicts[key] for key in keys)})"
    most = (min if kind == "less" else max)(keys, key=lambda key: verdicts[key].median)
    where = f" at {size_text(most[1])}" if len(keys) > 1 else ""
    where += f" {KINDS[most[0]]}" if len({key[0] for key in keys}) > 1 else ""
    return f"{where_text(keys, verdicts)} ({amount(verdicts[most].median, 'CPU time')}{where})"


def tell_grouped(found, verdicts, less):
    says = {"less": less, "same": "no difference seen", "vague": "no difference seen", "more": "costs more"}
    for kind, keys in grouped(verdicts).items():
        if keys:
            found.tell(f"  {says[kind]}: {group_text(kind, keys, verdicts)}")


def rate_words(iops, is_of_note):
    """What a reader may want to know beside the CPU time."""
    if iops.kind != "same":
        return f"; reads a second: {iops.figures()}"
    return "; no difference seen in reads a second" if is_of_note else ""


def tell_fixed(found, rows, verdicts):
    found.tell(f"Are fixed buffers worth it here? CPU time per read, fixed over unregistered, both on {PAGE} pages.")
    found.tell(EXPLAINED)
    for (kind, size), one in verdicts.items():
        iops = verdict(ratio(rows, "iops", kind, size, "base/fixed", "base/unregistered"))
        says = words(one, "CPU time", less="worth it", more="costs more")
        found.tell(f"  {KINDS[kind]:<11} {size_text(size):<8} {says}{rate_words(iops, one.kind != 'same')}")


def tell_huge(found, added, alone, huge):
    if not added:
        found.tell("What huge pages would add is not known: there were none (see the warning).")
        return
    found.tell(f"What do huge pages ({huge}) under fixed buffers add? Fixed on them over fixed on {PAGE} pages.")
    tell_grouped(found, added, "they save more")
    found.tell("And where the memory lies on huge pages anyway? Fixed over unregistered, both on them.")
    tell_grouped(found, alone, "worth it")


def tell_price(found, verdicts, context):
    sizes = [int(size) for size in context["sizes"].split(",")]
    most = int(context["depth"]) * max(sizes)
    found.tell(
        "What does an arena cost? Its memory is locked, once for each Io that it is given to, and counts against"
        f" RLIMIT_MEMLOCK without CAP_IPC_LOCK: here {context['depth']} buffers of {size_text(max(sizes))},"
        f" {most / (1 << 20):.3g} MiB. And it pays in place, where the engine works on the bytes in the arena. If each read is"
        " copied to where the engine wants it, over an unregistered read to there:"
    )
    tell_grouped(found, verdicts, "still worth it")


def sentence(fixed, added):
    says = {"less": "are worth it for", "same": "make no difference that shows for", "more": "cost more for"}
    says["vague"] = says["same"]
    clauses = [f"{says[kind]} {group_text(kind, keys, fixed)}" for kind, keys in grouped(fixed).items() if keys]
    text = f"here fixed buffers {listing(clauses)}"
    if more := grouped(added)["less"]:
        text += f"; huge pages under them save more for {where_text(more, added)}"
    return text


def tell(found, rows, context):
    keys = dict.fromkeys(key[:2] for key in rows)

    def verdicts(mine, theirs):
        ratios = {key: ratio(rows, "cpu_ns", *key, mine, theirs) for key in keys}
        return {key: verdict(one) for key, one in ratios.items() if one}

    fixed, added = verdicts("base/fixed", "base/unregistered"), verdicts("huge/fixed", "base/fixed")
    tell_fixed(found, rows, fixed)
    tell_huge(found, added, verdicts("huge/fixed", "huge/unregistered"), context["huge_pages"])
    tell_price(found, verdicts("base/copied", "base/unregistered"), context)
    found.sentence = sentence(fixed, added)


def expect(found, ratios):
    if row := ratios.get(("page_cache", 4096)):
        best = max(row["iops_base"].median, 1 / row["cpu_base"].median)
        rule = f"page cache, 4 KiB: fixed at least {PAGE_CACHE_MIN:.2f}x in IOPS or in CPU"
        found.expect(rule, f"{best:.2f}x", best >= PAGE_CACHE_MIN)
    row = ratios.get(("direct", 131072))
    if row and row["cpu_huge_over_base"]:
        cpu = row["cpu_huge_over_base"].median
        rule = f"O_DIRECT, 128 KiB: CPU, huge / {PAGE} *, at most {DIRECT_MAX:.2f}"
        found.expect(rule, f"{cpu:.2f}", cpu <= DIRECT_MAX)


def answer(results, warnings):
    found = Answer()
    context = results[0]["context"]
    rows = rows_of(results)
    add_warnings(rows, warnings)
    huge = {"hugetlb": "hugetlb", "transparent": "huge", "none": ""}[context["huge_pages"]]
    page_names = {"base": PAGE, "huge": huge}
    if not any(kind == "page_cache" for kind, *_ in rows):
        raise Failure("no process read out of the page cache")

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
    tell(found, rows, context)
    expect(found, ratios)

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
