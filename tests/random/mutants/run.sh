#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# usage: run.sh SOURCE-ROOT BUILD-ROOT. Breaks the tracker once a patch and wants the random
# migrations to notice. Only the changed file is compiled; it is linked in front of the library.
set -euo pipefail
root=$(realpath "$1") build=$(realpath "$2")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$build"
link=$(ninja -t commands tests/random/random-migrations | tail -n 1)
n=0 bad=0 seeds=400
for patch in "$root"/tests/random/mutants/*.patch; do
    name=$(basename "$patch" .patch) n=$((n + 1))
    file=$(sed -n 's,^+++ b/,,p' "$patch")
    mkdir -p "$scratch/$(dirname "$file")"
    cp "$root/$file" "$scratch/$file"
    (cd "$scratch" && patch -s -p1 <"$patch")
    object=libvdt.a.p/$(tr / _ <<<"$file").o
    compile=$(ninja -t commands "$object" | tail -n 1)
    compile=${compile% -c *}
    compile=$(sed -E 's, -M[DQF]( [^ ]*\.(o|d))?,,g; s, -o [^ ]*,,; s,-Werror,,' <<<"$compile")
    bash -c "$compile -o $scratch/$name.o -c $scratch/$file"
    bash -c "$(sed -E "s,-o [^ ]+,-o $scratch/$name $scratch/$name.o," <<<"$link")"
    out=$(timeout 300 "$scratch/$name" --count "$seeds") || :
    if why=$(grep -m1 -o 'seed [0-9]* failed: [^(]*' <<<"$out"); then
        echo "ok $n - $name: $why"
    else
        echo "not ok $n - $name was not noticed by $seeds seeds"
        bad=1
    fi
done
echo "1..$n"
exit "$bad"
