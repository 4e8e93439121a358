#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The example of docs/library.md runs: it serves a VMM that hangs up at once, and leaves a snapshot.
# Usage: example.sh EXAMPLE TRACKER-COMMAND. Prints TAP.
set -u
example=${1:?usage: example.sh EXAMPLE TRACKER-COMMAND}
tracker=${2:?usage: example.sh EXAMPLE TRACKER-COMMAND}
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0

result()
{
    if [ "$1" = 0 ]; then
        echo "ok $2 - $3"
    else
        echo "not ok $2 - $3"
        sed 's/^/# /' "$work"/out* 2>/dev/null
        failed=1
    fi
}

echo 1..3
timeout 30 python3 - "$example" "$work/state" >"$work/out" 2>&1 <<'PY'
import socket, subprocess, sys
ours, theirs = socket.socketpair()
child = subprocess.Popen([sys.argv[1], "sim:", str(theirs.fileno()), sys.argv[2]], pass_fds=[theirs.fileno()])
theirs.close()
ours.close()
sys.exit(child.wait(20))
PY
result $? 1 "it ends in order when the VMM has gone"
"$tracker" show "$work/state" >"$work/out2" 2>&1 && grep -q example "$work/out2"
result $? 2 "the snapshot is the tracker's"
! "$example" no-such-kind: 0 "$work/other" >"$work/out3" 2>&1 && grep -q '^example: cannot open' "$work/out3"
result $? 3 "a device that is none is said to be"
exit $failed
