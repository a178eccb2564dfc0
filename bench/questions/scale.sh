# SPDX-License-Identifier: MIT
#
# Whether the cost stays the same with more rings, operations in flight, arena and files. Files are made in a directory of
# its own, which is removed at the end.
#
#   --file-count N      files made, written, renamed and removed, 1000 to 10000000 (1000000; with --quick 50000)
#   --arena MIB         the largest arena, 1 to 65536 (8192; with --quick 256)
#   --dir DIRECTORY     where to make the files (TMPDIR, else /var/tmp, unless that is memory)
program=bench/scale
rounds=3
file_count=$([ "$quick" ] && echo 50000 || echo 1000000)
arena=$([ "$quick" ] && echo 256 || echo 8192)
dir=
target=

check_options() {
    whole --file-count "$file_count" 1000 10000000
    whole --arena "$arena" 1 65536
    check_target
}

ask() {
    local part round seconds parts=(rings depth arena)
    seconds=$([ "$quick" ] && echo 0.04 || echo 0.1)
    make_own_dir
    echo "== scale: $rounds rounds, and $file_count files once, in $own_dir ($(stat -f -c %T "$own_dir"))"
    total=$((rounds * ${#parts[@]} + 1))
    for ((round = 1; round <= rounds; ++round)); do
        for part in "${parts[@]}"; do
            measure "round $round, $part" "$build/$program" "--part=$part" "--dir=$own_dir" "--arena-mib=$arena" \
                "--seconds=$seconds" --benchmark_enable_random_interleaving=true "${benchmark_out[@]}"
        done
    done
    # No interleaving: a file is made before it is renamed.
    measure "files" "$build/$program" --part=files "--dir=$own_dir" "--files=$file_count" "${benchmark_out[@]}" ||
        warn "$(sed -n 's/^error: //p' "$scratch/errors"), so there are no rows of files"
}
