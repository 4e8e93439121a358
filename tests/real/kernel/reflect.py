# SPDX-License-Identifier: LGPL-2.1-or-later
"""reflect.py INTERFACE FILE: the network behind a card. Sends every frame back as it came.

The built-in guest's frames are addressed to itself and numbered (src/guest/frames.c), so what went
out and what came back can be counted on both sides. Ends by SIGTERM; FILE then says which numbers
were seen, as ranges, how often one came twice, and what this socket had to drop.
"""
import json
import signal
import socket
import struct
import sys

ETH_P_ALL = 3
SOL_PACKET, PACKET_STATISTICS, PACKET_AUXDATA = 263, 6, 8
SO_RCVBUFFORCE = 33
VLAN_VALID = 1 << 4
MAGIC = 0x76647467
IP_AND_UDP = 28


class Stop(Exception):
    pass


def stop(*_):
    raise Stop


def whole(frame, ancillary):
    """The frame with its VLAN tag, which the kernel takes out."""
    for level, kind, data in ancillary:
        if level == SOL_PACKET and kind == PACKET_AUXDATA:
            status, _, _, _, _, tci, tpid = struct.unpack_from("=IIIHHHH", data)
            if status & VLAN_VALID:
                return frame[:12] + struct.pack(">HH", tpid or 0x8100, tci) + frame[12:]
    return frame


def number(frame):
    """Of a frame of the guest's; None of any other."""
    at = 18 if frame[12:14] == b"\x81\x00" else 14
    if len(frame) < at + IP_AND_UDP + 12 or frame[at - 2:at] != b"\x08\x00":
        return None
    magic, n = struct.unpack_from("<IQ", frame, at + IP_AND_UDP)
    return n if magic == MAGIC else None


def ranges(numbers):
    out = []
    for n in sorted(numbers):
        if out and out[-1][1] == n - 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return out


def main():
    interface, file = sys.argv[1:3]
    signal.signal(signal.SIGTERM, stop)
    seen, twice, others, unsent = set(), 0, 0, 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as line:
        line.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        line.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        line.bind((interface, ETH_P_ALL))
        try:
            while True:
                frame, ancillary, _, address = line.recvmsg(2048, 64)
                if address[2] == socket.PACKET_OUTGOING:
                    continue
                frame = whole(frame, ancillary)
                n = number(frame)
                if n is None:
                    others += 1
                    continue
                twice += n in seen
                seen.add(n)
                try:
                    line.send(frame)
                except OSError:
                    unsent += 1
        except Stop:
            pass
        _, dropped = struct.unpack("II", line.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
    with open(file, "w", encoding="ascii") as out:
        json.dump({"seen": ranges(seen), "count": len(seen), "twice": twice, "others": others,
                   "dropped": dropped, "unsent": unsent}, out)


main()
