# SPDX-License-Identifier: MIT
#
# NOPs through the kernel, against the quickest of the ways in which liburing can be driven.
from plot import Figures, Plot, Section, Series
from sample import Answer, Sample, liburing_name, repetitions, warn_if_wandering

# What squall promises of itself on an ordinary x86-64 machine: batch 32, squall over the quickest of liburing's ways.
MAX = 0.94


def answer(results, warnings):
    found = Answer()
    processes = repetitions(results)
    rows = {name: Sample(process[name] for process in processes) for name in processes[0]}
    peer = liburing_name(results[0]["context"])
    found.say(f"ns per NOP through the kernel; {peer}'s quickest way, which is named")
    found.say(f"{'batch':<7}{'squall':<16}{peer:<16}{'squall / ' + peer:<25}quickest way")
    for batch in sorted(int(name.split("/")[1]) for name in rows if name.startswith("squall_poll/")):
        mine = rows[f"squall_poll/{batch}"]
        ways = [name for name in rows if name.startswith("liburing_") and name.endswith(f"/{batch}")]
        if not ways:
            found.say(f"{batch:<7}{mine.text(1):<16}-")
            continue
        way = min(ways, key=lambda name: rows[name].median)
        ratio = mine.over(rows[way])
        called = way.split("/")[0].replace("liburing", "io_uring")
        found.say(f"{batch:<7}{mine.text(1):<16}{rows[way].text(1):<16}{ratio.text(3):<25}{called}")
        if batch == 32:
            found.expect(f"batch 32: at most {MAX} of {peer}", f"{ratio.median:.3f}", ratio.median <= MAX)
            found.sentence = f"{mine.median:.1f} ns per NOP, 32 at a time: {ratio.median:.2f} of {peer}"
    for name, sample in rows.items():
        way, batch = name.split("/")
        if way.startswith("liburing_"):
            labels = {"peer": peer, "way": way.replace("liburing", "io_uring")}
        else:
            labels = {"peer": "squall", "way": way.removeprefix("squall_")}
        found.figure("time per NOP", "ns/op", "less", sample, **labels, batch=int(batch))
    if not found.sentence:
        mine = rows["squall_poll/32"]
        found.sentence = f"{mine.median:.1f} ns per NOP, 32 at a time; there is no liburing to compare with"
    warn_if_wandering(rows.values(), warnings)
    return found


def section(documents):
    figures = Figures(documents)
    series = []
    for peer in figures.labels("time per NOP", "peer"):
        every_way = figures.labels("time per NOP", "way")
        ways = [figures.samples("time per NOP", "batch", peer=peer, way=way) for way in every_way]
        ways = [way for way in ways if way]
        points = [(batch, min((way[batch] for way in ways), key=lambda sample: sample.median)) for batch in ways[0]]
        series.append(Series(peer, peer, points))
    series.sort(key=lambda one: one.name != "squall")
    caption = "A NOP costs the kernel next to nothing, so this is what a ring costs. Of liburing, its quickest way at each."
    plots = [Plot("Time per NOP", caption, "NOPs queued per submission", "ns per NOP, less is better", series)]
    if len(series) == 2:
        mine, theirs = (dict(one.points) for one in series)
        ratios = [(batch, mine[batch].over(theirs[batch])) for batch in mine]
        best = min(ratios, key=lambda point: point[1].median)
        caption = f"1 is {series[1].name}; lower is better. squall does best at {best[0]}: {best[1].median:.2f}."
        plots.append(Plot(f"squall over {series[1].name}", caption, "NOPs queued per submission", "time per NOP, relative",
                          [Series("squall", "squall", ratios)], baseline=1))
    lead = "The same system calls from both, with nothing behind them."
    return Section("NOPs through the kernel", lead, documents, [("", plots)])
