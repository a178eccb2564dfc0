# SPDX-License-Identifier: MIT
#
# NOPs through the kernel, against the quickest of the ways in which liburing can be driven.
from sample import Answer, Sample, liburing_name, repetitions, warn_if_wandering

# What squall sets itself on an ordinary x86-64 machine: by batch, squall over the quickest of liburing's ways; and what
# taking the latency of one operation in 1024 may add.
MAX = {1: 0.97, 32: 0.92}
SAMPLING_MAX = 1.01


def answer(results, warnings):
    found = Answer()
    processes = repetitions(results)
    rows = {name: Sample(process[name] for process in processes) for name in processes[0]}
    peer = liburing_name(results[0]["context"])
    found.say(f"ns per NOP through the kernel; {peer}'s quickest way, which is named")
    found.say(f"{'batch':<7}{'squall':<16}{peer:<16}{'squall / ' + peer:<25}quickest way")
    for batch in sorted(int(name.split("/")[1]) for name in rows if name.startswith("squall_poll/")):
        mine = rows[f"squall_poll/{batch}"]
        ways = [name for name in rows if name.startswith("liburing_") and name.endswith(f"/{batch}")]
        if not ways:
            found.say(f"{batch:<7}{mine.text(1):<16}-")
            continue
        way = min(ways, key=lambda name: rows[name].median)
        ratio = mine.over(rows[way])
        called = way.split("/")[0].replace("liburing", "io_uring")
        found.say(f"{batch:<7}{mine.text(1):<16}{rows[way].text(1):<16}{ratio.text(3):<25}{called}")
        if batch in MAX:
            found.expect(f"batch {batch}: at most {MAX[batch]} of {peer}", f"{ratio.median:.3f}", ratio.median <= MAX[batch])
        if batch == 32:
            found.sentence = f"{mine.median:.1f} ns per NOP, 32 at a time: {ratio.median:.2f} of {peer}"
    for name in [name for name in rows if name.startswith("squall_sampled/")]:
        batch = name.split("/")[1]
        sampled = rows.pop(name)
        ratio = sampled.over(rows[f"squall_poll/{batch}"])
        found.say(f"{batch:<7}{sampled.text(1):<16}with one latency in 1024 taken: {ratio.text(3)} of without")
        found.expect(f"batch {batch}: sampling at most {SAMPLING_MAX} of without", f"{ratio.median:.3f}",
                     ratio.median <= SAMPLING_MAX)
        found.figure("time per NOP, one latency in 1024 taken", "ns/op", "less", sampled, peer="squall", batch=int(batch))
    for name in sorted(rows, key=lambda name: (not name.startswith("squall"), name.split("/")[0], int(name.split("/")[1]))):
        sample, (way, batch) = rows[name], name.split("/")
        if way.startswith("liburing_"):
            labels = {"peer": peer, "way": way.replace("liburing", "io_uring")}
        else:
            labels = {"peer": "squall", "way": way.removeprefix("squall_")}
        found.figure("time per NOP", "ns/op", "less", sample, **labels, batch=int(batch))
    if not found.sentence:
        mine = rows["squall_poll/32"]
        found.sentence = f"{mine.median:.1f} ns per NOP, 32 at a time; there is no liburing to compare with"
    warn_if_wandering(rows.values(), warnings)
    return found
