# SPDX-License-Identifier: MIT
#
# Devices that are not the limit, in a guest: what polling and fixed buffers give there, and squall beside fio's t/io_uring.
# Run by itself it boots one guest and writes down what was measured there.
#
#   python3 bench/report/guest.py collect FILE COMMAND...
import json
import subprocess
import sys

from sample import Answer, Failure, Sample, size_text, warn_if_wandering
from verdict import EXPLAINED, brief, verdict, words

FLOOR = "t/io_uring"
# What squall's developers expect: IOPS on null_blk, polled and with fixed buffers, over the floor's.
MIN = 1.0
DEVICES = {"nullb0": "null_blk", "nvme0n1": "NVMe, emulated"}


def number(text):
    """As t/io_uring writes it: 114.56K."""
    scale = {"K": 1e3, "M": 1e6}.get(text[-1:], 1)
    return float(text.rstrip("KM")) * scale


def collect(path, command):
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode != 0:
        sys.exit(f"the guest failed (exit code {run.returncode}):\n{run.stdout}")
    rows = []
    for line in run.stdout.splitlines():
        words = line.split()
        if words[:1] == ["squall"] and len(words) == 9:
            device, size, way, buffers, iops, cpu_ns, enters, polled = words[1:]
            rows.append({"peer": "squall", "device": device, "size": int(size), "way": way, "buffers": buffers,
                         "iops": float(iops), "cpu_ns": float(cpu_ns), "enters_per_read": float(enters),
                         "polled_share": float(polled)})
        elif words[:1] == ["floor"] and len(words) == 6:
            device, size, polled, fixed, iops = words[1:]
            rows.append({"peer": FLOOR, "device": device, "size": int(size), "way": "busy" if polled == "1" else "interrupt",
                         "buffers": "fixed" if fixed == "1" else "unregistered", "iops": number(iops)})
            if rows[-1]["iops"] <= 0:
                sys.exit(f"{FLOOR} measured nothing: {line}")
        elif words:
            sys.exit(f"the guest says what is not understood: {line}")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"context": {"squall_optimized": "yes"}, "rows": rows}, file)


def tell(found, iops):
    """The three things to choose or to doubt, each with all else equal."""

    def say(mine, theirs):
        if mine in iops and theirs in iops:
            device, size, *way = mine
            what = " ".join(way[:2])
            one = verdict(iops[mine].over(iops[theirs]))
            found.tell(f"  {DEVICES[device]}, {size_text(size)}, {what}: {words(one, 'reads')}")

    keys = [key for key in iops if key[4] == "squall"]
    found.tell("What do fixed buffers give where the device is not the limit? Reads a second, fixed over unregistered.")
    for key in keys:
        if key[3] == "fixed":
            say(key, (*key[:3], "unregistered", "squall"))
    found.tell("What does polling give? Reads a second, polled over by interrupts.")
    for key in keys:
        if key[2] == "busy" and key[3] == "fixed":
            say(key, (*key[:2], "interrupt", *key[3:]))
    if any(key[4] == FLOOR for key in iops):
        found.tell(f"What does squall cost? Its reads a second over those of {FLOOR}, a bare loop.")
        for key in keys:
            if key[3] == "fixed":
                say(key, (*key[:4], FLOOR))
    found.tell(EXPLAINED)


def answer(results, warnings):
    found = Answer()
    samples = {}
    for result in results:
        for row in result["rows"]:
            key = (row["device"], row["size"], row["way"], row["buffers"], row["peer"])
            samples.setdefault(key, []).append(row)
    for key, rows in samples.items():
        if key[4] == "squall" and any(row["polled_share"] != (key[2] != "interrupt") for row in rows):
            raise Failure(f"{' '.join(map(str, key))}: {rows[0]['polled_share']:.0%} of the reads were polled")
    iops = {key: Sample(row["iops"] for row in rows) for key, rows in samples.items()}
    found.say("thousand IOPS, random reads, 128 in flight, 32 queued at a time, registered file, one core of a guest")
    found.say(f"{'':<39}{'squall':<18}{FLOOR:<18}squall / {FLOOR}")
    for key in sorted((key for key in iops if key[4] == "squall"), key=lambda key: (key[0] != "nullb0", *key[:2])):
        device, size, way, buffers, _ = key
        mine, floor = iops[key], iops.get((*key[:4], FLOOR))
        row = f"{DEVICES[device]:<15}{size_text(size):<7}{way:<10}{'fixed' if buffers == 'fixed' else '':<7}"
        thousands = Sample(value / 1e3 for value in mine.values)
        if floor:
            theirs = Sample(value / 1e3 for value in floor.values)
            ratio = mine.over(floor)
            found.say(f"{row}{thousands.text(0):<18}{theirs.text(0):<18}{ratio.text()}")
            if device == "nullb0" and way == "busy" and buffers == "fixed":
                rule = f"null_blk, {size_text(size)}, polled and fixed: at least {MIN} of {FLOOR}'s IOPS"
                found.expect(rule, f"{ratio.median:.2f}", ratio.median >= MIN)
        else:
            found.say(f"{row}{thousands.text(0)}")
        for peer, sample in (("squall", mine), (FLOOR, floor)):
            if sample:
                found.figure("guest: reads a second", "IOPS", "more", sample, peer=peer, device=DEVICES[device], size=size,
                             way=way, buffers=buffers)
    best = ("nullb0", 4096, "busy", "fixed")
    mine, unregistered = iops[*best, "squall"], iops[*best[:3], "unregistered", "squall"]
    floor = iops.get((*best, FLOOR))
    found.sentence = f"{mine.median / 1e3:.0f} thousand polled and fixed 4 KiB reads a second on null_blk: over unregistered" \
                     f" {brief(verdict(mine.over(unregistered)), 'reads')}"
    if floor:
        found.sentence += f", over {FLOOR} {brief(verdict(mine.over(floor)), 'reads')}"
    tell(found, iops)
    warn_if_wandering(iops.values(), warnings)
    return found


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[1] != "collect":
        sys.exit("usage: guest.py collect FILE COMMAND...")
    collect(sys.argv[2], sys.argv[3:])
