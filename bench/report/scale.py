# SPDX-License-Identifier: MIT
#
# Whether the cost of an operation stays the same when there is more of everything. A row's growth is what the last column
# costs over what the column that it is compared with costs; where there is a row of plain system calls, whose growth
# is the kernel's, squall's is judged beside it.
from statistics import median

from sample import Answer, Sample, warn_if_wandering

GROWTH_MAX = 1.25

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
    return points[max(points)].median / points[min(points)].median


def over_cheapest(points):
    return points[max(points)].median / min(sample.median for sample in points.values())


def over_64_mib(points):
    return points[max(points)].median / points[min(64, max(points))].median


def thirds(points):
    """The last three over the first three, since each was measured once."""
    values = [points[x].median for x in sorted(points)]
    return median(values[-3:]) / median(values[:3])


def digits(value):
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def table(found, title, unit, rows, growth, x_text=str):
    """Says a table, notes its figures, and returns the growth of each row."""
    found.say(f"{title}, {unit}")
    columns = sorted({x for points in rows.values() for x in points})
    found.say(f"{'':<32}" + "".join(f"{x_text(x):>9}" for x in columns) + "   growth")
    grown = {}
    for name, points in rows.items():
        grown[name] = growth(points)
        cells = "".join(f"{digits(points[x].median) if x in points else '-':>9}" for x in columns)
        found.say(f"  {name:<30}{cells}{grown[name]:>9.2f}")
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


def judge(found, what, grown, control=None):
    """Expects no growth beyond the control's."""
    name, most = max(grown.items(), key=lambda item: item[1])
    allowed = GROWTH_MAX * max(control or 1.0, 1.0)
    beside = f" beside {control:.2f} of plain system calls" if control else ""
    found.expect(f"{what}: cost grows to at most {allowed:.2f}{beside}", f"{most:.2f} ({name})", most <= allowed)
    return [f"{what} ({name}: {most:.2f})"] if most > allowed else []


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
    superlinear = judge(found, "a larger arena, each read", grown)
    for number, what in ARENA_STEPS.items():
        costs = {name: samples(points, number, lambda mib: 1e-6 * 1024 / mib) for name, points in series.items()}
        grown = table(found, what, "ms per GiB", costs, over_64_mib, mib_text)
        if number == "create":
            superlinear += judge(found, "a larger arena, registering a GiB of it", grown)
    return superlinear


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
    superlinear = []
    for step in STEPS:
        superlinear += judge(found, f"more files, {step}", {step: grown[f"{step}, squall"]}, grown[f"{step}, {CONTROL}"])
    return superlinear


def answer(results, warnings):
    found = Answer()
    parts, skipped = runs_of(results)
    superlinear = []
    for part, tell in (("rings", rings), ("depth", depth), ("arena", arena), ("files", files)):
        if part in parts:
            superlinear += tell(found, parts[part])
    for what, why in skipped.items():
        found.say(f"left out: {what}: {why}")
    spreads = [samples(points, "cpu") for name in ("rings", "depth") for points in parts.get(name, {}).values()]
    warn_if_wandering([sample for points in spreads for sample in points.values()], warnings)
    found.sentence = "nothing costs more where there is more of it"
    if superlinear:
        found.sentence = "superlinear: " + "; ".join(superlinear)
    return found
