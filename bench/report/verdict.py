# SPDX-License-Identifier: MIT
#
# What a ratio of two costs means in words, of three kinds: less, more, or no difference seen, and then how large a one may
# hide. The interval is Student's over the logarithms of the processes' ratios. What the words are, and what to make
# of a verdict, is the question's module's business.
from dataclasses import dataclass
from math import ceil, exp, log, sqrt
from statistics import mean, stdev

from sample import Failure

SLIGHT = 0.05  # a difference below this is told, but not called one: nothing should be changed for its sake
VAGUE = 1.0  # where a difference as large as this may hide, nothing is known
NEAR = 0.10  # how far a ratio may be from a half, a third and so on to be called so

# The 97.5 % quantiles of Student's distribution, for 1 to 10 degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
PARTS = ("half", "a third", "a quarter", "a fifth", "a sixth", "a seventh", "an eighth", "a ninth", "a tenth")

COUNTED = ("reads", "transfers a second")  # of these there are fewer, not less

EXPLAINED = "In brackets is where it lies, 19 times in 20, so that chance alone marks one row in twenty."


def student(freedom):
    """For more than 10 degrees the expansion in 1/freedom, which is right to three digits from there on."""
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    return 1.95996 + 2.37227 / freedom + 2.82249 / freedom**2 + 2.5559 / freedom**3


@dataclass(frozen=True)
class Verdict:
    """Of a ratio: its median, and the interval that holds the true one with 95 % certainty."""

    median: float
    low: float
    high: float

    @property
    def kind(self):
        if self.high < 1 and self.median <= 1 - SLIGHT:
            return "less"
        if self.low > 1 and self.median >= 1 + SLIGHT:
            return "more"
        return "same"

    @property
    def is_seen(self):
        """Whether there is a difference at all, however slight."""
        return not self.low <= 1 <= self.high

    @property
    def bound(self):
        """The largest difference, either way, that the figures leave room for."""
        return max(1 - self.low, self.high - 1)

    @property
    def is_vague(self):
        return self.kind == "same" and not self.is_seen and self.bound > VAGUE

    def figures(self):
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def verdict(ratio):
    """Of a Sample of ratios, one of each process."""
    if len(ratio.values) < 2:
        raise Failure("one process alone cannot tell how sure a ratio is")
    if min(ratio.values) <= 0:
        raise Failure(f"a ratio of costs is {min(ratio.values):.3g}: something was measured that cannot be")
    logs = [log(value) for value in ratio.values]
    half = student(len(logs) - 1) * stdev(logs) / sqrt(len(logs))
    # The median may lie outside where the figures are skewed: it is what is shown, so it has to be inside.
    return Verdict(ratio.median, min(exp(mean(logs) - half), ratio.median), max(exp(mean(logs) + half), ratio.median))


def amount(ratio, what):
    """0.47, "CPU time" -> "about half the CPU time"."""
    nearest = round(1 / ratio)
    if 2 <= nearest <= len(PARTS) + 1 and abs(1 / ratio - nearest) <= NEAR * nearest:
        return f"about {PARTS[nearest - 2]}{'' if nearest == 2 else ' of'} the {what}"
    if ratio >= 2:
        return f"{ratio:.1f} times the {what}"
    less = "fewer" if what in COUNTED else "less"
    return f"{abs(1 - ratio):.0%} {less if ratio < 1 else 'more'} {what}".replace("%", " %")


def unseen(verdicts):
    """How large a difference may hide in those that show none: rounded up, so that the words promise no more than the
    figures. Of vague ones it says that, so they should be among themselves."""
    bound = max(one.bound for one in verdicts)
    if bound > VAGUE:
        return "nor could one be: the processes are too few or lie too far apart, so more --rounds"
    return f"one of up to {max(1, ceil(round(100 * bound, 6)))} % may hide"


def brief(found, what):
    """Without the figures."""
    if found.kind != "same":
        return amount(found.median, what)
    return "hardly a difference" if found.is_seen else "no difference seen"


def words(found, what, less="", more=""):
    """The whole of a verdict: which of the three, how much, and the figures."""
    if found.kind != "same":
        says = less if found.kind == "less" else more
        return f"{says + ': ' if says else ''}{amount(found.median, what)}, {found.figures()}"
    if found.is_seen:
        return f"hardly a difference: {amount(found.median, what)}, {found.figures()}"
    return f"no difference seen: {found.figures()}; {unseen([found])}"


def listing(items):
    items = list(items)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
