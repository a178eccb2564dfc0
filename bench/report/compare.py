# SPDX-License-Identifier: MIT
#
# Compares two results of one question, of the same machine, figure by figure. The ratio is the Hodges-Lehmann estimate,
# the median of all ratios of a process of B to one of A; its 95 % interval comes from the same ratios by the exact
# Mann-Whitney distribution, so that an interval without 1 in it is what that test calls a difference at 5 %. Nothing is
# assumed of how figures are distributed. That the machine itself changed between the two runs is beyond it; how far the
# figures of squall's peers moved, where some were measured, tells of that.
from functools import lru_cache
from math import comb
from statistics import median

from sample import Failure

LEVEL = 0.95
DRIFT_MAX = 0.02  # peers that moved by more show another machine
SHOWN_MAX = 60  # where there are more figures than these, those that do not differ are left out
IDENTITY = ("CPU", "CPUs", "memory")  # results with other values of these are of two machines


@lru_cache(maxsize=None)
def orders(count, other, statistic):
    """How many of the orders of count + other values have a Mann-Whitney U of `statistic`."""
    if statistic < 0 or count == 0 or other == 0:
        return int(statistic == 0)
    return orders(count - 1, other, statistic - other) + orders(count, other - 1, statistic)


def ratio_interval(base, new):
    """(estimate, lowest, highest); the ends are None where so few processes cannot give an interval of that level."""
    ratios = sorted(mine / theirs for mine in new for theirs in base)
    allowed = (1 - LEVEL) / 2 * comb(len(base) + len(new), len(base))
    outside = 0  # how many of the ratios at each end lie beyond the interval
    tail = orders(len(base), len(new), 0)
    while tail <= allowed:
        outside += 1
        tail += orders(len(base), len(new), outside)
    if outside == 0:
        return median(ratios), None, None
    return median(ratios), ratios[outside - 1], ratios[-outside]


def flat(facts):
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from ((f"{name}, {part}", text) for part, text in value.items())
        else:
            yield name, value


def check_machines(base, new, say):
    base, new = dict(flat(base["machine"])), dict(flat(new["machine"]))
    for name in IDENTITY:
        if base.get(name) != new.get(name):
            raise Failure(f"these are figures of two machines: {name} is {base.get(name)} in A and {new.get(name)} in B")
    for name in dict.fromkeys([*base, *new]):
        if base.get(name) != new.get(name):
            say(f"differs   {name}: {base.get(name, 'not known')} in A, {new.get(name, 'not known')} in B")


def by_key(document):
    return {
        (figure["name"], *figure["labels"].items()): figure
        for figure in document["figures"]
        if figure["better"] and min(figure["values"]) > 0
    }


def key_texts(keys):
    """A text for each key; labels that have one value throughout tell nothing apart and are left out."""
    varied = {}
    for _, *labels in keys:
        for name, value in labels:
            varied.setdefault(name, set()).add(value)
    texts = {}
    for key in keys:
        telling = [(name, value) for name, value in key[1:] if len(varied[name]) > 1]
        labels = [value if isinstance(value, str) else f"{name} {value}" for name, value in telling]
        texts[key] = ", ".join([key[0], *labels])
    return texts


class Change:
    """One figure in A and in B."""

    def __init__(self, text, base, new):
        self.text, self.unit = text, base["unit"]
        self.counts = len(base["values"]), len(new["values"])
        self.medians = median(base["values"]), median(new["values"])
        self.ratio, self.low, self.high = ratio_interval(base["values"], new["values"])
        self.of_peer = not str(base["labels"].get("peer", "squall")).startswith("squall")
        self.cost = self.ratio if base["better"] == "less" else 1 / self.ratio
        self.mark = ""
        if self.low is not None and not self.low <= 1 <= self.high:
            self.mark = "better" if self.cost < 1 else "worse"

    def line(self, width):
        values = [f"{value:,.0f}" if value >= 10000 else f"{value:.4g}" for value in self.medians]
        interval = "-" if self.low is None else f"{self.low:.3f} to {self.high:.3f}"
        row = f"{self.text:<{width}} {self.unit:<6} {values[0]:>10} {values[1]:>10}  {self.ratio:.3f}  {interval:<15} "
        return (row + self.mark).rstrip()


def changes_of(base, new, say):
    ours, theirs = by_key(new), by_key(base)
    keys = [key for key in theirs if key in ours]
    if lacking := len(theirs) + len(ours) - 2 * len(keys):
        say(f"left out  {lacking} figures are in one of the two alone: other options or peers")
    texts = key_texts(keys)
    return [Change(texts[key], theirs[key], ours[key]) for key in keys]


def say_drift(peers, say):
    if not peers:
        say("no peer was measured: what the machine changed between A and B looks like a change of squall")
        return
    drift = median(change.cost for change in peers)
    moved = "so much is the machine's" if abs(drift - 1) > DRIFT_MAX else "the machine was much the same"
    say(f"the costs of squall's peers, {len(peers)} figures, are {drift:.3f} of what they were in the median: {moved}")


def compare(base, new, fail_if_slower, say):
    """Says what differs; returns the verdict, and whether all is within fail_if_slower percent."""
    if base["question"] != new["question"]:
        raise Failure(f"A answers {base['question']} and B {new['question']}: only like can be compared")
    check_machines(base, new, say)
    changes = changes_of(base, new, say)
    own = [change for change in changes if not change.of_peer]
    if not own:
        raise Failure("no figure of squall's is in both: were they run with the same options?")
    shown = own if len(own) <= SHOWN_MAX else [change for change in own if change.mark]
    width = max((len(change.text) for change in shown), default=0)
    if shown:
        say(f"{'':<{width}} {'':<6} {'A':>10} {'B':>10}  B / A  95 % interval")
    for change in shown:
        say(change.line(width))
    say("")
    if len(shown) < len(own):
        say(f"{len(own) - len(shown)} figures that do not differ are left out")
    counted = [f"{median(change.counts[side] for change in own):.0f}" for side in (0, 1)]
    say(f"medians of {' and '.join(counted)} processes; ratio: Hodges-Lehmann; interval: Mann-Whitney, exact")
    say_drift([change for change in changes if change.of_peer], say)

    if all(change.low is None for change in own):
        return "too few processes to tell whether anything differs: at least 4 in each (--rounds)", True
    better, worse = ([change for change in own if change.mark == mark] for mark in ("better", "worse"))
    verdict = f"{len(better) + len(worse)} of {len(own)} figures differ: {len(better)} better, {len(worse)} worse in B"
    verdict += f"; chance alone marks {1 - LEVEL:.0%}"
    beyond = [change.text for change in worse if fail_if_slower is not None and (change.cost - 1) * 100 > fail_if_slower]
    if beyond:
        verdict += f"; worse by more than {fail_if_slower:g} %: {'; '.join(beyond)}"
    return verdict, not beyond
