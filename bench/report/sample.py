# SPDX-License-Identifier: MIT
#
# What all questions share: a figure that was measured in several processes, ratios taken within each process (what a
# process finds, from where its memory lies to the clock, is common to both sides), and the answer that a question's
# module makes of its results. What a figure means is that module's business.
from dataclasses import dataclass, field
from statistics import median

WANDER_MAX = 0.15  # a spread above this is worth a warning


class Failure(Exception):
    """The results cannot be what they are taken for."""


class Sample:
    """One figure, measured in several processes."""

    def __init__(self, values):
        self.values = list(values)
        self.median = median(self.values)
        self.half = (max(self.values) - min(self.values)) / 2

    @property
    def spread(self):
        return self.half / self.median if self.median else 0.0

    def over(self, other):
        return Sample(mine / theirs for mine, theirs in zip(self.values, other.values))

    def text(self, digits=2):
        return f"{self.median:.{digits}f} ±{self.half:.{digits}f}"


@dataclass
class Answer:
    """What a question's module makes of its results: words say to a reader what the figures mean for his machine, and the
    sentence says it once more, at once; lines are the tables; figures are for programs. Expectations are what squall's
    developers set themselves: they are shown to those who ask."""

    words: list = field(default_factory=list)
    lines: list = field(default_factory=list)
    figures: list = field(default_factory=list)
    expectations: list = field(default_factory=list)
    sentence: str = ""

    def tell(self, line):
        self.words.append(line)

    def say(self, line=""):
        self.lines.append(line)

    def figure(self, name, unit, better, values, **labels):
        """better is "less", "more", or None where neither is. Labels tell figures of one name apart."""
        values = values.values if isinstance(values, Sample) else list(values)
        self.figures.append({"name": name, "unit": unit, "better": better, "labels": labels, "values": values})

    def expect(self, rule, found, met):
        self.expectations.append({"rule": rule, "found": found, "met": bool(met)})


def size_text(size):
    if size % 1024:
        return f"{size} B"
    return f"{size >> 20} MiB" if size % (1 << 20) == 0 else f"{size >> 10} KiB"


def liburing_name(context):
    return f"liburing {context['liburing_version']}" if "liburing_version" in context else "liburing"


def repetitions(results):
    """For each process: benchmark name -> median over its repetitions of ns per operation."""
    processes = []
    for result in results:
        found = {}
        for run in result["benchmarks"]:
            if run["run_type"] == "iteration":
                name = "/".join(part for part in run["name"].split("/") if ":" not in part)
                found.setdefault(name, []).append(run["cpu_time"] / run["ops"])
        processes.append({name: median(times) for name, times in found.items()})
    return processes


def warn_if_wandering(samples, warnings):
    if max(sample.spread for sample in samples) > WANDER_MAX:
        warnings.append("figures of one row lie far apart: more --rounds or a calmer machine")
