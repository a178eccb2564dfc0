# SPDX-License-Identifier: MIT
#
# The page's part on whether costs stay the same with more rings, reads in flight, arena and files.
from plot import Figures, Plot, Section, Series

RINGS = "CPU time per operation, by rings (one per CPU)"
RINGS_RATE = "by rings (one per CPU): rate"
DEPTH = "CPU time per read of 4 KiB, by reads in flight"
DEPTH_RATE = "by reads in flight: rate"
ARENA = {
    "CPU time per fixed read of 4 KiB, by size of the arena": ("Reading into it", "CPU time, ns per read"),
    "making an arena": ("Making it", "ms per GiB"),
    "registering it (Io::create)": ("Registering it", "ms per GiB"),
    "letting go of it (~Io)": ("Letting go of it", "ms per GiB"),
}
FILES = "CPU time per file, after so many files, the kernel's workers included"


def mib_text(mib):
    return f"{mib >> 10} GiB" if mib >= 1024 else f"{mib} MiB"


def ring_style(name):
    """Colour, and whether it is light, of one way of using several rings."""
    if "read, " not in name:
        return ("kernel", False) if name.startswith("pread") else ("nothing", False)
    return "squall" if "one arena" in name else "second", "one file" in name


def growth_text(series, x_text):
    """What one sees: how much the cost at the right is of that at the left."""
    left, right = series[0].points[0][0], series[0].points[-1][0]
    ratios = [f"{one.points[-1][1].median / one.points[0][1].median:.2f} ({one.name})" for one in series]
    return f"The cost at {x_text(right)} over that at {x_text(left)}: {', '.join(ratios)}."


def curves(figures, figure, style, title, caption, x, y, x_text=str, **how):
    series = []
    for name in figures.labels(figure, "series"):
        points = list(figures.samples(figure, "x", series=name).items())
        if len(points) > 1:
            colour, is_light = style(name)
            series.append(Series(name, colour, points, is_light))
    if not series:
        return []
    return [Plot(title, caption or growth_text(series, x_text), x, y, series, x_text=x_text, **how)]


def pages_style(name):
    return "fixed", not name.startswith("huge")


def reads_style(name):
    return ("squall", False) if name == "page cache" else ("unregistered", False)


def count_text(count):
    return f"{count / 1000:g}k"


def files_plots(figures):
    for step in dict.fromkeys(name.split(", ")[0] for name in figures.labels(FILES, "series")):
        sides = (("squall", "squall"), ("system calls", "kernel"))
        series = [
            Series(side, colour, list(figures.samples(FILES, "x", series=f"{step}, {side}").items()))
            for side, colour in sides
        ]
        caption = "Each point was measured once. Plain system calls, one by one, show the file system's own growth."
        yield Plot(f"{step}, by files", caption, "files so far", "CPU time, us per file", series, x_scale="linear",
                   x_text=count_text)


def section(documents):
    figures = Figures(documents)
    cost, rate = "CPU time, ns per operation", "thousand operations per second"
    groups = [
        ("More rings, one per CPU", [
            *curves(figures, RINGS, ring_style, "CPU time per operation", "", "rings", cost),
            *curves(figures, RINGS_RATE, ring_style, "Operations per second", "All rings together.", "rings", rate,
                    y_log=True),
        ]),
        ("More reads in flight", [
            *curves(figures, DEPTH, reads_style, "CPU time per read of 4 KiB",
                    "It falls while one system call serves more and more reads, and should not rise again.",
                    "reads in flight", "CPU time, ns per read", y_log=True),
            *curves(figures, DEPTH_RATE, reads_style, "Reads of 4 KiB per second",
                    "It levels out where the device or the CPU is the limit.", "reads in flight", rate, y_log=True),
        ]),
        ("A larger arena", [
            plot
            for figure, (title, y) in ARENA.items()
            for plot in curves(figures, figure, pages_style, title, "", "size of the arena", y, mib_text,
                               y_log="GiB" in y)
        ]),
        ("More files in one directory", list(files_plots(figures))),
    ]
    lead = "Where there is more of everything, an operation should cost what it did: look for lines that rise to the right."
    return Section("Scale", lead, documents, [(heading, plots) for heading, plots in groups if plots])
