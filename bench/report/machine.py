# SPDX-License-Identifier: MIT
#
# The facts of the machine that a figure depends on, as the kernel tells them. What cannot be read is left out. Two
# results are of one machine when these facts are the same.
import os
import platform
import re
import subprocess
from pathlib import Path


def read(path):
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def chosen(path):
    """The word in brackets, as in "always [madvise] never", or all of it."""
    text = read(path)
    found = re.search(r"\[([^]]*)\]", text)
    return found.group(1) if found else text


def cpu_model():
    found = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.*)$", read("/proc/cpuinfo"), re.MULTILINE)
    return found.group(1) if found else platform.machine()


def mitigations():
    known = sorted(Path("/sys/devices/system/cpu/vulnerabilities").glob("*"))
    return {path.name: read(path) for path in known if read(path) != "Not affected"}


def locked_memory():
    found = re.search(r"^Max locked memory\s+(\S+)", read("/proc/self/limits"), re.MULTILINE)
    limit = found.group(1) if found else ""
    return limit if not limit.isdigit() else f"{int(limit) >> 10} KiB"


def memory():
    found = re.search(r"^MemTotal:\s*(\d+)", read("/proc/meminfo"), re.MULTILINE)
    return f"{int(found.group(1)) / (1 << 20):.1f} GiB" if found else ""


def mount_of(path):
    """Mount point, source, type and options of the file system that path is on: the last line whose mount point leads to it
    with the path's device, or with another where none has it, as a btrfs subvolume's is in no line."""
    best, rank = ("", "", "", ""), (False, 0)
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in read("/proc/self/mountinfo").splitlines():
        fields, _, rest = line.partition(" - ")
        fields, rest = fields.split(), rest.split()
        point = fields[4].encode().decode("unicode_escape")
        if os.path.realpath(path).startswith(point) and (fields[2] == number, len(point)) >= rank:
            rank = (fields[2] == number, len(point))
            best = (point, rest[1], rest[0], f"{fields[5]},{rest[2]}" if len(rest) > 2 else fields[5])
    return best


def queue_facts(number):
    """The disk of device number "major:minor"; a partition's queue is its disk's."""
    found = Path(f"/sys/dev/block/{number}").resolve()
    if (found / "partition").exists():
        found = found.parent
    if not (found / "queue").exists():
        return {}
    poll_queues = read("/sys/module/nvme/parameters/poll_queues") if found.name.startswith("nvme") else ""
    polled = {"0": "no", "1": "yes"}.get(read(found / "queue/io_poll"), "")
    return {
        "device": " ".join(part for part in (found.name, read(found / "device/model")) if part),
        "I/O scheduler": chosen(found / "queue/scheduler"),
        "poll queues": ", ".join(part for part in (polled, poll_queues and f"nvme.poll_queues={poll_queues}") if part),
        "rotational": {"0": "no", "1": "yes"}.get(read(found / "queue/rotational"), ""),
        "write cache": read(found / "queue/write_cache"),
    }


def target_facts(target):
    status = os.stat(target)
    if os.path.exists(f"/sys/dev/block/{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}") and status.st_rdev:
        return {"target": "block device", **queue_facts(f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}")}
    _, source, kind, options = mount_of(target)
    return {
        "file system": kind,
        "mounted": " ".join(part for part in (source, options) if part),
        **queue_facts(f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"),
    }


def commit():
    def git(*words):
        return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + (" and changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def facts(compiler, target):
    iommus = sorted(path.name for path in Path("/sys/class/iommu").glob("*"))
    found = {
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "CPU": cpu_model(),
        "CPUs": str(len(os.sched_getaffinity(0))),
        "memory": memory(),
        "hypervisor": "yes" if re.search(r"^flags\b.*\bhypervisor\b", read("/proc/cpuinfo"), re.MULTILINE) else "no",
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "mitigations": mitigations(),
        "IOMMU": ", ".join(iommus) or "none",
        "transparent huge pages": chosen("/sys/kernel/mm/transparent_hugepage/enabled"),
        "locked memory limit": locked_memory(),
        "compiler": compiler,
        "squall": commit(),
        **(target_facts(target) if target else {}),
    }
    return {name: value for name, value in found.items() if value}
