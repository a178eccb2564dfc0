# SPDX-License-Identifier: MIT
#
# Devices that are not the limit, in a guest: null_blk without memory and the emulated NVMe, both with poll queues; by
# interrupts, polled and hybrid, beside fio's own t/io_uring as the floor. Kernels are what tests/kernels/fetch fetches.
#
#   --kernel TAG        the guest's kernel, a TAG of tests/kernels/fetch, 6.12 or newer (7.2)
#   --guest-seconds N   seconds of each measurement, of which the best counts, 1 to 60 (2; with --quick 1)
program=bench/device
rounds=$([ "$quick" ] && echo 2 || echo 5)
kernel=7.2
guest_seconds=$([ "$quick" ] && echo 1 || echo 2)
page_runs=() # some minutes for each boot: on a page only when asked for

check_options() { whole --guest-seconds "$guest_seconds" 1 60; }

ask() {
    local found floor sizes='4096 65536' devices='nullb0 nvme0n1' null_blk
    [ -z "$quick" ] || devices=nullb0
    # The floor, and why there is none.
    if found=$(tests/kernels/fetch t-io_uring); then
        floor=$(cut -f 3 <<<"$found")
    else
        warn "there is no t/io_uring to compare with: $(cut -f 3 <<<"$found")"
    fi
    cat >"$scratch/guest" <<EOF
for size in $sizes; do for device in $devices; do
    for way in interrupt busy hybrid; do for buffers in unregistered fixed; do
        echo "squall \$device \$size \$way \$buffers \$(device /dev/\$device \$way \$buffers \$size 128 32 $guest_seconds)" || exit 1
    done; done
    [ -x /bin/io_uring ] || [ -x /test/io_uring ] || continue
    for polled in 0 1; do for fixed in 0 1; do
        echo "floor \$device \$size \$polled \$fixed \$(io_uring -d128 -s32 -c32 -F1 -B\$fixed -p\$polled -b\$size -n1 -r$((guest_seconds + 1)) /dev/\$device |
            sed -n 's/^Maximum IOPS=//p')" || exit 1
    done; done
done; done
EOF
    null_blk='null_blk queue_mode=2 submit_queues=1 poll_queues=1 hw_queue_depth=1024 gb=16 bs=4096 memory_backed=0 irqmode=0'
    total=$rounds
    echo "== guest: $rounds boots of Linux $kernel, everything once in each; KVM: $(grep -qwE 'vmx|svm' /proc/cpuinfo && echo yes ||
        echo 'no, the processor is emulated')"
    for ((round = 1; round <= rounds; ++round)); do
        measure "boot $round" python3 -B bench/report/guest.py collect '{}' tests/kernels/boot --module "$null_blk" \
            --time-limit 600 --file "$build/$program" ${floor:+--file "$floor"} "$kernel" "$scratch/guest"
    done
}
