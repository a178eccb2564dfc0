# SPDX-License-Identifier: MIT
#
# The page's part on NOPs through the kernel, by batch.
from plot import Figures, Plot, Section, Series


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
