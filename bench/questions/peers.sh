# SPDX-License-Identifier: MIT
#
# squall beside the other ways to do file I/O, on the same files in one interleaved run: liburing, libaio, POSIX AIO, pread
# and preadv2 on one thread and on many, and fio. A cell is an operation, page cache or O_DIRECT, a size, a depth and a
# batch; a round is every cell, and in it every peer, in an order that changes, each in a process of its own.
#
#   --peers-only LIST   which of squall,squall_fixed,squall_huge,squall_files,squall_sqpoll,squall_iopoll,squall_hybrid,
#                       liburing,liburing_best,liburing_sqpoll,liburing_iopoll,libaio,posix_aio,pread,pread_threads,
#                       pread_pool,preadv2,fio (all)
#   --target PATH       a file or block device to read, never written (a file of its own, removed at the end)
#   --dir DIRECTORY     where to make that file, and the one that is written (TMPDIR, else /var/tmp, unless that is memory)
#   --span MIB          how much of the target is used, 16 to 65536 (256)
#   --seconds S         time per peer, cell and round for throughput, 0.01 to 60 (0.08); latency gets two thirds of it
#   --threads N         threads of the peers that have some, 1 to 1024 (what suits each)
#
#   With any of these five, all combinations of them in place of cells that were chosen:
#   --sizes LIST        bytes per transfer, multiples of 512 from 512 to 1m (4k)
#   --depths LIST       transfers in flight, 1 to 4096 (64)
#   --batches LIST      transfers queued per submission, 1 to 1024; those above the depth are left out (32, or the depth)
#   --ops LIST          of read,write (read)
#   --kinds LIST        of page_cache,direct (page_cache,direct)
program=bench/peers
rounds=$([ "$quick" ] && echo 3 || echo 5)
peers_only=
target=
dir=
span=256
seconds=0.08
sizes=
depths=
batches=
ops=
kinds=
threads=
chosen_cells=(read/page_cache/4096/64/32 read/direct/4096/64/32 read/direct/131072/32/8)
[ "$quick" ] || chosen_cells+=(
    read/page_cache/4096/1/1 read/page_cache/65536/64/32
    read/direct/512/64/32 read/direct/4096/1/1 read/direct/4096/512/128 read/direct/1048576/8/4
    write/page_cache/4096/64/32 write/direct/4096/64/32
)

# whole_numbers OPTION LIST HIGHEST
whole_numbers() {
    local number
    [[ $2 =~ ^[0-9]+(,[0-9]+)*$ ]] || refuse "$1" "$2" 'whole numbers separated by commas, such as 1,64'
    for number in ${2//,/ }; do whole "$1" "$number" 1 "$3"; done
}
# words OPTION LIST WORD...: LIST may be empty.
words() {
    local option=$1 list=$2 word rule
    shift 2
    printf -v rule '%s, ' "$@"
    rule="some of ${rule%, }, separated by commas"
    [[ $list =~ ^([a-z_0-9]+(,[a-z_0-9]+)*)?$ ]] || refuse "$option" "$list" "$rule"
    for word in ${list//,/ }; do
        [[ " $* " = *" $word "* ]] || refuse "$option" "$list" "$rule"
    done
}

check_options() {
    local op kind size depth batch
    cells=("${chosen_cells[@]}")
    if [ "$sizes$depths$batches$ops$kinds" ]; then
        byte_sizes --sizes "${sizes:-4k}" 1048576 512
        whole_numbers --depths "${depths:-64}" 4096
        [ -z "$batches" ] || whole_numbers --batches "$batches" 1024
        words --ops "$ops" read write
        words --kinds "$kinds" page_cache direct
        cells=()
        for op in $(tr , ' ' <<<"${ops:-read}"); do
            for kind in $(tr , ' ' <<<"${kinds:-page_cache,direct}"); do
                for size in "${bytes[@]}"; do
                    for depth in $(tr , ' ' <<<"${depths:-64}"); do
                        for batch in $(tr , ' ' <<<"${batches:-$((depth < 32 ? depth : 32))}"); do
                            ((batch > depth)) || cells+=("$op/$kind/$size/$depth/$batch")
                        done
                    done
                done
            done
        done
        ((${#cells[@]})) || refuse --batches "$batches" 'for one of the depths not above it'
    fi
    words --peers-only "$peers_only" squall squall_{fixed,huge,files,sqpoll,iopoll,hybrid} \
        liburing liburing_{best,sqpoll,iopoll} libaio posix_aio pread pread_{threads,pool} preadv2 fio
    whole --span "$span" 16 65536
    [ -z "$threads" ] || whole --threads "$threads" 1 1024
    seconds --seconds "$seconds"
    check_target

    local needs=(/usr/include/libaio.h=libaio-dev fio=fio)
    [ "$liburing" ] || needs+=(pc:liburing=liburing-dev)
    tests/need "${needs[@]}" || warn 'some peers are lacking (see above), so the table goes without them'
    # It may have been lacking when the benchmarks were configured.
    built_with=$(stat -c %n /usr/include/libaio.h 2>/dev/null)
}

ask() {
    local round cell order peers=() trace=() own_file what latency_seconds
    latency_seconds=$(awk "BEGIN { print $seconds * 2 / 3 }")
    [ -z "$peers_only" ] || peers=("--peers=$peers_only")
    make_target "$build/$program" "--span-mib=$span"
    [ "$own_dir" ] || make_own_dir
    own_file=$own_dir/written
    [[ ${cells[*]} != *write/* ]] || make_file "$own_file" "$build/$program" "--span-mib=$span"
    total=$((rounds * ${#cells[@]}))
    echo "== $rounds rounds of ${#cells[@]} cells; every peer of a cell is a process of its own"
    for ((round = 1; round <= rounds; ++round)); do
        # System calls that a peer cannot count itself are counted once.
        trace=()
        ((round > 1)) || trace=(--trace-calls)
        mapfile -t order < <(printf '%s\n' "${cells[@]}" | shuf --random-source=<(yes "$round"))
        for cell in "${order[@]}"; do
            IFS=/ read -r op kind size depth batch <<<"$cell"
            what="$op, ${kind/_/ }, $size bytes, depth $depth, batch $batch"
            measure "round $round: $what" python3 -B bench/peers/cell.py "--program=$build/$program" "--cell=$cell" \
                "--target=$target" "--own-file=$own_file" "--span-mib=$span" "--round=$round" "--threads=${threads:-0}" \
                "--seconds=$seconds" "--latency-seconds=$latency_seconds" "${peers[@]}" "${trace[@]}" '--out={}'
        done
    done
}
