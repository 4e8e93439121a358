# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# Inside the lab's machine, sourced by each job: trackers and the guest as background processes.
export VDPA_TRACKER_RUNTIME_DIR=/run/vt

# patiently SECONDS COMMAND...
patiently() {
    left=$(($1 * 50))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $left -gt 0 ] || return 1
        left=$((left - 1))
        usleep 20000
    done
}

# tracker_start NAME ARGUMENT...
tracker_start() {
    name=$1
    shift
    setsid vdpa-tracker run --name "$name" "$@" >"/tmp/$name.log" 2>&1 </dev/null &
    echo $! >"/tmp/$name.pid"
    patiently 20 test -S "/run/vt/$name.sock" || { cat "/tmp/$name.log" >&2 && return 1; }
}

tracker_stop() {
    kill -TERM "$(cat "/tmp/$1.pid")"
    patiently 10 sh -c "! kill -0 $(cat "/tmp/$1.pid")" || { kill -KILL "$(cat "/tmp/$1.pid")" && return 1; }
}

# guest_open [PROGRAM]
guest_open() {
    rm -f /tmp/guest.in
    mkfifo /tmp/guest.in
    : >/tmp/guest.out
    setsid sh -c "exec ${1:-kernel-guest} <>/tmp/guest.in >/tmp/guest.out 2>/tmp/guest.log" &
    echo $! >/tmp/guest.pid
}

# guest WORD...: one line to the guest; prints its answer, fails where that has an error.
guest() {
    before=$(wc -l </tmp/guest.out)
    echo "$*" >/tmp/guest.in
    patiently 100 sh -c "[ \$(wc -l </tmp/guest.out) -gt $before ]" || return 1
    tail -n 1 /tmp/guest.out
    ! tail -n 1 /tmp/guest.out | grep -q '"error"'
}

guest_close() {
    echo quit >/tmp/guest.in
    patiently 10 sh -c "! kill -0 $(cat /tmp/guest.pid)"
}

# mode NAME: "mode  shadow" or the like.
mode() {
    vdpa-tracker status "$1" | sed -n 's/^\(mode *[a-z]*\).*/\1/p'
}

# json NAME: the number of that name in the JSON on stdin, on one line or several.
json() {
    tr -d '\n ' | sed -n "s/.*\"$1\":\([0-9]*\)[,}].*/\1/p"
}

# switched NAME: "shadow 1234": its mode, and for how many microseconds the device stood still last.
switched() {
    vdpa-tracker status "$1" --json >/tmp/switched &&
        echo "$(sed -n 's/.*"mode" *: *"\([a-z]*\)".*/\1/p' /tmp/switched) $(json frozen_us </tmp/switched)"
}
