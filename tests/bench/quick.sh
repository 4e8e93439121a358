#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every benchmark still runs and prints CSV that tools/plot reads. Usage: quick.sh PROGRAM...
set -u
export LC_ALL=C
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
number=0
failed=0

# result RC TITLE < what to say of a failure
result() {
    number=$((number + 1))
    if (($1 == 0)); then
        echo "ok $number - $2"
        cat >/dev/null
    else
        echo "not ok $number - $2"
        sed 's/^/# /' | tail -n 30
        failed=1
    fi
}

# What is no row of NAME's, one a line.
strays() {
    awk -F, -v name="$1" '
        NR == 1 {
            if ($0 != "benchmark,series,parameter,at,unit,least,median,per_second")
                print "header: " $0
            next
        }
        { rows += $2 !~ /^yardstick/ }
        NF != 8 || $1 != name || $2 == "" || $5 == "" || $4 !~ number || $6 !~ number ||
            $7 !~ number || $8 !~ number || $6 + 0 > $7 + 0 { print NR ": " $0 }
        seen[$2, $3, $4]++ { print NR ": twice: " $0 }
        END {
            if (rows < 3)
                print rows + 0 " rows"
        }' number='^-?[0-9.]+(e[-+]?[0-9]+)?$' "$2"
}

echo "1..$((2 * $# + 2))"
for program in "$@"; do
    name=$(basename "$program")
    csv=$work/$name.csv
    timeout -k 5 120 "$program" --quick --csv >"$csv" 2>"$work/log"
    result $? "$name runs" <"$work/log"
    strays "${name#bench-}" "$csv" >"$work/strays"
    ! [[ -s $work/strays ]]
    result $? "$name prints rows" <"$work/strays"
done

"$1" --no-such-option >/dev/null 2>"$work/log"
(($? == 2))
result $? "a wrong option is refused" <"$work/log"

if command -v gnuplot >/dev/null; then
    "$top/tools/plot" -o "$work/plots" "$work"/*.csv >"$work/log" 2>&1 &&
        [[ -s $work/plots/results.csv ]] && for gp in "$top"/tools/plots/*.gp; do
        plot=$(basename "$gp" .gp)
        [[ $plot == common ]] || grep -q '</svg>' "$work/plots/$plot.svg" || exit 1
    done 2>>"$work/log"
    result $? "tools/plot draws them" <"$work/log"
else
    echo "ok $((++number)) - tools/plot draws them # SKIP no gnuplot"
fi
exit $failed
