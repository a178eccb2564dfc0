# SPDX-License-Identifier: MIT
#
# What bench/run and the questions share: refusals and warnings, checks of options, programs that a signal may end, one
# process of a benchmark, and the file that is read. Sourced by bench/run, whose variables it uses.
# shellcheck shell=bash

die() {
    printf 'bench/run: FAILED: %s\n' "$*" >&2
    exit 1
}
refuse() {
    printf 'bench/run: %s is "%s": it must be %s\n' "$1" "$2" "$3" >&2
    exit 2
}
warnings=()
warn() {
    warnings+=("$*")
    printf 'warning: %s\n' "$*" | fold -s -w 100
}

# --- Options --------------------------------------------------------------------------------------------------------------

# whole OPTION VALUE LOWEST HIGHEST
whole() {
    if ! [[ $2 =~ ^(0|[1-9][0-9]{0,8})$ ]] || (($2 < $3 || $2 > $4)); then
        refuse "$1" "$2" "a whole number from $3 to $4"
    fi
}

# seconds OPTION VALUE
seconds() {
    if ! [[ $2 =~ ^[0-9]{1,2}(\.[0-9]{1,6})?$ ]] || ! awk "BEGIN { exit !($2 >= 0.01 && $2 <= 60) }"; then
        refuse "$1" "$2" 'a number from 0.01 to 60'
    fi
}

# byte_sizes OPTION LIST HIGHEST [STEP]: makes of LIST the array `bytes`, in rising order. STEP: 4096.
byte_sizes() {
    local option=$1 list=$2 highest=$3 step=${4:-4096} size size_bytes
    bytes=()
    [[ $list =~ ^[0-9kKmM]+(,[0-9kKmM]+)*$ ]] || refuse "$option" "$list" 'sizes such as 4k,128k,1m, separated by commas'
    for size in ${list//,/ }; do
        [[ $size =~ ^([1-9][0-9]{0,6})([kKmM]?)$ ]] ||
            refuse "$option" "$size" 'a number of bytes, or one followed by k or m'
        case ${BASH_REMATCH[2]} in
            k | K) size_bytes=$((BASH_REMATCH[1] << 10)) ;;
            m | M) size_bytes=$((BASH_REMATCH[1] << 20)) ;;
            *) size_bytes=$((BASH_REMATCH[1])) ;;
        esac
        if ((size_bytes < step || size_bytes > highest || size_bytes % step)); then
            refuse "$option" "$size" "a multiple of $step bytes, from $step to $((highest >> 20))m"
        fi
        bytes+=("$size_bytes")
    done
    mapfile -t bytes < <(printf '%s\n' "${bytes[@]}" | sort -nu)
}

from_caller() { [[ $1 = /* ]] && echo "$1" || echo "$called_from/$1"; }

# Of the options --target and --dir.
check_target() {
    if [ "$target" ]; then
        target=$(from_caller "$target")
        [ -f "$target" ] || [ -b "$target" ] || refuse --target "$target" 'a file or a block device that is there'
        [ -r "$target" ] || refuse --target "$target" 'readable by this user'
    fi
    if [ "$dir" ]; then
        dir=$(from_caller "$dir")
        if ! [ -d "$dir" ] || ! [ -w "$dir" ]; then
            refuse --dir "$dir" 'a directory that this user may write to'
        fi
    fi
}

# --- Processes ------------------------------------------------------------------------------------------------------------

child=
# A shell waits for its program before it runs a trap, unless it runs the program in the background and waits for that.
in_background() {
    "$@" &
    child=$!
    wait "$child"
    local status=$?
    child=
    return $status
}

files=()
done_count=0
# The words by which a Google Benchmark is told where its result goes, for use with `measure`.
benchmark_out=('--benchmark_out={}' --benchmark_out_format=json)
# measure WHAT COMMAND...: one process of `total`. WHAT is shown; "{}" in COMMAND stands for the file that it writes its
# result to. "warning: " lines of its standard error become warnings. Exit codes 1 and 2 end everything, others are the
# caller's.
measure() {
    local what=$1 file started=$SECONDS status
    shift
    file=$scratch/$((++done_count)).json
    printf '[%*d/%d] %s' "${#total}" "$done_count" "$total" "$what"
    in_background "${@//\{\}/$file}" >"$scratch/log" 2>"$scratch/errors"
    status=$?
    printf ', %d s\n' $((SECONDS - started))
    if ((status == 0)); then
        files+=("$file")
        sed -n 's/^warning: //p' "$scratch/errors" >>"$scratch/warnings"
    elif ((status <= 2 || status > 128)); then
        grep -vE '^warning: ' "$scratch/errors"
        die "$1 (exit code $status)"
    fi
    return $status
}

# measure_rounds OPTION...: the program of a question that is one process per round.
measure_rounds() {
    local round
    total=$rounds
    echo "== ${question//-/ }: $rounds processes, everything interleaved in each"
    for ((round = 1; round <= rounds; ++round)); do
        measure "process $round" "$build/$program" "$@" "${benchmark_out[@]}"
    done
}

# make_own_dir: a directory of our own, removed at the end, in --dir or where there is a disk.
own_dir=
make_own_dir() {
    if ! [ "$dir" ]; then
        for dir in "${TMPDIR:-/var/tmp}" /var/tmp "$root/build"; do
            [ -w "$dir" ] && [[ $(stat -f -c %T "$dir") != @(tmpfs|ramfs) ]] && break
        done
    fi
    own_dir=$(mktemp -d "$dir/squall-bench-XXXXXX") || die "cannot make a directory in $dir"
}

# make_file FILE COMMAND...: a file in our own directory, made by COMMAND, which is given its name in --make=.
make_file() {
    local file=$1
    shift
    echo "== making a file of $span MiB in $own_dir ($(stat -f -c %T "$own_dir"))"
    if ! in_background "$@" "--make=$file" 2>"$scratch/errors"; then
        sed -n 's/^error: //p' "$scratch/errors"
        die "making the file"
    fi
}

# make_target COMMAND...: unless there is a target, makes one, as make_file does.
make_target() {
    local type
    if ! [ "$target" ]; then
        make_own_dir
        target=$own_dir/file
        make_file "$target" "$@"
    fi
    type=$(stat -f -c %T "$target")
    [ -b "$target" ] || [[ $type != @(tmpfs|ramfs) ]] ||
        warn "$target lies in memory ($type), so there is no device to be measured"
}
