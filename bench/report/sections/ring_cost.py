# SPDX-License-Identifier: MIT
#
# The page's part on what a ring costs around its operations.
from plot import Figures, Plot, Section, Series

BY_CALL = "create an Io, by system call"

# Title, what the names of its figures begin with, and a caption.
PARTS = (
    (
        "Polls and leases", ("idle poll", "acquire"),
        "A poll with nothing to reap, and a buffer taken from the arena and given back: what event loops do all the time.",
    ),
    (
        "Waking up, median", ("woken from park(), median", "woken from read"),
        "From the event until the waiting thread runs again. Most of it is the kernel's scheduler.",
    ),
    ("Creating and destroying an Io", ("create",), "Once per thread, in most programs."),
    (
        "An arena of 1 GiB", ("make an arena",),
        "Most of making an arena is the kernel's clearing of its pages. Registering goes page by page: huge ones are few.",
    ),
)


def section(documents):
    figures = Figures(documents)
    plots = []
    for title, beginnings, caption in PARTS:
        named = [figure for figure in figures.all if figure["name"].startswith(beginnings) and "peer" in figure["labels"]]
        names = list(dict.fromkeys(figure["name"] for figure in named))
        series = []
        for peer in dict.fromkeys(figure["labels"]["peer"] for figure in named):
            points = [(name, figures.only(name, peer=peer)) for name in names]
            series.append(Series(peer, peer, [(name, sample) for name, sample in points if sample]))
        if series:
            plots.append(Plot(title, caption, "", f"{named[0]['unit']}, less is better", series, kind="bars"))
    calls = figures.samples(BY_CALL, "call")
    if calls:
        points = sorted(calls.items(), key=lambda point: -point[1].median)
        unit = next(figure["unit"] for figure in figures.all if figure["name"] == BY_CALL)
        caption = "The system calls that Io::create makes, longest first; the rest of it is a few instructions."
        plots.append(Plot("Creating an Io, by system call", caption, "", f"{unit}, less is better",
                          [Series("squall", "squall", points)], kind="bars"))
    lead = "What a ring costs beside its operations: polling it in vain, waiting on it, making it, and letting it go."
    return Section("A ring's own cost", lead, documents, [("", plots)])
