# SPDX-License-Identifier: MIT
#
# One cell of the matrix in one round: brings the file into the state that the cell asks for, runs a process for each peer
# in an order that the round and the cell decide, and writes what they printed into one file. fio, a program of its own, is
# run here with the settings that the others have. What a figure means is in main.cpp's head.
#
#   cell.py --program FILE --cell OP/KIND/SIZE/DEPTH/BATCH --target FILE --own-file FILE --out FILE ...
import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile

NOT_HERE = 3  # the program's exit code where this machine cannot do what was asked; standard error says why
FIO = {"name": "fio", "what": "its io_uring engine: fixed buffers, a registered file"}
FIO_SECONDS = 2  # its times are whole milliseconds, and its start-up is long: it gets longer runs than the others


class Failed(Exception):
    pass


class NotHere(Exception):
    pass


def last_error(text):
    lines = [line.removeprefix("error: ") for line in text.splitlines() if line.startswith("error: ")]
    return lines[-1] if lines else text.strip()


class Cell:
    def __init__(self, options):
        self.options = options
        self.op, self.kind, size, depth, batch = options.cell.split("/")
        self.size, self.depth, self.batch = int(size), int(depth), int(batch)
        # Only a file of our own is ever written.
        self.target = options.own_file if self.op == "write" else options.target

    def labels(self):
        return {"op": self.op, "kind": self.kind, "size": self.size, "depth": self.depth, "batch": self.batch}

    def run(self, *words):
        """The program, with this cell's settings; what it printed."""
        settings = [f"--{name.replace('_', '-')}={value}" for name, value in self.labels().items()]
        settings += [f"--target={self.target}", f"--span-mib={self.options.span_mib}", f"--round={self.options.round}"]
        settings += [f"--threads={self.options.threads}"]
        done = subprocess.run([self.options.program, *words, *settings], capture_output=True, text=True, check=False)
        if done.returncode == NOT_HERE:
            raise NotHere(last_error(done.stderr))
        if done.returncode != 0:
            raise Failed(f"{' '.join(words)} (exit code {done.returncode}): {last_error(done.stderr)}")
        return done.stdout

    def measure(self, peer):
        words = [f"--peer={peer}", f"--seconds={self.options.seconds}", f"--latency-seconds={self.options.latency_seconds}"]
        return json.loads(self.run(*words, *(["--trace-calls"] if self.options.trace_calls else [])))


class Fio:
    """fio's own reports: IOPS, CPU time and switches of its thread, latencies; the kernel counts its system calls."""

    def __init__(self, cell, scratch):
        if not shutil.which("fio"):
            raise NotHere("it is not installed; its package is fio")
        self.cell = cell
        self.scratch = scratch

    def command(self, out, *words):
        cell = self.cell
        command = [
            "fio", "--name=peer", f"--filename={cell.target}", "--ioengine=io_uring", f"--rw=rand{cell.op}",
            f"--bs={cell.size}", f"--direct={int(cell.kind == 'direct')}", f"--size={cell.options.span_mib}m", "--io_size=1t",
            f"--iodepth={cell.depth}", f"--iodepth_batch_submit={cell.batch}", f"--iodepth_batch_complete_min={cell.batch}",
            f"--iodepth_batch_complete_max={cell.depth}", "--registerfiles=1", "--fixedbufs=1", "--nonvectored=1",
            "--iomem_align=2m", "--norandommap=1", "--randrepeat=0", f"--randseed={cell.options.round}",
            "--scramble_buffers=0",
            # The file is as it should be: fio must neither lay it out, nor drop its pages, nor advise the kernel.
            "--invalidate=0", "--fadvise_hint=0", "--fallocate=none", "--allow_file_create=0",
            "--output-format=json+", f"--output={out}", *words,
        ]
        if cell.batch < cell.depth:  # 0 stands for the depth
            command.append(f"--iodepth_low={cell.depth - cell.batch}")
        if cell.op == "read":
            command.append("--readonly")
        return command

    def run(self, *words, before=()):
        out = os.path.join(self.scratch, "fio.json")
        # Its buffers lie on huge pages too, from 2 MiB on.
        tuned = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
        done = subprocess.run([*before, *self.command(out, *words)], capture_output=True, text=True, check=False, env=tuned)
        if done.returncode != 0:
            raise Failed(f"fio (exit code {done.returncode}): {done.stderr.strip() or done.stdout.strip()}")
        with open(out, encoding="utf-8") as file:
            text = file.read()
        job = json.loads(text[text.index("{"):])["jobs"][0]  # it may complain in the same file
        if job["error"] or job[self.cell.op]["total_ios"] == 0:
            raise Failed(f"fio: error {job['error']}, {job[self.cell.op]['total_ios']} transfers")
        return job

    def calls(self):
        """System calls per transfer: of a long run, less those of a short one, which are fio's own."""
        counted = []
        for transfers in (self.cell.depth, 20 * self.cell.depth):
            into = os.path.join(self.scratch, "calls")
            counter = [self.cell.options.program, f"--count-into={into}", "--"]
            job = self.run("--gtod_reduce=1", f"--number_ios={transfers}", before=counter)
            with open(into, encoding="utf-8") as file:
                number = file.read()
            if not number:
                return None
            counted.append((int(number), job[self.cell.op]["total_ios"]))
        (few_calls, few), (calls, transfers) = counted
        return max(0, calls - few_calls) / (transfers - few)

    def measure(self):
        options, op = self.cell.options, self.cell.op

        def times(seconds):
            milliseconds = max(10, int(1000 * seconds * FIO_SECONDS))
            return ["--time_based=1", f"--runtime={milliseconds}ms", f"--ramp_time={milliseconds // 5}ms"]

        job = self.run("--gtod_reduce=1", *times(options.seconds))
        transfers = job[op]["total_ios"]
        cpu_ns = (job["usr_cpu"] + job["sys_cpu"]) / 100 * job["job_runtime"] * 1e6 / transfers
        found = {
            "peer": "fio", "what": FIO["what"], **self.cell.labels(), "round": options.round, "pages": "its own",
            "iops": job[op]["iops"], "cpu_ns": cpu_ns, "submitter_ns": cpu_ns,
            "switches": job["ctx"] / transfers, "transfers": transfers,
        }
        if options.latency_seconds > 0:
            timed = self.run("--lat_percentiles=1", "--clat_percentiles=0", *times(options.latency_seconds))
            bins = timed[op]["lat_ns"]["bins"]
            found["latency"] = sorted([int(nanoseconds), count] for nanoseconds, count in bins.items())
        if options.trace_calls and (calls := self.calls()) is not None:
            found["traced_calls"] = calls
        return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--cell", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--own-file", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--peers", default="", help="names, separated by commas; empty: all")
    parser.add_argument("--span-mib", type=int, default=256)
    parser.add_argument("--round", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--latency-seconds", type=float, default=0.07)
    parser.add_argument("--trace-calls", action="store_true")
    options = parser.parse_args()

    listed = json.loads(subprocess.run([options.program, "--list"], capture_output=True, text=True, check=True).stdout)
    known = {peer["name"]: peer for peer in [*listed["peers"], FIO]}
    wanted = options.peers.split(",") if options.peers else list(known)
    for name in wanted:
        if name not in known:
            raise Failed(f"there is no peer '{name}': there are {', '.join(known)}")

    cell = Cell(options)
    absent = {}
    order = list(wanted)
    random.Random(f"{options.cell} {options.round}").shuffle(order)
    results = {}
    try:
        cell.run("--prepare")
    except NotHere as reason:  # for all of them
        absent = {name: str(reason) for name in wanted}
        order = []
    with tempfile.TemporaryDirectory(dir=os.path.dirname(options.out) or None) as scratch:
        for name in order:
            try:
                results[name] = Fio(cell, scratch).measure() if name == "fio" else cell.measure(name)
            except NotHere as reason:
                absent[name] = str(reason)
    document = {
        "context": {**listed["context"], "span_mib": options.span_mib, "cell": cell.labels()},
        "benchmarks": [{"name": f"{options.cell}/{name}", **results[name]} for name in wanted if name in results],
        "absent": absent,
    }
    with open(options.out, "w", encoding="utf-8") as out:
        json.dump(document, out)


# Ends the process that is being run, too.
signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
try:
    main()
except (Failed, OSError, ValueError) as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)
