#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vlan-arp.py INTERFACE VID SENDER TARGET: asks for TARGET by ARP inside a VLAN, waits for the answer.

By raw frames, since not every kernel that tests run on has VLAN interfaces. Exit code 0: answered
within that VLAN.
"""
import socket
import struct
import sys
import time

ETH_P_ALL, ETH_P_ARP, ETH_P_8021Q = 3, 0x0806, 0x8100
SOL_PACKET, PACKET_AUXDATA, TP_STATUS_VLAN_VALID = 263, 8, 1 << 4
AUXDATA = struct.Struct('=IIIHHHH')

interface, vid, sender, target = sys.argv[1], int(sys.argv[2]), *map(socket.inet_aton, sys.argv[3:5])


def untag(frame, control):
    """The VLAN and the rest of a frame; the kernel hands the tag over beside it or leaves it in."""
    for level, kind, data in control:
        if level == SOL_PACKET and kind == PACKET_AUXDATA and len(data) >= AUXDATA.size:
            status, _, _, _, _, tci, _ = AUXDATA.unpack(data[:AUXDATA.size])
            if status & TP_STATUS_VLAN_VALID:
                return tci & 0xfff, frame[12:]
    if frame[12:14] == struct.pack('!H', ETH_P_8021Q):
        return struct.unpack('!H', frame[14:16])[0] & 0xfff, frame[16:]
    return 0, frame[12:]


with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as wire:
    wire.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    wire.bind((interface, ETH_P_ALL))
    wire.settimeout(0.2)
    mac = wire.getsockname()[4]
    question = (b'\xff' * 6 + mac + struct.pack('!HHHHHBBH', ETH_P_8021Q, vid, ETH_P_ARP, 1, 0x0800, 6, 4, 1)
                + mac + sender + bytes(6) + target)
    deadline = time.monotonic() + 5
    answer = struct.pack('!HHHBBH', ETH_P_ARP, 1, 0x0800, 6, 4, 2)
    asked = 0
    while time.monotonic() < deadline:
        if time.monotonic() - asked > 0.5:
            wire.send(question.ljust(64, b'\0'))
            asked = time.monotonic()
        try:
            frame, control, _, _ = wire.recvmsg(2048, 128)
        except TimeoutError:
            continue
        found, rest = untag(frame, control)
        if found == vid and rest.startswith(answer) and rest[len(answer) + 6:len(answer) + 10] == target:
            sys.exit(0)
print(f'no answer of {sys.argv[4]} in VLAN {vid} on {interface}')
sys.exit(1)
