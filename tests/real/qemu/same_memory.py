# SPDX-License-Identifier: LGPL-2.1-or-later
"""same_memory.py PID PID: compares the guest memories (memfds) of two QEMUs, byte for byte. Prints how
many pages there are, how many of them hold anything, and which differ; exit code 0: none."""
import json
import mmap
import os
import sys

PAGE = 4096
STEP = 256 * PAGE


def memory(pid):
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.readlink(path).startswith("/memfd:memory-backend-memfd"):
            with open(path, "rb") as file:
                return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    sys.exit(f"process {pid} has no guest memory in a memfd")


def main():
    one, two = memory(sys.argv[1]), memory(sys.argv[2])
    if len(one) != len(two):
        sys.exit(f"{len(one)} and {len(two)} bytes")
    differ, filled, empty = [], 0, bytes(PAGE)
    for start in range(0, len(one), STEP):
        same = one[start:start + STEP] == two[start:start + STEP]
        for at in range(start, min(start + STEP, len(one)), PAGE):
            page = one[at:at + PAGE]
            filled += page != empty
            if not same and page != two[at:at + PAGE]:
                differ.append(hex(at))
    print(json.dumps({"pages": len(one) // PAGE, "filled": filled, "differ": len(differ), "first": differ[:20]}))
    sys.exit(bool(differ))


main()
