# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# Inside the lab's machine, sourced by each job: a User-Mode Linux guest. Needs machine.sh.
#
# As tests/real/uml.sh has it: a command's text and its results are files in /tmp/uml/guest, the
# guest's /mnt; its number goes down the guest's first serial line.

# uml_start KERNEL-ARGUMENT...: on one processor, since each system call in it is a switch between two
# processes.
uml_start() {
    mkdir -p /tmp/uml/guest /tmp/uml/run
    mkfifo /tmp/uml/line
    # shellcheck disable=SC2016 # for the inner shell
    TMPDIR=/dev/shm setsid sh -c 'exec "$@" 9<>/tmp/uml/line 8>/dev/null' uml \
        taskset 2 linux.uml mem=64M root=/dev/root rootfstype=hostfs rootflags=/ ro init=/uml-guest.sh \
        GUEST_DIR=/tmp/uml/guest "GUEST_MODULES=$(echo /usr/lib/uml/modules/*)" \
        uml_dir=/tmp/uml/run umid=guest con=null con0=null,fd:1 ssl0=fd:9,fd:8 quiet "$@" \
        >/tmp/uml.log 2>&1 </dev/null &
    echo $! >/tmp/uml.pid
    patiently 100 test -e /tmp/uml/guest/ready
}

# uml_begin JOB <COMMAND
uml_begin() {
    cat >"/tmp/uml/guest/$1.sh"
    echo "$1" 1<>/tmp/uml/line # opened so, it does not wait for a reader
}

# uml_end JOB SECONDS: prints its output; its exit code, 124 when it did not end in time.
uml_end() {
    patiently "$2" test -e "/tmp/uml/guest/$1.code" || return 124
    cat "/tmp/uml/guest/$1.out"
    cat "/tmp/uml/guest/$1.err" >&2
    return "$(cat "/tmp/uml/guest/$1.code")"
}

# Powers off; false when it had to be killed.
uml_stop() {
    echo 'echo o >/proc/sysrq-trigger' | uml_begin off
    patiently 20 sh -c "! kill -0 $(cat /tmp/uml.pid)" || { kill -KILL -- "-$(cat /tmp/uml.pid)" && return 1; }
}
