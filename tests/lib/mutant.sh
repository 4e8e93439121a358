# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A program of the build folder, with source files broken by a patch.
#
# mutant ROOT BUILD PATCH TARGET OUTPUT: only the changed files are compiled; they are linked in front of
# the library. Works in OUTPUT.d.
mutant() {
    local root=$1 build=$2 patch=$3 target=$4 output=$5 file scratch=$5.d objects='' object compile link
    local files
    mapfile -t files < <(sed -n 's,^+++ b/,,p' "$patch")
    for file in "${files[@]}"; do
        mkdir -p "$scratch/$(dirname "$file")"
        cp "$root/$file" "$scratch/$file"
    done
    (cd "$scratch" && patch -s -p1 <"$patch") || return 1
    for file in "${files[@]}"; do
        object=libvdt.a.p/$(tr / _ <<<"$file").o
        compile=$(ninja -C "$build" --quiet -t commands "$object" | tail -n 1)
        compile=${compile% -c *}
        compile=$(sed -E 's, -M[DQF]( [^ ]*\.(o|d))?,,g; s, -o [^ ]*,,; s,-Werror,,' <<<"$compile")
        object=$scratch/$(basename "$file").o
        (cd "$build" && bash -c "$compile -o $object -c $scratch/$file") || return 1
        objects+=" $object"
    done
    link=$(ninja -C "$build" --quiet -t commands "$target" | tail -n 1)
    (cd "$build" && bash -c "$(sed -E "s,-o [^ ]+,-o $output$objects," <<<"$link")")
}
