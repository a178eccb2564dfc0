# SPDX-License-Identifier: MIT
#
# The page's part on fixed buffers: what they save, by size and by depth, out of the page cache and with O_DIRECT.
from plot import Figures, Plot, Section, Series
from sample import size_text


def base_pages(figures):
    return figures.labels("CPU time", "pages")[0]


def ways(figures):
    """Name of a series, its labels, and whether it is the light one, of each way of reading that was measured."""
    for pages in figures.labels("CPU time", "pages"):
        is_base = pages == base_pages(figures)
        for buffers in ("unregistered", "fixed"):
            name = f"{buffers}, {pages if is_base else 'huge'} pages"
            yield name, {"pages": pages, "buffers": buffers}, is_base
    yield "fixed, and copied out", {"pages": base_pages(figures), "buffers": "copied"}, False


def relative_plot(figures, kind, by, x, x_text, title, **labels):
    """CPU time of every way over that of unregistered buffers on ordinary pages."""
    standard = {"pages": base_pages(figures), "buffers": "unregistered"}
    base = figures.samples("CPU time", by, reads=kind, **standard, **labels)
    if len(base) < 2:
        return None
    series, savings = [], []
    for name, way, is_light in ways(figures):
        found = figures.samples("CPU time", by, reads=kind, **way, **labels)
        points = [(value, found[value].over(base[value])) for value in base if value in found]
        if way == standard or not points:
            continue
        series.append(Series(name, way["buffers"], points, is_light))
        if way["buffers"] == "fixed":
            savings += [(ratio.median, name, value) for value, ratio in points if max(ratio.values) < 1]
    caption = f"1 is an unregistered buffer on {standard['pages']} pages; lower is better. "
    if savings:
        ratio, name, value = min(savings)
        caption += f"The most is saved at {x_text(value)} {x}: {name} need {1 - ratio:.0%} less CPU time."
    else:
        caption += "No saving of fixed buffers stands out from the spread."
    return Plot(title, caption, x, "CPU time, relative", series, x_text=x_text, baseline=1)


def absolute_plot(figures, kind, name, unit, by, x, x_text, title, caption, y_log, **labels):
    series = [
        Series(called, way["buffers"], list(figures.samples(name, by, reads=kind, **way, **labels).items()), is_light)
        for called, way, is_light in ways(figures)
    ]
    series = [one for one in series if len(one.points) > 1]
    return Plot(title, caption, x, f"{name}{unit}", series, x_text=x_text, y_log=y_log) if series else None


def kind_plots(kind, by_size, by_depth):
    smallest = min(by_size.labels("CPU time", "size"))
    what = size_text(smallest)
    size, depth = ("size", "KiB per read", lambda size: str(size >> 10)), ("depth", "reads in flight", str)
    plots = [
        relative_plot(by_size, kind, *size, "Relative CPU time, by size"),
        absolute_plot(by_size, kind, "CPU time", ", ns per read", *size, "CPU time per read, by size",
                      "User and system time of the whole process, kernel threads that work for it included.", True),
        absolute_plot(by_size, kind, "IOPS", ", reads per second", *size, "Reads per second, by size",
                      "Where the lines meet, the device or the memory is the limit, and the gain is CPU time alone.", True),
        relative_plot(by_depth, kind, *depth, f"Relative CPU time, by depth, {what}", size=smallest),
        absolute_plot(by_depth, kind, "CPU time", ", ns per read", *depth, f"CPU time per read, by depth, {what}",
                      "With more reads in flight one system call submits more of them, up to the batch of 32.", False,
                      size=smallest),
        absolute_plot(by_depth, kind, "IOPS", ", reads per second", *depth, f"Reads per second, by depth, {what}",
                      "More reads in flight keep a device busy, until it or the CPU has enough.", False, size=smallest),
    ]
    return [plot for plot in plots if plot]


def section(documents):
    by_size, by_depth = Figures(documents[:1]), Figures(documents)
    depth = by_size.labels("CPU time", "depth")[0]
    lead = (
        f"Random reads through one ring, {depth} in flight unless said otherwise: the kernel"
        " finds the pages of an unregistered buffer at every read, and those of a fixed one once. CPU time per read is the"
        " figure to look at, since a device that is the limit hides the gain from IOPS."
    )
    groups = [(f"Reads: {kind}", kind_plots(kind, by_size, by_depth)) for kind in by_size.labels("CPU time", "reads")]
    return Section("Fixed against unregistered buffers", lead, documents, groups)
