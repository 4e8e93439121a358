#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# check.sh finds what it is for. Usage: check_is_red.sh SOURCE-ROOT. Breaks a copy of the tree in one
# place at a time and wants one offender more than before: that place, in the check of that number.
set -u
root=${1:?usage: check_is_red.sh SOURCE-ROOT}
check=$(cd "$(dirname "$0")" && pwd)/check.sh
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

fresh()
{
    rm -rf "$work/tree"
    mkdir "$work/tree"
    cp -r "$root"/{src,include,tools,tests,proto,docs,meson.build,meson_options.txt} "$work/tree"
    cd "$work/tree" || exit 2
}

# red NUMBER WHERE TITLE
red()
{
    bash "$check" "$work/tree" >"$work/out"
    [ "$(diff "$work/before" "$work/out" | grep -c '^> # ')" = 1 ] &&
        diff "$work/before" "$work/out" | grep -qF "> # $2" && grep -q "^not ok $1 " "$work/out"
    result $? "$3"
}

echo 1..17

fresh
bash "$check" "$work/tree" >"$work/before"
cp "$work/before" "$work/out"
[ "$(grep -c '^\(not \)\?ok [1-6] ' "$work/before")" = 6 ]
result $? "every check speaks"

fresh
sed -i '$a #include "memory/guest_map.h"' src/virtio/features.h
red 1 "src/virtio/features.h:" "an include of a layer above is found"
fresh
sed -i '$a #include "virtio/ring.h"' src/base/fd.c
red 1 "src/base/fd.c:" "base includes nothing of ours"
fresh
printf '%s\n#include "device/device.h"\n' "$spdx" >src/guest/new.h
red 1 "src/guest/new.h:2" "the guest sees one header of vhost_user and no device"
fresh
sed -i '$a #include <glib.h>\n#include "base/fd.h"' include/vdpa-tracker/error.h
red 1 "include/vdpa-tracker/error.h:" "a public header includes nothing of src"
fresh
sed -i '$a #include "lib/leak.h"' src/base/fd.c
bash "$check" "$work/tree" >"$work/out"
grep -q '^not ok 1 ' "$work/out" && grep -q '^# src/base/fd.c:.*nothing of lib/' "$work/out"
result $? "src includes nothing of the tests"

fresh
for _ in $(seq 600); do echo; done >>src/base/log.c
red 2 "src/base/log.c:" "a file that is too long is found"

fresh
sed -i '$a #include "../memory/span_table.h"' src/memory/sigbus.c
red 3 "src/memory/sigbus.c:" "a relative include is found"
fresh
sed -i '$a #include <base/fd.h>' src/memory/sigbus.c
red 3 "src/memory/sigbus.c:" "an include of ours in angles is found"
fresh
sed -i '$a #include "memory/no_such_noun.h"' src/memory/sigbus.c
red 3 "src/memory/sigbus.c:" "an include of nothing is found"

fresh
sed -i 1d src/base/meson.build
red 4 "src/base/meson.build:1" "a build file without licence is found"
fresh
printf '#!/bin/sh\ntrue\n' >tools/new-program
red 4 "tools/new-program:2" "a program without licence is found"
fresh
: >src/base/empty.h
red 4 "src/base/empty.h:1" "an empty file is found"

fresh
printf '%s\n' "$spdx" >src/base/lonely.c
red 5 "src/base/lonely.c:1" "a source file without header is found"
fresh
printf '%s\n' "$spdx" >src/memory/dirty_log_part.c
red 5 "src/memory/dirty_log_part.c:1" "a part that does not include its noun is found"
fresh
mkdir src/attic
red 5 "src/attic:1" "a folder outside the layers is found"

fresh
sed -i '$a /* FIX''ME: later */' src/base/fd.c
red 6 "src/base/fd.c:" "unfinished work is found"
exit $failed
