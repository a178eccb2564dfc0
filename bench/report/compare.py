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
DRIFT_MAX = 0.02  # peers that moved by more are worth a word
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


def amount(value):
    return f"{value:,.0f}" if value >= 10000 else f"{value:.4g}"


def compare(base, new, fail_if_slower, say):
    """Says what differs; returns the verdict, and whether all is within fail_if_slower percent."""
    if base["question"] != new["question"]:
        raise Failure(f"A answers {base['question']} and B {new['question']}: only like can be compared")
    check_machines(base, new, say)
    ours, theirs = by_key(new), by_key(base)
    keys = [key for key in theirs if key in ours]
    if not keys:
        raise Failure("no figure is in both: were they run with the same options?")
    if lacking := len(theirs) + len(ours) - 2 * len(keys):
        say(f"left out  {lacking} figures are in one of the two alone: other options or peers")
    processes = [median(len(side[key]["values"]) for key in keys) for side in (theirs, ours)]
    texts = key_texts(keys)
    width = max(len(text) for text in texts.values())
    say(f"{'':<{width}} {'':<6} {'A':>10} {'B':>10}  B / A  95 % interval")

    counts = {"better": 0, "worse": 0}
    beyond, peers, no_interval = [], [], False
    for key in keys:
        figure = theirs[key]
        ratio, low, high = ratio_interval(figure["values"], ours[key]["values"])
        if not str(figure["labels"].get("peer", "squall")).startswith("squall"):
            peers.append(ratio if figure["better"] == "less" else 1 / ratio)
        mark, interval = "", "-"
        if low is None:
            no_interval = True
        else:
            interval = f"{low:.3f} to {high:.3f}"
            if not low <= 1 <= high:
                mark = "better" if (ratio < 1) == (figure["better"] == "less") else "worse"
                counts[mark] += 1
            loss = (ratio if figure["better"] == "less" else 1 / ratio) - 1
            if fail_if_slower is not None and mark == "worse" and loss * 100 > fail_if_slower:
                beyond.append(texts[key])
        values = [median(side[key]["values"]) for side in (theirs, ours)]
        say(
            f"{texts[key]:<{width}} {figure['unit']:<6} {amount(values[0]):>10} {amount(values[1]):>10}"
            f"  {ratio:.3f}  {interval:<15} {mark}".rstrip()
        )
    say("")
    counted = " and ".join(f"{count:.0f}" for count in processes)
    say(f"medians of {counted} processes; ratio: Hodges-Lehmann; interval: Mann-Whitney, exact")
    drift = median(peers) if peers else 1
    if abs(drift - 1) > DRIFT_MAX:
        say(f"the costs of squall's peers moved too, to {drift:.3f} in the median: so much is the machine's")
    elif not peers:
        say("no peer was measured: what the machine changed between A and B looks like a change of squall")
    if no_interval and not sum(counts.values()):
        return "too few processes to tell whether anything differs: at least 4 in each (--rounds)", True
    verdict = f"{sum(counts.values())} of {len(keys)} figures differ: {counts['better']} better, {counts['worse']} worse"
    verdict += f" in B; chance alone marks {1 - LEVEL:.0%}"
    if beyond:
        verdict += f"; worse by more than {fail_if_slower:g} %: {'; '.join(beyond)}"
    return verdict, not beyond
