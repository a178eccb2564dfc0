# SPDX-License-Identifier: MIT
#
# What other processes and the hypervisor took of the CPUs while a benchmark ran: bench/shared.sh measures it for each of
# the benchmark's processes, in CPUs. What that did to the figures, their own spread tells.
from statistics import mean

from sample import Failure

WORTH_A_WARNING = 0.05  # of all CPUs


def others(lines):
    """Of lines "CPUS OTHERS STOLEN", one for each process."""
    try:
        runs = [(int(cpus), float(taken), float(stolen)) for cpus, taken, stolen in map(str.split, lines)]
    except ValueError as error:
        raise Failure(f"what others took of the CPUs is not as bench/run writes it: {error}") from error
    if not runs:
        return {}
    return {
        "CPUs": runs[0][0],
        "processes": len(runs),
        "by other processes": round(mean(run[1] for run in runs), 3),
        "by other processes, at most": max(run[1] for run in runs),
        "by the hypervisor": round(mean(run[2] for run in runs), 3),
        "by the hypervisor, at most": max(run[2] for run in runs),
    }


def words(taken):
    """One sentence; empty where it is not known."""
    if not taken:
        return ""
    most = ", ".join(f"{taken[f'by {who}, at most']:.2f}" for who in ("other processes", "the hypervisor"))
    return (
        f"while this was measured, other processes took {taken['by other processes']:.2f} of the {taken['CPUs']} CPUs and the"
        f" hypervisor {taken['by the hypervisor']:.2f}, on average over {taken['processes']} processes (at most {most})"
    )


def is_much(taken):
    return bool(taken) and taken["by other processes"] + taken["by the hypervisor"] > WORTH_A_WARNING * taken["CPUs"]
