# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What a NIC is asked to do, in the same words whoever is asked. Needs lib.sh and a function
# guest COMMAND [SECONDS].
# shellcheck disable=SC2154 # work: of lib.sh

# guest_view COMMAND: what the guest's own tools say of eth0; what COMMAND says in the end of
# $work/view.raw. bridge(8) lists all addresses it takes, each list of the
# NIC's; ip's list of groups has some twice.
guest_view() {
    guest "printf '%s\n' 'link show dev eth0' 'maddr show dev eth0' 'link show type vlan' | ip -j -d -batch -
        bridge -j fdb show dev eth0
        ethtool -l eth0
        $1" 40 >"$work/view.raw"
    jq -sS --argjson pairs "$(sed -n '/Current/,$s/^Combined:[[:space:]]*//p' "$work/view.raw")" '{
        mac: .[0][0].address,
        promisc: (.[0][0].promiscuity > 0),
        allmulti: (.[0][0].flags | index("ALLMULTI") != null),
        unicast: [.[3][].mac | select(test("^.[02468ace]:"))] | unique,
        multicast: [.[1][0].maddr[] | select(.link) | .link] | unique,
        vlans: [.[2][] | .linkinfo.info_data.id] | sort,
        queue_pairs: $pairs }' <(sed '/^Channel/,$d' "$work/view.raw")
}

# The same of a control state on stdin (a snapshot's or a device's).
told_view() {
    jq -S '{
        mac: .mac, promisc: (.rx.promisc // false), allmulti: (.rx.allmulti // false),
        unicast: (.mac_table.unicast // [] | unique), multicast: (.mac_table.multicast // [] | unique),
        vlans: ((.vlans // []) - [0] | sort), queue_pairs: .queue_pairs }'
}
