#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of command lines. Usage: completion.sh COMPLETION-FILE PROGRAM. Prints TAP.
set -u
# shellcheck source=/dev/null
. "${1:?usage: completion.sh COMPLETION-FILE PROGRAM}" || exit 2
program=$(realpath "${2:?usage: completion.sh COMPLETION-FILE PROGRAM}") || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 2
export VDPA_TRACKER_RUNTIME_DIR=$work/run
mkdir run
touch web.vdts run/file.ctl
python3 -c '
import socket, sys
for name in sys.argv[1:]:
    socket.socket(socket.AF_UNIX).bind(name)' run/web.ctl run/mail.ctl || exit 2
number=0
failed=0

# wants LINE WORDS... exactly, in any order; LINE is typed after the program's name
wants()
{
    local line=$1 got expected
    shift
    COMP_LINE="vdpa-tracker $line" COMP_POINT=$((13 + ${#line}))
    _vdpa_tracker "$program"
    got=$(printf '%s\n' "${COMPREPLY[@]}" | sort)
    expected=$(printf '%s\n' "$@" | sort)
    number=$((number + 1))
    if [[ $got == "$expected" ]]; then
        echo "ok $number - '$line'"
    else
        echo "not ok $number - '$line'"
        printf '# wanted: %s\n# got: %s\n' "${expected//$'\n'/ }" "${got//$'\n'/ }"
        failed=1
    fi
}

COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
echo 1..30
wants s status snapshot show swap
wants 'help re' restore replay
wants l list
wants 'run --features-from w' web.vdts
wants 'baseline w' web.vdts
wants 'help si' sim
wants 'status ' web mail
wants 'swap w' web
wants 'metrics m' mail
wants 'wat' watch
wants 'filter ' web mail
wants 'filter web w' web.vdts
wants 'watch --metrics-file w' web.vdts
wants 'restore ' web mail
wants 'restore web w' web.vdts
wants 'show w' web.vdts
wants 'run --sh' --shadow=
wants 'run --shadow=a' auto always
wants 'run --shadow n' never
wants 'run --device s' sim:
wants 'run --device sim:no-p' no-packed
wants 'run --device=sim:pairs=2,no-p' 2,no-packed
wants 'check --from w' web.vdts
wants 'snapshot --fo' --format=
wants 'ci-migrate --source s' sim:
wants 'ci-migrate --junit w' web.vdts
wants 'ci-migrate --guest u' uml
wants 'demo --source no-p' no-packed
wants 'run --format ' 1 2
COMP_WORDBREAKS=$' \t\n'
wants 'run --device=sim:pairs=2,no-p' --device=sim:pairs=2,no-packed
exit $failed
