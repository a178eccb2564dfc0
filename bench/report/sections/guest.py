# SPDX-License-Identifier: MIT
#
# The page's part on devices that are not the limit, in a guest.
from plot import Figures, Plot, Section, Series
from sample import size_text

NAME = "guest: reads a second"


def section(documents):
    figures = Figures(documents)
    groups = []
    for device in figures.labels(NAME, "device"):
        plots = []
        for size in sorted(figures.labels(NAME, "size")):
            series = []
            for peer in figures.labels(NAME, "peer"):
                points = []
                for buffers in ("unregistered", "fixed"):
                    ways = figures.samples(NAME, "way", peer=peer, device=device, size=size, buffers=buffers)
                    points += [(f"{way}, {buffers}", sample) for way, sample in ways.items()]
                if points:
                    series.append(Series(peer, "squall" if peer == "squall" else "kernel", points))
            if series:
                caption = "One core of a guest; where its processor is emulated, only the ratio of two bars means something."
                plots.append(Plot(f"{size_text(size)} reads", caption, "", "reads a second, more is better", series, "bars"))
        groups.append((device, plots))
    lead = "A device that answers at once, so that what is left is the kernel's and the library's own cost."
    return Section("A device that is not the limit", lead, documents, groups)
