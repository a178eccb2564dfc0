# SPDX-License-Identifier: MIT
#
# The page's part on the library's own cost.
from plot import Figures, Plot, Section, Series


def section(documents):
    figures = Figures(documents)
    series = [
        Series(peer, peer, [(called, sample) for called, sample in figures.samples("cost", "op", peer=peer).items()])
        for peer in figures.labels("cost", "peer")
    ]
    caption = "Filling one SQE and reaping one CQE, 32 at a time, the kernel replaced by a stand-in in memory and taken off."
    plots = [Plot("Own cost per operation", caption, "", "ns per operation, less is better", series, kind="bars")]
    lead = "What the library adds to an operation when the kernel's side of the ring costs nothing."
    return Section("The library's own cost", lead, documents, [("", plots)])
