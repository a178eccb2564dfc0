# SPDX-License-Identifier: MIT
#
# Draws plots as SVG, all in one manner: a colour and a mark per peer that are the same on the whole page and can be told
# apart by the colour-blind (the palette of Okabe and Ito), dark on light, error bars from the lowest process to the
# highest. Small enough to be read on a telephone at full width.
import io
import math
import textwrap

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402

BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, GREY = "#0072B2 #D55E00 #009E73 #E69F00 #CC79A7 #56B4E9 #6E6E6E".split()
MARKS = {BLUE: "o", VERMILION: "s", GREEN: "^", ORANGE: "D", PURPLE: "v", SKY: "P", GREY: "X"}
ROLES = {"fixed": BLUE, "unregistered": VERMILION, "copied": ORANGE, "second": SKY, "kernel": PURPLE, "nothing": GREY}
PEERS = {"squall": BLUE, "liburing": VERMILION, "fio": GREEN, "libaio": ORANGE, "pread": PURPLE, "posix": SKY, "preadv2": GREY}
INK = "#1f2328"
WIDTH = 4.3  # inches
LABEL_ROOM = 52  # letters below an axis

plt.rcParams.update({
    "svg.fonttype": "path",  # the same look wherever it is opened
    "svg.hashsalt": "squall",
    "font.size": 9, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8, "legend.fontsize": 8,
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": "#8c959f",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e3e6ea", "grid.linewidth": 0.8,
    "axes.axisbelow": True, "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
})


def colour_of(name, taken):
    """A role's or a peer's own colour; others get what is left, in their order."""
    for known, colour in (ROLES | PEERS).items():
        if name == known or name.startswith(known + " "):
            return colour
    if name not in taken:
        left = [colour for colour in (SKY, ORANGE, GREEN, PURPLE, GREY, VERMILION) if colour not in taken.values()]
        taken[name] = left[0] if left else GREY
    return taken[name]


def short(value, _position=None):
    """1234567 -> "1.23M"."""
    if value == 0:
        return "0"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit * 0.9995:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def ends(sample):
    """How far error bars go below and above the median."""
    return sample.median - min(sample.values), max(sample.values) - sample.median


def place(plot, x):
    if plot.x_scale == "doubling":
        return math.log2(x)
    if plot.x_scale == "percentile":
        return -math.log10(1 - x / 100)
    return x


def draw_curves(plot, axes, taken):
    places = sorted({place(plot, x) for series in plot.series for x, _ in series.points})
    breadth = places[-1] - places[0] or 1
    for number, series in enumerate(plot.series):
        colour = colour_of(series.colour, taken)
        # Error bars of neighbours beside, not upon, each other.
        aside = 0 if plot.x_scale == "percentile" else (number - (len(plot.series) - 1) / 2) * breadth * 0.012
        axes.errorbar(
            [place(plot, x) + aside for x, _ in series.points],
            [sample.median for _, sample in series.points],
            yerr=list(zip(*(ends(sample) for _, sample in series.points))),
            color=colour, ecolor=colour, marker=MARKS[colour], markersize=4.5, linewidth=1.6, elinewidth=1, capsize=2,
            markerfacecolor="white" if series.light else colour, linestyle=(0, (4, 2)) if series.light else "-",
            label=series.name,
        )
    values = sorted({x for series in plot.series for x, _ in series.points})
    if plot.x_scale == "linear":
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plot.x_text(round(value, 9))))
    else:
        every = math.ceil(len("  ".join(map(plot.x_text, values))) / LABEL_ROOM)
        shown = values[::-1][::every]
        axes.set_xticks([place(plot, x) for x in shown], [plot.x_text(x) for x in shown])
    axes.margins(x=0.06)
    axes.set_ylabel(plot.y)
    axes.set_xlabel(plot.x)
    if plot.y_log:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 2000 else (1,)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif plot.baseline is None:
        axes.set_ylim(bottom=0)
    else:
        lowest = min(min(sample.values) for series in plot.series for _, sample in series.points)
        bottom = 0 if lowest < 0.7 * plot.baseline else min(axes.get_ylim()[0], plot.baseline * 0.9)
        axes.set_ylim(bottom, max(axes.get_ylim()[1], plot.baseline * 1.05))
    axes.yaxis.set_major_formatter(FuncFormatter(short))
    if plot.baseline is not None:
        axes.axhline(plot.baseline, color=INK, linewidth=0.9, linestyle=":")


def categories_of(plot):
    return list(dict.fromkeys(category for series in plot.series for category, _ in series.points))


def draw_bars(plot, axes, taken):
    categories = categories_of(plot)
    beside = {category: [one for one in plot.series if category in dict(one.points)] for category in categories}
    height = 0.8 / len(plot.series)
    furthest = max(max(sample.values) for series in plot.series for _, sample in series.points)
    for series in plot.series:
        at = [
            categories.index(category) + (beside[category].index(series) - (len(beside[category]) - 1) / 2) * height
            for category, _ in series.points
        ]
        axes.barh(
            at, [sample.median for _, sample in series.points], height * 0.92,
            color=[colour_of(series.colour or category, taken) for category, _ in series.points],
            xerr=list(zip(*(ends(sample) for _, sample in series.points))),
            error_kw={"ecolor": INK, "elinewidth": 1, "capsize": 2}, label=series.name,
        )
        for y, (_, sample) in zip(at, series.points):
            axes.annotate(short(sample.median), (max(sample.values), y), xytext=(4, 0), textcoords="offset points",
                          va="center", fontsize=8)
    axes.set_yticks(range(len(categories)), [textwrap.fill(category, 26) for category in categories])
    axes.set_ylim(len(categories) - 0.45, -0.55)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, furthest * 1.14)
    axes.xaxis.set_major_formatter(FuncFormatter(short))
    axes.set_xlabel(plot.y)
    if plot.x:
        axes.set_ylabel(plot.x)
    if plot.baseline is not None:
        axes.axvline(plot.baseline, color=INK, linewidth=0.9, linestyle=":")


def svg(plot):
    taken = {}
    legend_rows = math.ceil(len(plot.series) / 2) if len(plot.series) > 1 else 0
    height = 2.8
    if plot.kind == "bars":
        lines = max(len(textwrap.wrap(category, 26)) for category in categories_of(plot))
        height = 0.55 + len(categories_of(plot)) * (0.1 + max(0.19 * len(plot.series), 0.145 * lines))
    legend_height = 0.19 * legend_rows
    height += legend_height
    figure, axes = plt.subplots(figsize=(WIDTH, height))
    figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - legend_height / height))
    (draw_bars if plot.kind == "bars" else draw_curves)(plot, axes, taken)
    if legend_rows:
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="upper left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderpad=0.1,
                      borderaxespad=0, labelspacing=0.35, handlelength=2.6, columnspacing=1.4)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    plt.close(figure)
    return out.getvalue()
