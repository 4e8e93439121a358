# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Shared by the real tests: an enclosure, bounded waits, TAP, kept logs.
#
# Each test runs in mount, pid and network namespaces of its own, so that nothing outlives it:
# a UML kernel that spins ignores SIGTERM and leaves children behind, but not when the first
# process of its pid namespace is gone. Only the network that the test makes exists in there.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
test_name=$(basename "$0")
build=${VDT_BUILD:-$top/build}
work=/run/$test_name # everything the test writes, in memory; small files are kept when it fails
cases=0
failures=0
on_failure=() # commands that put more logs into $work
part= # of a test with several: stands before its cases' names

# session NAME: what follows is that part of the test, with files of its own.
session() {
    part="$1: "
    work=/run/$test_name/$1
    mkdir "$work"
}

# First call of a test. Starts it again inside its enclosure.
enclose() {
    if [[ ${VDT_ENCLOSED:-} != yes ]]; then
        ((EUID == 0)) || skip_all 'needs root (network namespaces, hostfs)'
        local enclosure=(unshare --mount --pid --net --fork --kill-child=KILL --mount-proc)
        "${enclosure[@]}" true 2>/dev/null || skip_all 'namespaces cannot be made here'
        VDT_ENCLOSED=yes exec "${enclosure[@]}" "$0" "$@"
    fi
    unset VDT_ENCLOSED
    # The first process of a pid namespace gets no signal it has no handler for.
    trap 'echo "Bail out! stopped by a signal"; exit 143' TERM INT HUP
    mount -t tmpfs none /run
    mount -t sysfs none /sys
    ip link set lo up
    mkdir "$work"
    export TMPDIR=$work XDG_RUNTIME_DIR=/run
    trap leave EXIT
}

leave() {
    local rc=$? kept=${VDT_LOGS:-$build/real-logs}/$test_name
    trap - EXIT
    set +e
    if ((rc != 0 || failures > 0)); then
        local collect
        for collect in "${on_failure[@]}"; do "$collect"; done
        rm -rf "$kept"
        mkdir -p "$kept"
        (cd "/run/$test_name" && find . -xdev -type f -size -4M -exec cp --parents -t "$kept" {} +)
        echo "# logs: $kept"
        ((rc != 0)) || rc=1
    fi
    exit "$rc"
}

note() {
    printf '# %s\n' "$*"
}

skip_all() {
    echo "1..0 # SKIP $*"
    exit 0
}

# Last call of a test.
finish_cases() {
    echo "1..$cases"
}

# check NAME COMMAND...: one test case. A failure shows the command's output and the test goes on.
# No subshell: the command may set variables.
check() {
    attempt "$@" || :
}

# must NAME COMMAND...: the same, but nothing after it makes sense when it fails.
must() {
    attempt "$@" || exit 1
}

attempt() {
    local name=$part$1
    shift
    cases=$((cases + 1))
    if "$@" >"$work/check.out" 2>&1; then
        echo "ok $cases - $name"
        return 0
    fi
    echo "not ok $cases - $name"
    failures=$((failures + 1))
    tail -n 40 "$work/check.out" | sed 's/^/#   /'
    return 1
}

skip() {
    cases=$((cases + 1))
    echo "ok $cases - $part$1 # SKIP $2"
}

# same NAME EXPECTED ACTUAL: one test case.
same() {
    check "$1" diff -u <(printf '%s\n' "$2") <(printf '%s\n' "$3")
}

# wait_for SECONDS COMMAND...: until COMMAND succeeds; false after SECONDS.
wait_for() {
    local seconds=$1 end=$((SECONDS + $1 + 1))
    shift
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= end)); then
            note "waited $seconds s in vain for: $*"
            return 1
        fi
        sleep 0.02
    done
}

# start NAME COMMAND...: in the background, output to $work/NAME.log, its process in started[NAME].
declare -A started=()
start() {
    local name=$1
    shift
    # Times are compared: before other work of the machine, where that is allowed. A session is a
    # scheduling group of its own, so niceness within it would not do.
    # shellcheck disable=SC2016 # for the inner shell
    setsid bash -c 'echo -10 2>/dev/null >/proc/self/autogroup; exec "$@"' start "$@" \
        </dev/null >>"$work/$name.log" 2>&1 &
    started[$name]=$!
}

# threads_of NAME: where each of its threads waits, for a log.
threads_of() {
    local task
    for task in /proc/"${started[$1]}"/task/*; do
        note "$(<"$task/comm"): $(sed -n 's/^State:[[:space:]]*//p' "$task/status"), in $(<"$task/wchan")," \
            "system call $(<"$task/syscall")"
    done 2>&1
}

running() {
    kill -0 "${started[$1]}" 2>/dev/null
}

# ended NAME SECONDS: waits for it to end by itself and returns its exit code.
ended() {
    local pid=${started[$1]} code=0
    if ! timeout "$2" tail --pid="$pid" -s 0.02 -f /dev/null; then
        note "waited $2 s in vain for the end of $1"
        threads_of "$1"
        return 124
    fi
    unset "started[$1]"
    wait "$pid" || code=$?
    ((code == 0)) || note "$1 ended with exit code $code: $(tail -n 3 "$work/$1.log")"
    return "$code"
}

# stop NAME [SECONDS]: by SIGTERM, after SECONDS by SIGKILL to the group. Returns its exit code.
stop() {
    local code=0 pid=${started[$1]} seconds=${2:-5}
    kill -TERM "$pid" 2>/dev/null || :
    timeout "$seconds" tail --pid="$pid" -s 0.02 -f /dev/null || kill -KILL -- "-$pid" 2>/dev/null || :
    wait "$pid" 2>/dev/null || code=$?
    unset "started[$1]"
    return "$code"
}

# tap_add NAME ADDRESS/BITS: a multi-queue tap that a device's queues can attach to.
tap_add() {
    ip tuntap add dev "$1" mode tap multi_queue vnet_hdr
    ip addr add "$2" dev "$1"
    ip link set "$1" up
}
