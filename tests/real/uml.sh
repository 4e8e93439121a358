# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A User-Mode Linux guest for the real tests: start, run commands in it, end. Needs lib.sh.
#
# A command's text and its results are files in $work/guest, which the guest sees as /mnt by hostfs;
# the guest learns the command's number from its first serial line. No polling in the guest, so an
# idle guest is idle, and no network, so commands work whatever the NIC does.
# shellcheck disable=SC2154 # work, here, started: of lib.sh

uml=$(command -v linux.uml || :)
uml_modules=$(find /usr/lib/uml/modules -maxdepth 1 -mindepth 1 -type d 2>/dev/null | sort | tail -n 1)

# guest_start KERNEL-ARGUMENT...
guest_start() {
    mkdir -p "$work/guest" "$work/uml"
    mkfifo "$work/guest.commands"
    exec {guest_line}<>"$work/guest.commands"
    # The line's far side is a descriptor of the kernel's own: 9 for reading, 8 to throw echo away.
    # Its output unbuffered: it forks, and each child would print the buffer once more.
    # shellcheck disable=SC2016 # for the inner shell
    start guest env -i TMPDIR="$work/uml" HOME="$work" bash -c \
        'exec stdbuf -o0 "$@" 9<>"$0" 8>/dev/null' \
        "$work/guest.commands" "$uml" "mem=${GUEST_MEMORY:-192M}" root=/dev/root rootfstype=hostfs rootflags=/ ro \
        "init=$top/tools/vdpa-tracker/uml-guest.sh" "GUEST_DIR=$work/guest" "GUEST_MODULES=$uml_modules" \
        "uml_dir=$work/uml" umid=guest con=null con0=null,fd:1 ssl0=fd:9,fd:8 quiet "$@"
    wait_for "${GUEST_BOOT_SECONDS:-60}" test -e "$work/guest/ready"
}

# guest_begin COMMAND: starts a shell command in the guest; its number is in $guest_job.
guest_begin() {
    guest_job=${EPOCHREALTIME//[!0-9]/} # unique, also between subshells
    printf '%s\n' "$1" >"$work/guest/$guest_job.sh"
    echo "$guest_job" >&"$guest_line"
}

# guest_end JOB [SECONDS]: waits for it, prints its stdout, returns its exit code (124: too late).
guest_end() {
    local files=$work/guest/$1
    wait_for "${2:-20}" test -e "$files.code" || return 124
    cat "$files.out"
    cat "$files.err" >&2
    local code
    code=$(<"$files.code")
    ((code == 0)) || note "in the guest: exit code $code: $(<"$files.sh")" >&2
    return "$code"
}

# guest COMMAND [SECONDS]
guest() {
    local guest_job
    guest_begin "$1"
    guest_end "$guest_job" "${2:-20}"
}

# Powers off; false when the kernel had to be killed.
guest_stop() {
    guest_begin 'echo o >/proc/sysrq-trigger'
    local late=0
    timeout 20 tail --pid="${started[guest]}" -s 0.02 -f /dev/null || late=1
    stop guest 1 || :
    return "$late"
}
