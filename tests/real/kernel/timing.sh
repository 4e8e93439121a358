# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034,SC2154 # of kernel-vdpa and lib.sh
# A part of kernel-vdpa: what a move to another card costs, and what of that is the card's own.

many=4094
rounds=5 # of two swaps each

# column FILE N: its middle and its least.
column() {
    awk -v n="$2" '{ print $n }' "$1" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)], v[1] }'
}

# Frozen, of which replay, commands; then the same VLANs by kernel-bare on the card that was left, in
# microseconds (the middle of three), and how many it took. A line a swap.
swaps() {
    in_lab "for n in \$(seq $1); do for way in '$(node vdpa1) $(node vdpa0)' '$(node vdpa0) $(node vdpa1)'; do
            set -- \$way
            frozen=\$(vdpa-tracker swap src --device \$1 --json | json frozen_us) || exit 1
            status=\$(vdpa-tracker status src --json)
            echo \$frozen \$(echo \"\$status\" | json replay_us) \$(echo \"\$status\" | json replayed) \$(kernel-bare \${2#vhost-vdpa:} $many)
        done; done" 150
}

timing() {
    local part='time: ' frozen replay bare all
    must 'a guest on the first card' in_lab "tracker_start src --device $(node vdpa0) && guest_open"
    must 'that sets nothing' guest_does idle 'begin /run/vt/src.sock' still
    check 'it is swapped there and back' swaps 1
    cp "$work/check.out" "$work/few"
    must 'it has all VLANs' in_lab "vdpa-tracker snapshot src -o /tmp/few.vdts && kernel-vlans /tmp/few.vdts /tmp/many.vdts $many &&
        vdpa-tracker restore src /tmp/many.vdts"
    must 'and is swapped there and back' swaps $rounds
    cp "$work/check.out" "$work/many"
    check 'each card holds all of them' oracle card0 net0
    check 'the last one that it came to' true_of card0 ".filters[\"vlan-table\"] == [range(1; $many + 1)]"
    same 'each time all commands were replayed, and taken by the bare loop' "$((rounds * 2)) $many" \
        "$(awk -v n=$many '$3 > n && $5 == n { print $5 }' "$work/many" | uniq -c | xargs)"
    read -r frozen _ <<<"$(column "$work/few" 1)"
    note "swap of $(awk 'NR == 1 { print $3 }' "$work/few") commands: $frozen us without the card (median of $(wc -l <"$work/few"))"
    read -r frozen _ <<<"$(column "$work/many" 1)"
    replay=$(column "$work/many" 2)
    bare=$(column "$work/many" 4)
    all=$(awk 'NR == 1 { print $3 }' "$work/many")
    note "swap of $all commands: $frozen us without the card, of which replay ${replay% *} (least ${replay#* })"
    note "a bare loop of $many of them, each time the middle of three: ${bare% *} us (least ${bare#* })"
    note "replay takes $((100 * ${replay% *} / ${bare% *})) % of that by medians, $((100 * ${replay#* } / ${bare#* })) % by the least"
    # Emulated processors on a busy machine: only what is far off is an error.
    check 'replay is about as fast as the card' \
        test $((100 * ${replay% *} / ${bare% *})) -le 200 -o $((100 * ${replay#* } / ${bare#* })) -le 200
    check 'the guest ends' in_lab guest_close
    check 'the tracker ends' in_lab 'tracker_stop src'
    check 'the kernel is quiet' kernel_quiet
}
