# SPDX-License-Identifier: MIT
#
# What bench/run and the questions share: refusals and warnings, checks of options, what others take of the CPUs, programs
# that a signal may end, one process of a benchmark, and the file that is read. Sourced by bench/run, whose variables it uses.
# shellcheck shell=bash

die() {
    printf 'bench/run: FAILED: %s\n' "$*" >&2
    exit 1
}
# end_with STATUS WHAT: after bench/report, which has told of an expectation that is missed (3).
end_with() {
    (($1 == 0 || $1 == 3)) || die "$2"
    exit $(($1 == 3))
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

# --- What others take of the CPUs -----------------------------------------------------------------------------------------

# cpu_time: a line: how many CPUs there are, and what has been spent so far, in ticks: of all CPUs, idle or not; by processes
# other than this shell and the programs that it has waited for; by the hypervisor; and then of each of the kernel's threads its
# number and ticks (PF_KTHREAD is bit 21 of the flags).
cpu_time() {
    cat /proc/stat /proc/[0-9]*/stat 2>/dev/null | awk -v self=$$ '
        /^cpu / { for (i = 2; i <= 9; ++i) all += $i; spent = $2 + $3 + $4; stolen = $9 }
        /^cpu[0-9]/ { ++cpus }
        /^[0-9]+ \(/ {
            process = $1
            sub(/^.*\) /, "")
            if (process == self)
                spent -= $12 + $13 + $14 + $15
            else if (int($7 / 2097152) % 2)
                threads = threads " " process " " $12 + $13
        }
        END { printf "%d %d %d %d%s\n", cpus, all, spent, stolen, threads }'
}
# taken BEFORE AFTER: of two of these lines: how many CPUs there are, and how many of them were taken in between by other
# processes, and by the hypervisor. The kernel's threads do what the benchmark asked for, such as completing its writes; one
# that has ended meanwhile takes what it had spent before with it.
taken() {
    awk -v before="$1" -v after="$2" 'BEGIN {
        words = split(before, b); split(after, a)
        others = a[3] - b[3]
        for (i = 5; i < words; i += 2) had[b[i]] = b[i + 1]
        for (i = 5; i in a; i += 2) others -= a[i + 1] - had[a[i]]
        all = a[2] - b[2]
        if (all > 0) printf "%d %.3f %.3f\n", a[1], a[1] * (others > 0 ? others : 0) / all, a[1] * (a[4] - b[4]) / all
    }'
}
# say_idle: before anything is measured.
say_idle() {
    local before cpus others stolen
    before=$(cpu_time)
    sleep 1
    read -r cpus others stolen < <(taken "$before" "$(cpu_time)") || return 0
    printf '== before measuring: other processes take %.2f of %d CPUs, the hypervisor %.2f\n' "$others" "$cpus" "$stolen"
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
# result to. "warning: " lines of its standard error become warnings. What others took of the CPUs meanwhile goes to a line of
# $scratch/taken. Exit codes 1 and 2 end everything, others are the caller's.
measure() {
    local what=$1 file started=$SECONDS status before
    shift
    file=$scratch/$((++done_count)).json
    before=$(cpu_time)
    printf '[%*d/%d] %s' "${#total}" "$done_count" "$total" "$what"
    in_background "${@//\{\}/$file}" >"$scratch/log" 2>"$scratch/errors"
    status=$?
    printf ', %d s\n' $((SECONDS - started))
    if ((status == 0)); then
        taken "$before" "$(cpu_time)" >>"$scratch/taken"
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
