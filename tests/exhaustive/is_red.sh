#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Would the tables find a defect? Each row breaks a copy of the chain code in one place, and the
# brief scopes have to notice. Usage: is_red.sh SOURCE-ROOT COMPILER... Prints TAP.
set -u -o pipefail
root=$(realpath "${1:?usage: is_red.sh SOURCE-ROOT COMPILER...}")
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# FILE@what is broken@TEXT@INSTEAD
rows='
chain.c@next = entries is let through in a table@index >= entries@index > entries
chain.c@a loop in a table is not seen@steps == entries@steps == 0
chain.c@a table may be longer than the ring@entries > num@entries > num + 1u
chain.c@a nested table is a buffer@if (desc.flags & VDT_SEG_INDIRECT)@if (desc.flags == 0xffff)
chain.c@a table of odd length is cut@len % ENTRY != 0@len < ENTRY
chain.c@the last entry of a packed table is left out@i < entries@i + 1 < entries
guest_split.c@next = num is let through@index >= num@index > num
guest_split.c@a loop is not seen@slots == num@slots == 0
guest_split.c@INDIRECT with NEXT is taken@ || desc.flags & VDT_SEG_NEXT)@)
guest_packed.c@a chain may overtake what is in flight@slots == room@slots == num
guest_packed.c@a table may follow a buffer@ || slots > 1)@)
guest_packed.c@the wrap counter is forgotten at the end@vdt_packed_advance(pos, 1, num)@((pos & 0x8000) | ((pos & 0x7fff) + 1) % num)
chain_walk.h@buffers to read may follow those to write@(walk->in_writable, 0)@(0, 0)
chain_walk.h@2^32 bytes are not too many@> UINT32_MAX@> UINT32_MAX + 1ull
chain_walk.h@an address may wrap@return VDT_FAULT_ADDRESS@(void) end
'

# build COMPILER...: $work/tables, with what stands in $work/src before what stands in src/
build()
{
    local file sources=()
    for file in chain guest_ring guest_split guest_packed ring; do
        if [ -e "$work/src/virtio/$file.c" ]; then
            sources+=("$work/src/virtio/$file.c")
        else
            sources+=("$root/src/virtio/$file.c")
        fi
    done
    "$@" -std=gnu11 -O1 -fno-strict-aliasing -D_GNU_SOURCE -I"$work/src" -I"$root/src" -I"$root/tests" -w \
        "$root"/tests/exhaustive/{reference,scope,tables}.c "${sources[@]}" -o "$work/tables"
}

number=0
failed=0
verdict()
{
    number=$((number + 1))
    if [ "$1" = 0 ]; then
        echo "ok $number - $2"
    else
        echo "not ok $number - $2"
        failed=1
    fi
}

mkdir -p "$work/src/virtio"
build "$@" && timeout 120 "$work/tables" --brief >/dev/null
verdict $? "whole code is green"
while IFS=@ read -r file what text instead; do
    [ -n "$file" ] || continue
    rm -f "$work"/src/virtio/*
    python3 - "$root/src/virtio/$file" "$work/src/virtio/$file" "$text" "$instead" <<'PY'
import sys
path, out, text, instead = sys.argv[1:]
code = open(path).read()
assert text in code, f'{text} does not stand in {path}'
open(out, 'w').write(code.replace(text, instead))
PY
    if build "$@" && [ -e "$work/src/virtio/$file" ]; then
        timeout 120 "$work/tables" --brief >/dev/null 2>&1
        [ $? = 1 ]
    else
        false
    fi
    verdict $? "found: $what"
done <<<"$rows"
echo "1..$number"
exit $failed
