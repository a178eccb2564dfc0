# SPDX-License-Identifier: MIT
#
# The page's part on what every operation costs through the ring and by a system call.
from plot import Figures, Plot, Section, Series

WAYS = (("system call", "kernel", 1), ("ring, 1 at a time", "second", 1), ("ring, 32 at once", "squall", 32))
DEAR = 4000  # ns; what costs more has a plot of its own, or nothing would be seen of the rest


def section(documents):
    figures = Figures(documents)
    ops = figures.labels("CPU time", "op")

    def points_of(way, at_once):
        peer = "system call" if way == "system call" else "squall"
        every = figures.samples("CPU time", "op", peer=peer, **{"at once": at_once})
        return {op: every[op] for op in ops}

    ways = {way: points_of(way, at_once) for way, _, at_once in WAYS}
    dear = {op for op in ops if max(points[op].median for points in ways.values()) > DEAR}
    plots = []
    for title, caption, chosen in (
        ("What costs little", "In place, on the thread that submits, unless the table says otherwise.", set(ops) - dear),
        ("What costs more", "Most of it goes through one of the kernel's worker threads, which is woken for it.", dear),
    ):
        series = [Series(way, colour, [(op, ways[way][op]) for op in ops if op in chosen]) for way, colour, _ in WAYS]
        if chosen:
            plots.append(Plot(title, caption, "", "CPU time, ns per operation, less is better", series, kind="bars"))
    lead = "What to queue and what to call: the kernel hands what it cannot do without waiting to a thread of its own."
    return Section("Each operation, queued and called", lead, documents, [("", plots)])
