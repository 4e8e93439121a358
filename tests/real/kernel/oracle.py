# SPDX-License-Identifier: LGPL-2.1-or-later
"""oracle.py QMP-SOCKET CARD: what the card's hardware (QEMU's virtio-net) was told, as JSON.

Nothing of the tracker's or the guest kernel's stands between: the filters are what QMP's
query-rx-filter says, and what that does not show (queue pairs in use, offloads, RSS) comes from the
device's section in QEMU's own migration stream, which QEMU writes to a file and goes on.
"""
import json
import os
import socket
import struct
import sys
import tempfile
import time

VLAN_BYTES = 512
KEY_MAX = 40
LINK_UP = 1


class Monitor:
    def __init__(self, path):
        self.line = socket.socket(socket.AF_UNIX)
        self.line.settimeout(30)
        self.line.connect(path)
        self.file = self.line.makefile("rw")
        self.file.readline()
        self("qmp_capabilities")

    def __call__(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline())
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def stream(self):
        """The machine's migration stream without its memory, which is shared and stays."""
        self("migrate-set-capabilities",
             capabilities=[{"capability": "x-ignore-shared", "state": True}])
        with tempfile.NamedTemporaryFile() as file:
            self("migrate", uri=f"exec:cat >{file.name}")
            for _ in range(600):
                status = self("query-migrate").get("status")
                if status in ("completed", "failed", "cancelled"):
                    break
                time.sleep(0.02)
            if status != "completed":
                raise RuntimeError(f"the stream ended with {status}")
            self("cont")
            return file.read()


class Reader:
    def __init__(self, data, at):
        self.data, self.at = data, at

    def __call__(self, form):
        form = ">" + form
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return values[0] if len(values) == 1 else values


def mac(octets):
    return ":".join(f"{octet:02x}" for octet in octets)


def rss(data, end):
    """The subsection of that name, None where there is none: it is written while RSS is on."""
    name = b"virtio-net-device/rss"
    at = data.find(bytes([len(name)]) + name, 0, end)
    if at < 0:
        return None
    read = Reader(data, at + 1 + len(name) + 4)
    enabled, redirect, populate_hash = read("???")
    hash_types, table_len, default = read("IHH")
    key = data[read.at:read.at + KEY_MAX]
    read.at += KEY_MAX
    table = read(f"{table_len}H") if table_len > 1 else (read("H"),) if table_len else ()
    return {"enabled": enabled, "redirect": redirect, "hash": populate_hash,
            "hash_types": hash_types, "default": default, "key": key.hex(), "table": list(table)}


def net_section(data, path, pairs_max, address):
    """What virtio-net's part of @data says: the device's at @path, found by its address."""
    at, found = data.find(path), []
    if at < 0:
        raise RuntimeError(f"the stream has no {path}")
    after = data.find(b"/virtio-net", at + len(path))
    data = data[:after] if after > 0 else data
    want = bytes(int(part, 16) for part in address.split(":"))
    while (at := data.find(want, at)) >= 0:
        read = Reader(data, at + 6)
        at += 1
        try:
            read("I"), read("I")  # tx_waiting, mergeable
            status, promisc, allmulti, in_use = read("HBBI")
            if promisc > 1 or allmulti > 1 or in_use > 64:
                continue
            read.at += 6 * in_use + VLAN_BYTES
            vnet = read("I")
            multi_over, uni_over, alluni, nomulti, nouni, nobcast, ufo = read("BBBBBBB")
            pairs_there, pairs = read("HH")
        except struct.error:
            continue
        if vnet > 64 or pairs_there != pairs_max or not 1 <= pairs <= pairs_max:
            continue
        read.at += 4 * (pairs - 1)  # tx_waiting of the others in use
        found.append({"status": status & LINK_UP, "allmulti": bool(allmulti), "alluni": bool(alluni), "nomulti": bool(nomulti),
                      "nouni": bool(nouni), "nobcast": bool(nobcast), "pairs": pairs,
                      # There since CTRL_GUEST_OFFLOADS was negotiated; else a subsection's text.
                      "offloads": read("Q") if data[read.at] == 0 else None, "end": read.at})
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} places of the stream look like the state of {address}")
    return found[0]


def main():
    path, card = sys.argv[1:3]
    monitor = Monitor(path)
    filters, = [entry for entry in monitor("query-rx-filter") if entry["name"] == card]
    slot = monitor("qom-get", path=f"/machine/peripheral/{card}", property="addr") >> 3
    data = monitor.stream()
    state = net_section(data, f"0000:00:{slot:02x}.0/virtio-net".encode(), 4, filters["main-mac"])
    end = state.pop("end")
    state["rss"] = rss(data[end:end + 8192], 8192)
    # Printed the wrong way round by every QEMU that was looked at; nobcast above is right.
    filters.pop("broadcast-allowed")
    filters.pop("name")
    for table in ("unicast-table", "multicast-table", "vlan-table"):
        filters[table] = sorted(filters[table])
    json.dump({"filters": filters, "device": state}, sys.stdout, sort_keys=True, indent=1)
    print()


main()
