# SPDX-License-Identifier: MIT
#
# What every operation costs through the ring, one at a time and 32 at once, over the system call that does the same, and
# what follows from it: which operations to queue and which to call, on this machine and file system. CPU time is that of
# the process with the kernel's workers; where they had a share of it, the kernel did not do the operation in place.
from statistics import median

from machine import mount_of
from sample import WANDER_MAX, Answer, Sample

WAYS = {"call": ("system call", 1), "1": ("squall", 1), "32": ("squall", 32)}
NUMBERS = ("time", "cpu", "worker_share", "sleeps", "switches")

WORKER_SHARE = 0.05  # of the CPU time, above which workers had a part in it: in place it is 0
WORKER_SWITCHES = 1.5  # per operation, one at a time, where they do all: their waking and their going back to sleep
SLEEPS = 0.5  # of a call that waits for the device; others do not sleep
SAME = 1.15  # CPU time over the call's, up to which the ring costs nothing to speak of
DEAR = 1.4  # and from which, 32 at once, it is worth a second way of doing it
ADVICE = {"queue": "queue", "queue several": "queue several at once of", "either": "either for", "call": "call"}


def rows_of(results):
    """operation -> way -> number -> Sample of the processes' medians, in the order in which they were registered."""
    rows, order = {}, {}
    for result in results:
        found = {}
        for run in result["benchmarks"]:
            if run["run_type"] == "iteration":
                name, way = run["name"].split("/")[:2]
                order.setdefault(name, run["family_index"])
                for number in NUMBERS:
                    found.setdefault((name, way, number), []).append(run[number])
        for (name, way, number), values in found.items():
            rows.setdefault(name, {}).setdefault(way, {}).setdefault(number, []).append(median(values))
    return {
        name: {way: {number: Sample(values) for number, values in rows[name][way].items()} for way in WAYS}
        for name in sorted(rows, key=order.get)
    }


def done(ways):
    """Who did what was queued: the kernel on the submitting thread, or a thread of the kernel's."""
    if max(ways[way]["worker_share"].median for way in ("1", "32")) <= WORKER_SHARE:
        return "in place"
    return "by a worker" if ways["1"]["switches"].median > WORKER_SWITCHES else "some by a worker"


def waits(call):
    return call["sleeps"].median > SLEEPS


def advice(ways):
    """A key of ADVICE. A call that waits holds up its thread, whatever it costs; of others, what costs less CPU time."""
    call = ways["call"]
    alone, together = (ways[way]["cpu"].over(call["cpu"]).median for way in ("1", "32"))
    if waits(call) or alone <= SAME:
        return "queue"
    if together <= SAME:
        return "queue several"
    return "call" if together >= DEAR else "either"


def sentence_of(rows):
    """Operations by advice; those that have one advice for all of their kinds by the first word alone."""
    given = {name: advice(ways) for name, ways in rows.items()}
    named = {what: [] for what in ADVICE}
    for name, what in given.items():
        word = name.split(",")[0]
        alike = {given[other] for other in rows if other.split(",")[0] == word} == {what}
        named[what].append(word if alike else name.replace(", ", " "))
    return "; ".join(f"{ADVICE[what]} {', '.join(dict.fromkeys(names))}" for what, names in named.items() if names)


def say_table(found, rows, title, number, unit, columns):
    """columns: heading -> text of a row."""
    found.say(title)
    heading = f"{'':<27}{'call':>8}{'ring, 1':>10}  {'ratio':<13}{'ring, 32':>9}  {'ratio':<13}"
    found.say(heading + "".join(f"{name:<{width}}" for name, (width, _) in columns.items()).rstrip())
    digits = 0 if unit == 1 else 1
    for name, ways in rows.items():
        call, alone, together = (ways[way][number] for way in WAYS)
        cells = [f"{sample.median / unit:,.{digits}f}" for sample in (call, alone, together)]
        line = (f"{name:<27}{cells[0]:>8}{cells[1]:>10}  {alone.over(call).text():<13}{cells[2]:>9}"
                f"  {together.over(call).text():<13}")
        found.say((line + "".join(f"{text(ways):<{width}}" for width, text in columns.values())).rstrip())
    found.say()


def answer(results, warnings):
    found = Answer()
    rows = rows_of(results)
    kind = mount_of(results[0]["context"]["dir"])[2]
    found.say(f"on {kind}: 4 KiB each, all names and cached pages in memory; medians of {len(results)} processes")
    found.say()
    say_table(found, rows, "CPU time per operation with the kernel's workers, ns; switches of threads per operation, one at a"
              " time", "cpu", 1, {
                  "switches": (10, lambda ways: f"{ways['1']['switches'].median:.1f}"),
                  "done": (0, done),
              })
    say_table(found, rows, "time per operation, us", "time", 1e3, {"better": (0, advice)})
    found.say(f"queue: a call sleeps until the device is done, or costs as much as the ring (within {SAME}); queue several: so"
              " does one of 32 at once;")
    found.say(f"call: even one of 32 at once costs {DEAR} times the call")

    for name, ways in rows.items():
        for way, (peer, at_once) in WAYS.items():
            labels = {"op": name, "peer": peer, "at once": at_once}
            found.figure("CPU time", "ns/op", "less", ways[way]["cpu"], **labels)
            found.figure("time", "ns/op", "less", ways[way]["time"], **labels)
            found.figure("context switches", "per op", None, ways[way]["switches"], **labels)
            found.figure("workers' share of the CPU time", "", None, ways[way]["worker_share"], **labels)
    if (spread := median(ways[way]["cpu"].spread for ways in rows.values() for way in WAYS)) > WANDER_MAX:
        warnings.append(f"figures of one row lie ±{spread:.0%} apart: more --rounds or a calmer machine")
    found.sentence = f"on {kind}, {sentence_of(rows)}"
    return found
