# SPDX-License-Identifier: MIT
#
# bench/run --report DIR: asks every question in turn, each with those of the given options that it knows, and makes a page
# of the answers; or makes it of answers that are there (--from). What a page shows is up to report/. Sourced by bench/run.
# shellcheck shell=bash

# The options of each run of QUESTION that the page wants, a line for each; one empty line if the question does not say. One
# whose page_runs are () is on a page only when it is asked for by name.
page_runs_of() {
    (
        page_runs=('')
        # shellcheck source=/dev/null
        . "bench/questions/$1.sh"
        printf '%s\n' "${page_runs[@]}"
    )
}

# Sets `answers` and `failures`. An answer that cannot be had leaves the others their place on the page.
ask_all() {
    local question known option words runs run status number=0
    for question in "${questions[@]}"; do
        known=$(options_in bench/run "bench/questions/$question.sh")
        words=("--$question")
        for option in "${given[@]}"; do
            if [[ $option != *=* ]]; then
                ! grep -qxe "$option" <<<"$known" || words+=("$option")
            elif grep -qxe "${option%%=*}=" <<<"$known"; then
                words+=("${option%%=*}" "${option#*=}")
            fi
        done
        mapfile -t runs < <(page_runs_of "$question")
        for run in "${runs[@]}"; do
            printf '\n==== bench/run %s\n' "${words[*]}${run:+ $run}"
            # shellcheck disable=SC2086 # the words of $run are options
            in_background env -C "$called_from" "$root/bench/run" "${words[@]}" $run --json "$scratch/$((++number)).json" \
                2>"$scratch/errors"
            status=$?
            if [ -s "$scratch/$number.json" ]; then # an expectation that is missed makes the exit code 1
                answers+=("$scratch/$number.json")
            elif ((status == 2)); then
                cat "$scratch/errors" >&2
                exit 2
            else
                cat "$scratch/errors"
                failures+=("${words[*]}${run:+ $run}: $(tail -n 1 "$scratch/errors" | sed 's/^bench\/run: //')")
            fi
        done
    done
}

make_page() {
    local python=python3 status answers=() failures=() options=()
    tests/need python3=python3 py:matplotlib=python3-matplotlib || die 'tools are lacking'
    # The packaged matplotlib is the system's Python's, which need not be the first in PATH.
    "$python" -c 'import matplotlib' 2>/dev/null || python=/usr/bin/python3
    [ -z "$json" ] || refuse --json "$json" 'left out with --report, which writes DIR/results.json'
    report=$(from_caller "$report")
    mkdir -p "$report" || refuse --report "$report" 'a directory, or one that can be made'
    if [ "$from" ]; then
        answers=("$(from_caller "$from")")
    else
        ask_all
        ((${#answers[@]})) || die 'no question could be answered (see above)'
    fi
    options=("${failures[@]/#/--failure=}")
    echo
    "$python" -B bench/report page ${expect:+--expect} --command "$command" "${options[@]}" "$report" "${answers[@]}"
    status=$?
    ((${#failures[@]} == 0)) || die "${#failures[@]} of the page's parts could not be measured (see above)"
    end_with "$status" 'the page (see above)'
}
