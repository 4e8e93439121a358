#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# check.sh and shell.sh find what they are for. Usage: check_is_red.sh SOURCE-ROOT. Breaks a copy of
# the tree in one place at a time and wants one offender more than before: that place, in the check of
# that number.
set -u
root=${1:?usage: check_is_red.sh SOURCE-ROOT}
here=$(cd "$(dirname "$0")" && pwd)
check=$here/check.sh
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
number=0
failed=0
spdx='/* SPDX-License-Identifier: LGPL-2.1-or-later */'

result()
{
    number=$((number + 1))
    if [ "$1" = 0 ]; then
        echo "ok $number - $2"
    else
        echo "not ok $number - $2"
        sed 's/^/# /' "$work/out"
        failed=1
    fi
}

# edit PATH: is about to be changed or made; red() puts it back as it was.
edit()
{
    edited=$1
    rm -rf "$work/kept"
    [ ! -e "$edited" ] || cp -a "$edited" "$work/kept"
}

put_back()
{
    rm -rf "$edited"
    [ ! -e "$work/kept" ] || mv "$work/kept" "$edited"
}

# red NUMBER WHERE TITLE
red()
{
    bash "$check" "$work/tree" >"$work/out"
    [ "$(diff "$work/before" "$work/out" | grep -c '^> # ')" = 1 ] &&
        diff "$work/before" "$work/out" | grep -qF "> # $2" && grep -q "^not ok $1 " "$work/out"
    result $? "$3"
    put_back
}

echo 1..20

mkdir "$work/tree"
cp -r "$root"/{src,include,tools,tests,proto,docs,meson.build,meson_options.txt} "$work/tree"
cd "$work/tree" || exit 2
bash "$check" "$work/tree" >"$work/before"
cp "$work/before" "$work/out"
[ "$(grep -c '^\(not \)\?ok [1-6] ' "$work/before")" = 6 ]
result $? "every check speaks"

edit src/virtio/features.h
sed -i '$a #include "memory/guest_map.h"' "$edited"
red 1 "$edited:" "an include of a layer above is found"
edit src/base/fd.c
sed -i '$a #include "virtio/ring.h"' "$edited"
red 1 "$edited:" "base includes nothing of ours"
edit src/guest/new.h
printf '%s\n#include "device/device.h"\n' "$spdx" >"$edited"
red 1 "$edited:2" "the guest sees one header of vhost_user and no device"
edit include/vdpa-tracker/error.h
sed -i '$a #include <glib.h>\n#include "base/fd.h"' "$edited"
red 1 "$edited:" "a public header includes nothing of src"
edit src/base/fd.c
sed -i '$a #include "lib/leak.h"' "$edited"
bash "$check" "$work/tree" >"$work/out"
grep -q '^not ok 1 ' "$work/out" && grep -q '^# src/base/fd.c:.*nothing of lib/' "$work/out"
result $? "src includes nothing of the tests"
put_back

edit src/base/log.c
for _ in $(seq 600); do echo; done >>"$edited"
red 2 "$edited:" "a file that is too long is found"

edit src/memory/sigbus.c
sed -i '$a #include "../memory/span_table.h"' "$edited"
red 3 "$edited:" "a relative include is found"
edit src/memory/sigbus.c
sed -i '$a #include <base/fd.h>' "$edited"
red 3 "$edited:" "an include of ours in angles is found"
edit src/memory/sigbus.c
sed -i '$a #include "memory/no_such_noun.h"' "$edited"
red 3 "$edited:" "an include of nothing is found"

edit src/base/meson.build
sed -i 1d "$edited"
red 4 "$edited:1" "a build file without licence is found"
edit tools/new-program
printf '#!/bin/sh\ntrue\n' >"$edited"
red 4 "$edited:2" "a program without licence is found"
edit src/base/empty.h
: >"$edited"
red 4 "$edited:1" "an empty file is found"

edit src/base/lonely.c
printf '%s\n' "$spdx" >"$edited"
red 5 "$edited:1" "a source file without header is found"
edit src/memory/dirty_log_part.c
printf '%s\n' "$spdx" >"$edited"
red 5 "$edited:1" "a part that does not include its noun is found"
edit src/attic
mkdir "$edited"
red 5 "$edited:1" "a folder outside the layers is found"

edit src/base/fd.c
sed -i '$a /* FIX''ME: later */' "$edited"
red 6 "$edited:" "unfinished work is found"

# shell_red WHERE TITLE: shell.sh on a small tree finds that, or nothing.
shell_red()
{
    if ! command -v shellcheck >/dev/null; then
        number=$((number + 1))
        echo "ok $number - $2 # SKIP shellcheck is not installed"
        return
    fi
    bash "$here/shell.sh" "$work/small" >"$work/out"
    if [ -z "$1" ]; then
        grep -q '^ok 1 ' "$work/out"
    else
        grep -q '^not ok 1 ' "$work/out" && [ "$(grep -c '^# ' "$work/out")" = 1 ] && grep -q "^# $1:" "$work/out"
    fi
    result $? "$2"
    put_back
}

mkdir -p "$work/small/tools" "$work/small/tests"
printf '#!/bin/sh\ncd /tmp || exit\n' >"$work/small/tools/good"
edit "$work/small/none"
shell_red '' "a clean script passes"
edit "$work/small/tools/bad"
printf '#!/bin/bash\ncd /tmp\n' >"$edited"
shell_red tools/bad:2 "what shellcheck says of a program is found"
edit "$work/small/tests/bad.sh"
printf '# shellcheck shell=sh\ncd /tmp\n' >"$edited"
shell_red tests/bad.sh:2 "what shellcheck says of a part of one is found"
exit $failed
