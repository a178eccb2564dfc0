# SPDX-License-Identifier: MIT
#
# The page's part on squall and its peers: for each cell transfers per second, CPU time and latency of everyone.
from plot import Figures, Plot, Section, Series
from sample import size_text

CELL = ("op", "kind", "size", "depth", "batch")
PERCENTILES = ("50", "99", "99.9", "99.99")


def cells_of(figures):
    """The cells that were measured, as labels."""
    found = {tuple(figure["labels"][label] for label in CELL) for figure in figures.all}
    order = sorted(found, key=lambda cell: (cell[0] != "read", cell[1] == "O_DIRECT", *cell[2:]))
    return [dict(zip(CELL, cell)) for cell in order]


def is_squall(peer):
    return peer.startswith("squall")


def bars(figures, cell, name, title, caption, unit):
    samples = {peer: figures.samples(name, "peer", peer=peer, **cell).get(peer) for peer in figures.labels(name, "peer")}
    series = [
        Series(side, side, [(peer, sample) for peer, sample in samples.items() if sample and is_squall(peer) == (side == "squall")])
        for side in ("squall", "others")
    ]
    series = [one for one in series if one.points]
    return Plot(title, caption, "", f"{name}{unit}", series, kind="bars") if series else None


def latencies(figures, cell):
    """Of squall, liburing and pread alone: more lines could not be told apart."""
    series = []
    for peer, colour in (("squall files", "squall"), ("liburing best", "liburing"), ("libaio", "libaio"), ("pread pool", "pread")):
        points = []
        for percentile in PERCENTILES:
            sample = figures.samples(f"latency p{percentile}", "peer", peer=peer, **cell).get(peer)
            if sample:
                points.append((float(percentile), sample))
        if len(points) > 1:
            series.append(Series(peer, colour, points))
    caption = "From queueing to hand-out, in runs of their own. Those who queue in batches wait for each other; less is better."
    return Plot("Latency", caption, "percentile", "us", series, x_scale="percentile", x_text="{:g}".format, y_log=True) if series else None


def section(documents):
    figures = Figures(documents[:1])
    groups = []
    for cell in cells_of(figures):
        heading = (
            f"{cell['kind']} {cell['op']}, {size_text(cell['size'])}, {cell['depth']} in flight,"
            f" {cell['batch']} queued at a time"
        )
        plots = [
            bars(figures, cell, "IOPS", "Transfers per second", "More is better; one who has several threads may use all CPUs.", ""),
            bars(figures, cell, "CPU time", "CPU time per transfer", "Of all threads, kernel threads of the rings included;"
                 " less is better.", ", ns"),
            latencies(figures, cell),
        ]
        groups.append((heading, [plot for plot in plots if plot]))
    lead = (
        "The same transfers by every way that Linux has, each written as those who know it would, in processes of their own"
        " that take turns."
    )
    return Section("squall beside its peers", lead, documents, groups)
