# SPDX-License-Identifier: MIT
#
# NOPs through the kernel, against the quickest of the ways in which liburing can be driven.
from sample import Answer, Sample, liburing_name, repetitions, warn_if_wandering
from verdict import EXPLAINED, brief, verdict, words

# What squall's developers expect on an ordinary x86-64 machine: by batch, squall over the quickest of liburing's ways; and
# what taking the latency of one operation in 1024 may add.
TOLD = (1, 8, 32, 128)  # batches; the table has them all
MAX = {1: 0.97, 32: 0.92}
SAMPLING_MAX = 1.01


def tell(found, rows, ratios, sampled, peer):
    """ratios, sampled: by batch."""
    alone = rows["squall_poll/1"]
    found.tell("What does a system call of a ring cost here, and what does it save to queue more for one? A NOP takes"
               f" {alone.median:.0f} ns by itself; each of more, over that:")
    for batch in TOLD[1:]:
        row = rows[f"squall_poll/{batch}"]
        found.tell(f"  {batch} at a time: {row.median:.0f} ns each, {words(verdict(row.over(alone)), 'time')}")
    if ratios:
        found.tell(f"Is squall dearer than {peer} in its quickest way? Time per NOP, squall over that.")
        for batch in TOLD:
            found.tell(f"  {batch} at a time: {words(verdict(ratios[batch]), 'time')}")
    found.tell("What does it cost to take the latency of one operation in 1024? Time per NOP, with that over without.")
    for batch, ratio in sampled.items():
        found.tell(f"  {batch} at a time: {words(verdict(ratio), 'time')}")
    found.tell(EXPLAINED)


def answer(results, warnings):
    found = Answer()
    processes = repetitions(results)
    rows = {name: Sample(process[name] for process in processes) for name in processes[0]}
    peer = liburing_name(results[0]["context"])
    found.say(f"ns per NOP through the kernel; {peer}'s quickest way, which is named")
    found.say(f"{'batch':<7}{'squall':<16}{peer:<16}{'squall / ' + peer:<25}quickest way")
    ratios, sampled = {}, {}
    for batch in sorted(int(name.split("/")[1]) for name in rows if name.startswith("squall_poll/")):
        mine = rows[f"squall_poll/{batch}"]
        ways = [name for name in rows if name.startswith("liburing_") and name.endswith(f"/{batch}")]
        if not ways:
            found.say(f"{batch:<7}{mine.text(1):<16}-")
            continue
        way = min(ways, key=lambda name: rows[name].median)
        ratio = ratios[batch] = mine.over(rows[way])
        called = way.split("/")[0].replace("liburing", "io_uring")
        found.say(f"{batch:<7}{mine.text(1):<16}{rows[way].text(1):<16}{ratio.text(3):<25}{called}")
        if batch in MAX:
            found.expect(f"batch {batch}: at most {MAX[batch]} of {peer}", f"{ratio.median:.3f}", ratio.median <= MAX[batch])
    for name in [name for name in rows if name.startswith("squall_sampled/")]:
        batch = name.split("/")[1]
        with_sampling = rows.pop(name)
        ratio = sampled[batch] = with_sampling.over(rows[f"squall_poll/{batch}"])
        found.say(f"{batch:<7}{with_sampling.text(1):<16}with one latency in 1024 taken: {ratio.text(3)} of without")
        found.expect(f"batch {batch}: sampling at most {SAMPLING_MAX} of without", f"{ratio.median:.3f}",
                     ratio.median <= SAMPLING_MAX)
        found.figure("time per NOP, one latency in 1024 taken", "ns/op", "less", with_sampling, peer="squall",
                     batch=int(batch))
    for name in sorted(rows, key=lambda name: (not name.startswith("squall"), name.split("/")[0], int(name.split("/")[1]))):
        sample, (way, batch) = rows[name], name.split("/")
        if way.startswith("liburing_"):
            labels = {"peer": peer, "way": way.replace("liburing", "io_uring")}
        else:
            labels = {"peer": "squall", "way": way.removeprefix("squall_")}
        found.figure("time per NOP", "ns/op", "less", sample, **labels, batch=int(batch))
    tell(found, rows, ratios, sampled, peer)
    one, many = rows["squall_poll/1"].median, rows["squall_poll/32"].median
    found.sentence = f"a NOP through the kernel takes {one:.0f} ns by itself and {many:.0f} where 32 are queued at a time"
    if ratios:
        beside = [brief(verdict(ratios[batch]), "time") for batch in (1, 32)]
        found.sentence += f"; beside {peer}'s quickest way: {beside[0]} by itself, {beside[1]} with 32"
    warn_if_wandering(rows.values(), warnings)
    return found
