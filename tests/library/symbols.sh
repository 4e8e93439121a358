#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The shared library exports what the public headers declare, nothing else, under its name.
# Usage: symbols.sh LIBRARY HEADERS... Prints TAP.
set -u -o pipefail
export LC_ALL=C
library=${1:?usage: symbols.sh LIBRARY HEADERS...}
shift
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
failed=0

# verdict NUMBER TITLE < offenders
verdict()
{
    local offenders
    offenders=$(cat)
    if [ -z "$offenders" ]; then
        echo "ok $1 - $2"
    else
        echo "not ok $1 - $2"
        echo "# ${offenders//$'\n'/$'\n'# }"
        failed=1
    fi
}

# Comments and macros go; what is left and is followed by a bracket is a function.
code=$(cat "$@" | tr '\n' '\001' |
    sed -e 's|/\*|\o002|g; s|\*/|\o003|g; s|\o002[^\o003]*\o003||g' | tr '\001' '\n' | sed '/^#/d')
grep -oE '\bvdt_[a-z0-9_]+ ?\(' <<<"$code" | tr -d ' (' | sort -u >"$work/declared"
tr '\n' ' ' <<<"$code" | grep -oE 'VDT_PUBLIC[^;(]*\(' | grep -oE 'vdt_[a-z0-9_]+ ?\($' |
    tr -d ' (' | sort -u >"$work/public"
# What linker and sanitizers add begins with an underscore.
nm -D --defined-only "$library" | awk '{ sub(/@.*/, "", $3); print $3 }' | grep -v '^_' | sort -u >"$work/exported"

echo 1..5
verdict 1 "there are headers and symbols" < <(
    [ -s "$work/declared" ] && [ -s "$work/exported" ] || echo "nothing found"
)
verdict 2 "what is declared is public" < <(comm -23 "$work/declared" "$work/public")
verdict 3 "what is declared is exported" < <(comm -23 "$work/declared" "$work/exported")
verdict 4 "nothing else is exported" < <(comm -13 "$work/declared" "$work/exported")
verdict 5 "its name is libvdpa-tracker.so.0" < <(
    readelf -d "$library" | grep -q 'SONAME.*\[libvdpa-tracker\.so\.0\]' || echo "no such name"
)
exit $failed
