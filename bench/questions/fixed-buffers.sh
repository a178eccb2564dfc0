# SPDX-License-Identifier: MIT
#
# Reads into fixed against unregistered buffers, at several sizes, out of the page cache and with O_DIRECT, in rounds of
# changing order.
#
#   --target PATH       a file or block device to read, never written (a file of its own, removed at the end)
#   --dir DIRECTORY     where to make that file (TMPDIR, else /var/tmp, unless that is memory)
#   --span MIB          how much of the target is read, 16 to 65536 (256)
#   --sizes LIST        bytes per read, multiples of 4k from 4k to 1m (4k,16k,64k,128k,1m; with --quick 4k,128k)
#   --depth N           reads in flight, 1 to 4096 (64)
#   --batch N           reads queued per submission, 1 to depth (32)
#   --sequential        fill the page cache from end to end (by random reads of the row's own size)
#   --seconds S         time per row and round, 0.01 to 60 (0.15)
program=bench/fixed_buffers
target=
dir=
span=256
sizes=$([ "$quick" ] && echo 4k,128k || echo 4k,16k,64k,128k,1m)
depth=64
batch=
sequential=
seconds=0.15
page_runs=('')
for one in $([ "$quick" ] && echo 1 8 || echo 1 4 16 256); do page_runs+=("--depth $one --sizes 4k"); done

check_options() {
    whole --span "$span" 16 65536
    whole --depth "$depth" 1 4096
    batch=${batch:-$((depth < 32 ? depth : 32))}
    whole --batch "$batch" 1 "$depth"
    seconds --seconds "$seconds"
    byte_sizes --sizes "$sizes" 1048576
    check_target
}

# Registered memory counts against a limit, and on newer kernels so do the rings, unless this process may lock what it
# likes (CAP_IPC_LOCK, bit 14).
leave_out_sizes_beyond_the_limit() {
    local limit kept=() size
    limit=$(ulimit -l)
    if [ "$limit" = unlimited ] || ((16#$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status) >> 14 & 1)); then
        return
    fi
    for size in "${bytes[@]}"; do
        (((size + 128) * depth / 1024 + 64 <= limit)) && kept+=("$size")
    done
    ((${#kept[@]})) || die "RLIMIT_MEMLOCK is $limit KiB, too little to register $depth buffers of ${bytes[0]} bytes:" \
        'run it as root, raise the limit (ulimit -l), or lower --depth'
    if ((${#kept[@]} < ${#bytes[@]})); then
        warn "RLIMIT_MEMLOCK is $limit KiB, too little to register $depth buffers of ${bytes[-1]} bytes, so these sizes" \
            "are left out: ${bytes[*]:${#kept[@]}}; run it as root, raise the limit (ulimit -l), or lower --depth"
        bytes=("${kept[@]}")
    fi
}

ask() {
    local available kinds kind order round flags size_list
    leave_out_sizes_beyond_the_limit
    available=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
    ((available > 2 * span + 3 * depth * bytes[-1] / 1048576)) ||
        warn "only $available MiB of memory are available: the page cache may not hold the $span MiB that are read"
    make_target "$build/$program" "--span-mib=$span"

    kinds=(page_cache direct)
    total=$((rounds * 2))
    size_list=$(IFS=,; echo "${bytes[*]}")
    echo "== $rounds rounds of random reads of $target: depth $depth, batch $batch"
    for ((round = 1; round <= rounds; ++round)); do
        order=("${kinds[@]}")
        ((round % 2)) || mapfile -t order < <(printf '%s\n' "${kinds[@]}" | tac)
        for kind in "${order[@]}"; do
            flags=(${sequential:+--sequential})
            [ "$kind" = page_cache ] || flags+=(--direct)
            measure "round $round, ${kind/_/ }" "$build/$program" "--target=$target" "--span-mib=$span" \
                "--sizes=$size_list" "--depth=$depth" "--batch=$batch" "--seconds=$seconds" "--round=$round" "${flags[@]}" \
                "${benchmark_out[@]}"
            if (($? == 3)); then
                warn "$(sed -n 's/^error: //p' "$scratch/errors"), so there are only page-cache rows"
                kinds=(page_cache)
                total=$((rounds + 1))
            fi
        done
    done
}
