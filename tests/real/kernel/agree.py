# SPDX-License-Identifier: LGPL-2.1-or-later
"""agree.py START SETTLE ORACLE: does the card hold what the guest has set? Each difference a line.

START and SETTLE are the guest's answers (guest.c), ORACLE is the card's (oracle.py). What the guest
never set is at QEMU's default (virtio_net_reset()): promiscuous, one pair, all negotiated offloads.
"""
import json
import sys

TABLE_MAX = 64  # MAC_TABLE_ENTRIES
OFFLOADS = sum(1 << bit for bit in (1, 7, 8, 9, 10))  # GUEST_CSUM, TSO4, TSO6, ECN, UFO
MODES = {"promisc": True, "allmulti": False, "alluni": False, "nomulti": False, "nouni": False,
         "nobcast": False}


def tables(table):
    """What QEMU keeps of a MAC table: a list that does not fit becomes an overflow flag."""
    unicast, multicast = table["unicast"], table["multicast"]
    unicast_over = len(unicast) > TABLE_MAX
    used = 0 if unicast_over else len(unicast)
    multicast_over = used + len(multicast) > TABLE_MAX
    return {"unicast-overflow": unicast_over, "multicast-overflow": multicast_over,
            "unicast-table": [] if unicast_over else sorted(unicast),
            "multicast-table": [] if multicast_over else sorted(multicast)}


def want(start, guest):
    state = {"main-mac": guest["mac"] or start["mac"]}
    for mode, default in MODES.items():
        value = guest["rx"][mode]
        state[mode] = default if value is None else value
    state.update(tables(guest["mac_table"] or {"unicast": [], "multicast": []}))
    state["vlan-table"] = guest["vlans"] or []
    state["pairs"] = guest["queue_pairs"] or 1
    offloads = guest["guest_offloads"]
    state["offloads"] = int(offloads["hex"], 16) if offloads else start["features"] & OFFLOADS
    rss = guest["rss"]
    state["rss"] = rss and {"hash_types": int(rss["hash_types"], 16), "key": rss["key"],
                            "default": rss["unclassified"], "table": rss["table"]}
    return state


def have(oracle):
    filters, device = oracle["filters"], oracle["device"]
    state = {name: filters[name] for name in (
        "main-mac", "unicast-overflow", "multicast-overflow", "unicast-table", "multicast-table",
        "vlan-table")}
    state["promisc"] = filters["promiscuous"]
    state["allmulti"] = device["allmulti"]
    for name in ("alluni", "nomulti", "nouni", "nobcast", "pairs", "offloads"):
        state[name] = device[name]
    rss = device["rss"]
    state["rss"] = {name: rss[name] for name in ("hash_types", "key", "default", "table")} \
        if rss and rss["enabled"] else None
    return state


def main():
    start, settle, oracle = (json.load(open(file, encoding="ascii")) for file in sys.argv[1:4])
    wanted, held = want(start, settle["expected"]), have(oracle)
    wrong = [name for name in wanted if wanted[name] != held[name]]
    for name in wrong:
        print(f"{name}: the guest set {wanted[name]}, the card has {held[name]}")
    if not wrong:
        print(f"{len(wanted)} fields agree")
    sys.exit(1 if wrong else 0)


main()
