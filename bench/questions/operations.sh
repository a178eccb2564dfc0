# SPDX-License-Identifier: MIT
#
# What every operation costs through a ring, one at a time and 32 at once, beside the system call that does the same, and
# whether the kernel did it in place or by a worker thread: what to queue and what to call, on this machine and file system.
#
#   --dir DIRECTORY     where to make the files (TMPDIR, else /var/tmp, unless that is memory)
program=bench/operations
dir=
target=

check_options() { check_target; }

ask() {
    make_own_dir
    target=$own_dir
    measure_rounds "--dir=$own_dir" "--seconds=$([ "$quick" ] && echo 0.004 || echo 0.02)" \
        --benchmark_enable_random_interleaving=true
}
