# SPDX-License-Identifier: MIT
#
# The library's own cost per operation, the kernel's side replaced by memory, whose own time is taken off.
from sample import Answer, Sample, liburing_name, repetitions, warn_if_wandering
from verdict import EXPLAINED, brief, verdict, words

# What squall's developers expect on an ordinary x86-64 machine: ns, and the share of liburing's.
MAX_NS = 2.0
MAX_SHARE = 0.40
OPERATIONS = ("nop", "read", "read_fixed")


def tell(found, rows, ratios, peer):
    found.tell("What does squall itself cost? Queueing an operation and reaping its completion, without the kernel's part.")
    for what, ratio in ratios.items():
        mine = rows[f"squall_{what}"].median
        # A million operations of 1 ns are a thousandth of a CPU's second.
        line = f"  {what.replace('_', ', ')}: {mine:.1f} ns, so a million a second take {mine / 10:.2f} % of a CPU"
        found.tell(line + (f"; beside {peer}: {words(verdict(ratio), 'CPU time')}" if ratio else ""))
    if any(ratios.values()):
        found.tell(EXPLAINED)


def answer(results, warnings):
    found = Answer()
    processes = repetitions(results)
    stand_in = Sample(process["stand_in"] for process in processes)
    rows = {
        name: Sample(process[name] - process["stand_in"] for process in processes)
        for name in processes[0]
        if name != "stand_in"
    }
    peer = liburing_name(results[0]["context"])
    found.say(f"ns per operation, batches of 32, less the {stand_in.median:.2f} of the kernel's stand-in")
    found.say(f"{'':<18} {'squall':<15}{peer:<15}squall / {peer}")
    ratios = {}
    for what in OPERATIONS:
        called = what.replace("_", ", ")
        mine, theirs = rows[f"squall_{what}"], rows.get(f"liburing_{what}")
        ratios[what] = mine.over(theirs) if theirs else None
        cells = [mine.text(), theirs.text() if theirs else "-", ratios[what].text() if theirs else "-"]
        found.say(f"{called:<18} {cells[0]:<15}{cells[1]:<15}{cells[2]}")
        found.expect(f"{called}: at most {MAX_NS} ns", f"{mine.median:.2f} ns", mine.median <= MAX_NS)
        if theirs:
            share = ratios[what].median
            found.expect(f"{called}: at most {MAX_SHARE:.2f} of {peer}", f"{share:.2f}", share <= MAX_SHARE)
        found.figure("cost", "ns/op", "less", mine, peer="squall", op=called)
        if theirs:
            found.figure("cost", "ns/op", "less", theirs, peer=peer, op=called)
    found.figure("cost of the kernel's stand-in", "ns/op", None, stand_in)
    warn_if_wandering(rows.values(), warnings)
    tell(found, rows, ratios, peer)
    mine = [rows[f"squall_{what}"].median for what in ("read", "read_fixed")]
    found.sentence = f"squall itself takes {mine[0]:.1f} ns for a read and {mine[1]:.1f} for a fixed read"
    if ratios["read"]:
        found.sentence += f"; a read beside {peer}: {brief(verdict(ratios['read']), 'CPU time')}"
    return found
