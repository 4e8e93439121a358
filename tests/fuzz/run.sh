#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs libFuzzer targets, two at once. Usage: run.sh BUILD SECONDS [TARGET]. BUILD is configured with
# -Dfuzz=true. Prints TAP. An input that breaks a property is left in $VDT_LOGS (or BUILD/fuzz-logs).
# What a run finds new is left there too: NAME.new, to be merged into the corpus with -merge=1.
set -u -o pipefail
build=${1:?usage: run.sh BUILD SECONDS [TARGET]} seconds=${2:?} only=${3:-}
here=$(dirname "$(realpath "$0")")
logs=$(realpath -m "${VDT_LOGS:-$build/fuzz-logs}")
export ASAN_OPTIONS=detect_leaks=1:quarantine_size_mb=16 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export G_SLICE=always-malloc

# TARGET and executions a second that even a busy machine reaches; fewer: it waits for something.
floors='
split-ring 200
packed-ring 200
command 50
relay 10
snapshot 50
session 20
'

run_one()
{
    local name=$1 rc=0
    mkdir -p "$logs/$name.new"
    timeout -k 10 $((seconds + 120)) "$build/tests/fuzz/fuzz-$name" -max_total_time="$seconds" \
        -max_len=2048 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$logs/$name-" "$logs/$name.new" "$here/corpus/$name" \
        >"$logs/$name.log" 2>&1 || rc=$?
    echo "$rc" >"$logs/$name.rc"
}

mapfile -t names < <(awk -v only="$only" 'NF == 2 && (only == "" || only == $1) { print $1 }' <<<"$floors")
((${#names[@]} > 0)) || { echo "Bail out! no target $only"; exit 2; }
mkdir -p "$logs"
echo "1..${#names[@]}"
for name in "${names[@]}"; do
    while (($(jobs -rp | wc -l) >= 2)); do wait -n; done
    run_one "$name" &
done
wait

failed=0 number=0
for name in "${names[@]}"; do
    number=$((number + 1))
    floor=$((seconds * $(awk -v n="$name" '$1 == n { print $2 }' <<<"$floors")))
    done=$(awk '/^stat::number_of_executed_units:/ { print $2 }' "$logs/$name.log")
    verdict=ok
    if [[ $(cat "$logs/$name.rc") != 0 ]] || ((${done:-0} < floor)); then
        verdict='not ok' failed=1
    fi
    echo "$verdict $number - $name: ${done:-no} executions, at least $floor"
    [[ $verdict == ok ]] || tail -n 40 "$logs/$name.log" | sed 's/^/# /'
done
exit $failed
