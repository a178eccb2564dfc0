# SPDX-License-Identifier: MIT
#
# What a ring costs around its operations: idle polls, wake-ups, creating and destroying, leases.
from statistics import median

from sample import Answer, Failure, Sample, liburing_name, warn_if_wandering
from verdict import EXPLAINED, verdict, words

# What squall's developers expect on an ordinary x86-64 machine.
IDLE_POLL_MAX_NS = 2.0
CREATE_MAX_US = 200
WAKE_MAX = 1.10  # half of the wake-ups: squall over liburing

# Row, unit, nanoseconds in it, and where its two figures are: a benchmark's name and which number of it.
ROWS = (
    ("idle poll, a read in flight", "ns", 1, ("idle_poll", "cpu_time"), ("liburing_idle_peek", "cpu_time")),
    ("woken from park(), median", "us", 1e3, ("wake_park", "p50"), ("wake_liburing", "p50")),
    ("woken from park(), 99 % within", "us", 1e3, ("wake_park", "p99"), ("wake_liburing", "p99")),
    ("woken from read(2), median", "us", 1e3, ("wake_read", "p50"), None),
    ("create an Io", "us", 1e3, ("create_bare", "real_time"), ("create_liburing", "real_time")),
    ("  its first submission", "us", 1e3, ("create_bare", "first"), None),
    ("  destroy it", "us", 1e3, ("create_bare", "destroy"), ("create_liburing", "destroy")),
    ("create with an arena of 1 MiB", "us", 1e3, ("create_small_arena", "real_time"), None),
    ("  destroy it", "us", 1e3, ("create_small_arena", "destroy"), None),
    *(
        row
        for kind, pages in (("base", "4 KiB"), ("transparent", "huge"), ("hugetlb", "hugetlb"))
        for row in (
            (f"make an arena of 1 GiB, {pages} pages", "ms", 1e6, (f"create_large_arena/{kind}", "arena"), None),
            ("  create with it", "ms", 1e6, (f"create_large_arena/{kind}", "real_time"), None),
            ("  destroy it", "ms", 1e6, (f"create_large_arena/{kind}", "destroy"), None),
        )
    ),
    ("acquire and release a buffer", "ns", 1, ("acquire_release/1", "cpu_time"), None),
    ("  two threads at once, each", "ns", 1, ("acquire_release/2", "cpu_time"), None),
)


def figures_of(results):
    """(benchmark, number) -> Sample of ns per operation, one value per process; and benchmark -> why it was left out."""
    processes, skipped = [], {}
    for result in results:
        found = {}
        for run in result["benchmarks"]:
            name = "/".join(part for part in run["name"].split("/") if ":" not in part and part != "manual_time")
            if run.get("error_occurred"):
                skipped[name] = run["error_message"].removeprefix("skipped: ")
            elif run["run_type"] == "iteration":
                for number in ("cpu_time", "real_time"):
                    found.setdefault((name, number), []).append(run[number] / run["ops"])
                for number in run:
                    if number in ("p50", "p99", "first", "destroy", "arena") or number.startswith("step_"):
                        found.setdefault((name, number), []).append(run[number])
        processes.append({key: median(values) for key, values in found.items()})
    keys = [key for key in processes[0] if all(key in process for process in processes)]
    return {key: Sample(process[key] for process in processes) for key in keys}, skipped


def scaled(sample, unit):
    return Sample(value / unit for value in sample.values)


def tell(found, figures, peer):
    def time(name, number, nanoseconds=1, digits=1):
        return f"{figures[name, number].median / nanoseconds:.{digits}f}"

    def beside(mine, theirs):
        if theirs not in figures:
            return ""
        return f"; beside {peer}: {words(verdict(figures[mine].over(figures[theirs])), 'time')}"

    found.tell("What does a ring cost beside its operations?")
    idle, wake, create = ("idle_poll", "cpu_time"), ("wake_park", "p50"), ("create_bare", "real_time")
    found.tell(f"  a poll() that finds nothing: {time(*idle)} ns{beside(idle, ('liburing_idle_peek', 'cpu_time'))}")
    plain, gone = time("wake_read", "p50", 1e3), time("create_bare", "destroy", 1e3, 0)
    found.tell(f"  waking up: park() returns {time(*wake, 1e3)} us after the event, and read(2) {plain}: most of it is the"
               f" kernel's scheduler{beside(wake, ('wake_liburing', 'p50'))}")
    found.tell(f"  an Io, once per thread: {time(*create, 1e3, 0)} us to make, {gone} to destroy"
               f"{beside(create, ('create_liburing', 'real_time'))}")
    for kind, pages in (("base", "4 KiB"), ("transparent", "huge"), ("hugetlb", "hugetlb")):
        name = f"create_large_arena/{kind}"
        if (name, "arena") in figures:
            found.tell(f"  an arena of 1 GiB on {pages} pages: {time(name, 'arena', 1e6, 0)} ms to make, and"
                       f" {time(name, 'real_time', 1e6)} ms to register with each Io")
    leases = [time(f"acquire_release/{threads}", "cpu_time", digits=0) for threads in (1, 2)
              if (f"acquire_release/{threads}", "cpu_time") in figures]
    found.tell(f"  a buffer of an arena: {leases[0]} ns to acquire and release"
               + (f", {leases[1]} where two threads do so at once" if len(leases) > 1 else ""))
    if ("liburing_idle_peek", "cpu_time") in figures:
        found.tell(EXPLAINED)


def answer(results, warnings):
    found = Answer()
    figures, skipped = figures_of(results)
    peer = liburing_name(results[0]["context"])
    found.say(f"{'':<40}{'squall':<24}{peer:<24}squall / {peer}")
    what = ""
    for row, unit, nanoseconds, mine, theirs in ROWS:
        what = f"{what.split(':')[0]}:{row[1:]}" if row.startswith(" ") else row
        if mine not in figures:
            if mine[0] not in skipped:
                raise Failure(f"there is no {mine[1]} of {mine[0]}")
            continue
        own, other = figures[mine], figures.get(theirs)
        sides = [scaled(sample, nanoseconds) if sample else None for sample in (own, other)]
        cells = [f"{side.text()} {unit}" if side else "" for side in sides]
        found.say(f"{row:<40}{cells[0]:<24}{cells[1]:<24}{own.over(other).text() if other else ''}".rstrip())
        for side, whose in zip(sides, ("squall", peer)):
            if side:
                found.figure(" ".join(what.split()), unit, "less", side, peer=whose)
    steps = [(key[1].removeprefix("step_"), sample) for key, sample in figures.items() if key[1].startswith("step_")]
    steps.sort(key=lambda step: -step[1].median)
    found.say()
    found.say("create an Io, by system call: " + ", ".join(f"{name} {sample.median / 1e3:.1f} us" for name, sample in steps))
    for name, sample in steps:
        found.figure("create an Io, by system call", "us", "less", scaled(sample, 1e3), call=name)
    for name, why in skipped.items():
        found.say(f"left out: {name}: {why}")

    idle = figures["idle_poll", "cpu_time"].median
    found.expect(f"idle poll: at most {IDLE_POLL_MAX_NS} ns", f"{idle:.2f} ns", idle <= IDLE_POLL_MAX_NS)
    create = figures["create_bare", "real_time"].median / 1e3
    found.expect(f"create an Io: at most {CREATE_MAX_US} us", f"{create:.1f} us", create <= CREATE_MAX_US)
    wake = figures["wake_park", "p50"]
    if other := figures.get(("wake_liburing", "p50")):
        ratio = wake.over(other).median
        found.expect(f"woken from park(): at most {WAKE_MAX} of {peer}", f"{ratio:.2f}", ratio <= WAKE_MAX)
    tell(found, figures, peer)
    warn_if_wandering([figures[key] for key in (("idle_poll", "cpu_time"), ("wake_park", "p50"))], warnings)
    found.sentence = (
        f"an idle poll takes {idle:.1f} ns, creating an Io {create:.0f} us, and park() returns {wake.median / 1e3:.1f} us"
        " after the event"
    )
    return found
