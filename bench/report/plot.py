# SPDX-License-Identifier: MIT
#
# What a question's section says of a plot: series of samples, the words of its axes, and a caption that tells what one
# sees. How it looks is drawing.py's business.
from dataclasses import dataclass

from sample import Sample


@dataclass
class Series:
    """Points are (x, Sample) of curves, or (category, Sample) of bars. Colour is a peer's name, or one of drawing.ROLES;
    bars without one have each their category's."""

    name: str
    colour: str
    points: list
    light: bool = False  # the second of two curves of one colour


@dataclass
class Plot:
    title: str
    caption: str
    x: str  # what the axis shows, with its unit
    y: str
    series: list
    kind: str = "curves"  # or "bars": one per category and series, lying
    x_scale: str = "doubling"  # of curves; or "linear", or "percentile"
    x_text: object = str  # how a value on the x axis is written
    y_log: bool = False
    baseline: float | None = None  # a value to compare with by eye


@dataclass
class Section:
    """A question's part of the page: groups of plots, each with its heading, and the documents whose tables it shows."""

    title: str
    lead: str
    documents: list
    groups: list  # of (heading, plots)


class Figures:
    """All figures of several documents, looked up by name and labels."""

    def __init__(self, documents):
        self.all = [figure for document in documents for figure in document["figures"]]

    def samples(self, name, by, **labels):
        """Value of the label `by` -> Sample, of the figures of that name which have all of these labels, in rising order."""
        found = {
            figure["labels"][by]: Sample(figure["values"])
            for figure in self.all
            if figure["name"] == name and by in figure["labels"] and labels.items() <= figure["labels"].items()
        }
        return dict(sorted(found.items()))

    def only(self, name, **labels):
        """The Sample of the figure of that name and these labels; None where there is none."""
        found = [one for one in self.all if one["name"] == name and labels.items() <= one["labels"].items()]
        return Sample(found[0]["values"]) if found else None

    def names(self):
        return list(dict.fromkeys(figure["name"] for figure in self.all))

    def labels(self, name, label):
        """The values that a label has, in the order in which they were measured."""
        return list(dict.fromkeys(
            figure["labels"][label] for figure in self.all if figure["name"] == name and label in figure["labels"]
        ))
