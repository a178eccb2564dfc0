# SPDX-License-Identifier: MIT
#
# Whether the cost of an operation stays the same when there is more of everything. A row's growth is what the last column
# costs over what the column that it is compared with costs; where there is a row of plain system calls, its growth is the
# kernel's, and stands beside squall's.
from sample import Answer, Sample, warn_if_wandering
from verdict import EXPLAINED, listing, verdict, words

GROWTH_MAX = 1.25  # what squall's developers expect

ARENA_STEPS = {"arena": "making an arena", "create": "registering it (Io::create)", "destroy": "letting go of it (~Io)"}
STEPS = ("open", "write", "close", "rename", "unlink")
CONTROL = "system calls"


def runs_of(results):
    """part -> series -> x -> its runs, one of each process; and what was left out, with its reason."""
    found, skipped = {}, {}
    for result in results:
        for run in result["benchmarks"]:
            part, series, *rest = [word for word in run["name"].split("/") if ":" not in word and word != "real_time"]
            if run.get("error_occurred"):
                skipped[f"{series}, {rest[-1]}"] = run["error_message"].removeprefix("skipped: ")
                continue
            x = run["threads"] if part == "rings" else int(rest[-1])
            series = f"{series}/{rest[0]}" if part == "files" else series
            found.setdefault(part, {}).setdefault(series, {}).setdefault(x, []).append(run)
    return {
        part: {name: dict(sorted(points.items())) for name, points in sorted(series.items())}
        for part, series in found.items()
    }, skipped


def samples(points, number, scale=lambda x: 1.0):
    """x -> Sample of a run's number, times scale(x)."""
    return {x: Sample(run[number] * scale(x) for run in runs) for x, runs in points.items()}


def over_first(points):
    return points[max(points)].over(points[min(points)])


def over_cheapest(points):
    return points[max(points)].over(min(points.values(), key=lambda sample: sample.median))


def over_64_mib(points):
    return points[max(points)].over(points[min(64, max(points))])


def thirds(points):
    """The last three over the first three, since each was measured once."""
    values = [points[x].median for x in sorted(points)]
    return Sample(values[-3:]).over(Sample(values[:3]))


def digits(value):
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def table(found, title, unit, rows, growth, x_text=str):
    """Says a table, notes its figures, and returns the growth of each row, a Sample."""
    found.say(f"{title}, {unit}")
    columns = sorted({x for points in rows.values() for x in points})
    found.say(f"{'':<32}" + "".join(f"{x_text(x):>9}" for x in columns) + "   growth")
    grown = {}
    for name, points in rows.items():
        grown[name] = growth(points)
        cells = "".join(f"{digits(points[x].median) if x in points else '-':>9}" for x in columns)
        found.say(f"  {name:<30}{cells}{grown[name].median:>9.2f}")
        for x, sample in points.items():
            found.figure(title, unit, "less", sample, series=name, x=x)
    found.say()
    return grown


def rates(found, title, rows, x_text=str):
    found.say(f"{title}, thousand operations per second")
    columns = sorted({x for points in rows.values() for x in points})
    found.say(f"{'':<32}" + "".join(f"{x_text(x):>9}" for x in columns))
    for name, points in rows.items():
        found.say(f"  {name:<30}" + "".join(f"{digits(points[x].median) if x in points else '-':>9}" for x in columns))
        for x, sample in points.items():
            found.figure(f"{title}: rate", "thousand op/s", "more", sample, series=name, x=x)
    found.say()


def per_second(series):
    return {name: samples(points, "items_per_second", lambda _: 1e-3) for name, points in series.items()}


def judge(found, what, grown, control=None, unit="CPU time"):
    """Tells how each row has grown, and returns those that grow more than the control does; expects no growth beyond its."""
    beside = f"; plain system calls {control.median:.2f}" if control else ""
    more = []
    for name, growth in grown.items():
        one = verdict(growth)
        found.tell(f"  {what}, {name}: {words(one, unit, more='costs more')}{beside}")
        if one.kind == "more" and (not control or verdict(growth.over(control)).kind == "more"):
            more.append(f"{what} ({name}: {one.median:.2f}{beside})")
    name, most = max(((name, growth.median) for name, growth in grown.items()), key=lambda item: item[1])
    allowed = GROWTH_MAX * max(control.median if control else 1.0, 1.0)
    rule = f"{what}: cost grows to at most {allowed:.2f}"
    found.expect(rule + (f" beside {control.median:.2f} of plain system calls" if control else ""),
                 f"{most:.2f} ({name})", most <= allowed)
    return more


def rings(found, series):
    title = "CPU time per operation, by rings (one per CPU)"
    costs = {name: samples(points, "cpu") for name, points in series.items()}
    control = "pread(2), one file"
    grown = table(found, title, "ns", costs, over_first)
    rates(found, "by rings (one per CPU)", per_second(series))
    return judge(found, "more rings", {name: by for name, by in grown.items() if name != control}, grown[control])


def depth(found, series):
    title = "CPU time per read of 4 KiB, by reads in flight"
    grown = table(found, title, "ns", {name: samples(points, "cpu") for name, points in series.items()}, over_cheapest)
    rates(found, "by reads in flight", per_second(series))
    return judge(found, "more in flight", grown)


def count_text(count):
    return f"{count / 1000:g}k"


def mib_text(mib):
    return f"{mib >> 10} GiB" if mib >= 1024 else f"{mib} MiB"


def arena(found, series):
    title = "CPU time per fixed read of 4 KiB, by size of the arena"
    costs = {name: samples(points, "cpu") for name, points in series.items()}
    grown = table(found, title, "ns", costs, over_64_mib, mib_text)
    dearer = judge(found, "a larger arena, each read", grown)
    for number, what in ARENA_STEPS.items():
        costs = {name: samples(points, number, lambda mib: 1e-6 * 1024 / mib) for name, points in series.items()}
        grown = table(found, what, "ms per GiB", costs, over_64_mib, mib_text)
        if number == "create":
            dearer += judge(found, "a larger arena, registering a GiB of it", grown, unit="time")
    return dearer


def files(found, series):
    rows = {}
    for name, points in series.items():
        side, phase = name.split("/")
        for step in ("open", "write", "close") if phase == "create" else (phase,):
            rows[step, side] = points
    rows = {key: rows[key] for key in sorted(rows, key=lambda key: (STEPS.index(key[0]), key[1] == CONTROL))}
    costs = {f"{step}, {side}": samples(points, f"{step}_cpu", lambda _: 1e-3) for (step, side), points in rows.items()}
    rate = {
        f"{step}, {side}": {x: Sample(1e6 / run[step] for run in runs) for x, runs in points.items()}
        for (step, side), points in rows.items()
    }
    title = "CPU time per file, after so many files, the kernel's workers included"
    grown = table(found, title, "us", costs, thirds, count_text)
    rates(found, "after so many files", rate, count_text)
    dearer = []
    for step in STEPS:
        dearer += judge(found, "more files", {step: grown[f"{step}, squall"]}, grown[f"{step}, {CONTROL}"])
    return dearer


def answer(results, warnings):
    found = Answer()
    parts, skipped = runs_of(results)
    found.tell("Does an operation cost more where there is more of everything? Its CPU time at the right of the table over that"
               " at the left; with reads in flight over the cheapest, with an arena over one of 64 MiB, with files the last"
               f" three over the first three, which were measured once. {EXPLAINED}")
    dearer = []
    for part, tell in (("rings", rings), ("depth", depth), ("arena", arena), ("files", files)):
        if part in parts:
            dearer += tell(found, parts[part])
    for what, why in skipped.items():
        found.say(f"left out: {what}: {why}")
    spreads = [samples(points, "cpu") for name in ("rings", "depth") for points in parts.get(name, {}).values()]
    warn_if_wandering([sample for points in spreads for sample in points.values()], warnings)
    found.sentence = "with more rings, operations in flight, arena and files nothing was seen to cost more for each"
    if dearer:
        found.sentence = f"dearer for each where there is more of it: {listing(dearer)}"
    return found
