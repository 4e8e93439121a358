#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Manual pages say what the program says. Usage: man.sh PAGES PROGRAM. Prints TAP.
set -u -o pipefail
export LC_ALL=C
pages=${1:?usage: man.sh PAGES PROGRAM}
program=${2:?usage: man.sh PAGES PROGRAM}
number=0
failed=0

# result TITLE < offenders, one a line
result()
{
    local offenders
    offenders=$(cat)
    number=$((number + 1))
    if [[ -z $offenders ]]; then
        echo "ok $number - $1"
    else
        echo "not ok $number - $1"
        echo "# ${offenders//$'\n'/$'\n'# }"
        failed=1
    fi
}

# same LEFT RIGHT: lines of one and not of the other; each side's name stands before them
same()
{
    comm -3 <(sort -u <<<"$1") <(sort -u <<<"$2") | sed -e 's/^\t/only in the page: /' -e t -e 's/^/only in the program: /'
}

help_verbs()
{
    "$program" help | awk '/^A first try/ { exit } /^  [a-z]/ { print $1 }'
}

# "-o, --output=FILE" as --help prints it
help_options()
{
    "$program" "$1" --help | sed -nE 's/^  ((-[a-z], )?--[a-z-]+(=[^ ]+)?).*/\1/p'
}

# The same of a page's ".It Fl o , Fl -output Ns = Ns Ar FILE"
page_options()
{
    sed -nE '/^\.It Fl/ { s/^\.It //; s/Fl /-/g; s/ , /, /; s/ Ns = Ns Ar /=/; s/ \| /|/g; p }' "$1"
}

# What a page's ".It Cm WORD" name, with a value's name where the macro line has one
page_words()
{
    sed -nE '/^\.It Cm/ { s/^\.It Cm //; s/ Ns = Ns Ar /=/; s/ Ns Ar //; p }' "$1"
}

mapfile -t verbs < <(help_verbs | grep -vx help)
echo "1..$((${#verbs[@]} + 7))"

result "each verb has a page, each page a verb" < <(
    same "$(printf '%s\n' "${verbs[@]}")" \
        "$(find "$pages" -name 'vdpa-tracker-*.1' | sed 's,.*/vdpa-tracker-,,; s,\.1$,,')"
)
result "vdpa-tracker(1) lists the verbs" < <(
    same "$(help_verbs)" \
        "$(sed -n '/^\.Ss Verbs/,/^\.Ss Devices/s/^\.It Cm \([a-z-]*\).*/\1/p' "$pages/vdpa-tracker.1")"
)
for verb in "${verbs[@]}"; do
    result "options of $verb" < <(
        same "$(help_options "$verb")" "$(page_options "$pages/vdpa-tracker-$verb.1")"
    )
done
result "options of sim:" < <(
    same "$("$program" help sim | sed -nE 's/^  ([^ ]+) .*/\1/p')" \
        "$(page_words "$pages/vdpa-tracker-sim.7")"
)
result "pages refer to pages that are there" < <(
    grep -noE '^\.Xr vdpa-tracker[a-z-]* [0-9]' "$pages"/*.[0-9] | while read -r where name section; do
        [[ -e $pages/$name.$section ]] || echo "${where%:*}: $name($section)"
    done
)
# Commands of this verb in pages beside the manual, with the lines that go on.
ci_options()
{
    sed -n '/vdpa-tracker ci-migrate/,/junit\|^ *[^- ]/p' "$pages"/../ci.md "$pages"/../examples/*.yml | grep -oE -- ' --[a-z-]+' | sort -u
}
result "sample pipelines use options that are there" < <(
    [[ -n $(ci_options) ]] || echo "no command is found in ci.md and examples/"
    ci_options | while read -r option; do
        help_options ci-migrate | grep -qE -- "$option(=|\$)" || echo "ci-migrate has no $option"
    done
)
result "every page is installed" < <(
    same "$(find "$pages" -name '*.[0-9]' -printf '%f\n')" "$(sed -n "s/^  '\(.*\)',$/\1/p" "$pages/meson.build")"
)
if command -v mandoc >/dev/null; then
    result "mandoc finds nothing to warn of" < <(mandoc -T lint -W warning "$pages"/*.[0-9])
else
    echo "ok $((number + 1)) # SKIP mandoc is not installed"
fi
exit $failed
