# SPDX-License-Identifier: MIT
#
# The page's part on squall and its peers: how squall at its best compares with the best of the others in every cell, then
# for each cell transfers per second, CPU time and latency of everyone.
from plot import Figures, Plot, Section, Series
from sample import size_text

CELL = ("op", "kind", "size", "depth", "batch")
# Whose latencies are drawn, and in whose colour: more lines could not be told apart.
IN_CURVES = ("squall files", "liburing best", "libaio", "posix aio", "pread", "pread pool", "fio")
# Name of the figure: its unit, what of it is best, and words for it.
FIGURES = {
    "IOPS": ("transfers per second, more is better", max, "Transfers per second"),
    "CPU time": ("ns per transfer, less is better", min, "CPU time per transfer"),
}


def cells_of(figures):
    """The cells that were measured, as labels."""
    found = {tuple(figure["labels"][label] for label in CELL) for figure in figures.all}
    order = sorted(found, key=lambda cell: (cell[0] != "read", cell[1] == "O_DIRECT", *cell[2:]))
    return [dict(zip(CELL, cell)) for cell in order]


def is_squall(peer):
    return peer.startswith("squall")


def best_two(samples, best):
    """squall's best way and the best of the others, each (name, Sample); None where one of them is lacking."""
    sides = [{peer: one for peer, one in samples.items() if is_squall(peer) == side} for side in (True, False)]
    if not all(sides):
        return None
    return [best(side.items(), key=lambda item: item[1].median) for side in sides]


def in_order(figures, name, cell):
    """Everyone's samples, in the order in which the peers are always shown."""
    samples = figures.samples(name, "peer", **cell)
    return {peer: samples[peer] for peer in figures.labels(name, "peer") if peer in samples}


def overview(figures, cells):
    for name, (_, best, words) in FIGURES.items():
        points = []
        for cell in cells:
            if two := best_two(in_order(figures, name, cell), best):
                (_, mine), (_, theirs) = two
                points.append((f"{cell['kind']} {cell['op']}, {size_text(cell['size'])}, {cell['depth']} in flight",
                               mine.over(theirs)))
        if points:
            ratios = sorted(sample.median for _, sample in points)
            better = "more" if best is max else "less"
            caption = f"1 is the best of all others, in the same round; {better} is better."
            caption += f" squall has {ratios[0]:.2f} to {ratios[-1]:.2f} of it."
            yield Plot(f"{words}: squall at its best", caption, "", f"relative, {better} is better",
                       [Series("squall", "squall", points)], kind="bars", baseline=1)


def bars(figures, cell):
    for name, (unit, best, words) in FIGURES.items():
        samples = in_order(figures, name, cell)
        if not samples:
            continue
        caption = "All threads count, and the kernel's for the rings. "
        if best is max:
            caption = "Peers with several threads may use all CPUs. "
        if two := best_two(samples, best):
            (mine, own), (theirs, other) = two
            caption += f"Best of squall: {mine}, {own.over(other).median:.2f} of {theirs}, the best of the others."
        yield Plot(words, caption, "", unit, [Series("", "", list(samples.items()))], kind="bars")


def latencies(figures, cell):
    percentiles = [name.removeprefix("latency p") for name in figures.names() if name.startswith("latency p")]
    series = []
    for peer in IN_CURVES:
        found = [(float(one), figures.only(f"latency p{one}", peer=peer, **cell)) for one in percentiles]
        points = sorted((percentile, sample) for percentile, sample in found if sample)
        if len(points) > 1:
            series.append(Series(peer, peer, points, peer == "pread"))
    if series:
        caption = "From queueing to hand-out, in runs of their own. Those that queue in batches wait for each other."
        yield Plot("Latency", caption, "percentile", "us, less is better", series, x_scale="percentile",
                   x_text="{:g}".format, y_log=True)


def section(documents):
    figures = Figures(documents[:1])
    cells = cells_of(figures)
    groups = [("All cells", list(overview(figures, cells)))]
    for cell in cells:
        heading = (
            f"{cell['kind']} {cell['op']}, {size_text(cell['size'])}, {cell['depth']} in flight,"
            f" {cell['batch']} queued at a time"
        )
        groups.append((heading, [*bars(figures, cell), *latencies(figures, cell)]))
    lead = (
        "The same transfers by every way that Linux has, each written as those who know it would, in processes of their own"
        " that take turns. What each name means is below the table."
    )
    return Section("squall beside its peers", lead, documents, groups)
