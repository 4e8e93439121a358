# SPDX-License-Identifier: LGPL-2.1-or-later
"""Talks to a QEMU monitor.

qmp.py SOCKET COMMAND [ARGUMENTS]   prints what the command returns; exit code 1 and the error's text
qmp.py SOCKET --migrate URI SECONDS   migrates, waits for the end, prints query-migrate; exit code 0
                                    only where it completed
qmp.py SOCKET --until STATUS SECONDS  waits until query-migrate's status is that
qmp.py SOCKET --events              prints events, a line each, until QEMU ends
"""
import json
import socket
import sys
import time


class Monitor:
    def __init__(self, path, seconds=60):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(seconds)
        self.socket.connect(path)
        self.lines = self.socket.makefile("r", encoding="utf-8")
        self.lines.readline()
        self.execute("qmp_capabilities")

    def execute(self, command, arguments=None):
        message = {"execute": command}
        if arguments:
            message["arguments"] = arguments
        self.socket.sendall(json.dumps(message).encode() + b"\n")
        for line in self.lines:
            answer = json.loads(line)
            if "error" in answer:
                sys.exit(answer["error"]["desc"])
            if "return" in answer:
                return answer["return"]
        sys.exit("QEMU has gone")


def wait(monitor, statuses, seconds):
    end = time.monotonic() + seconds
    while True:
        state = monitor.execute("query-migrate")
        if state.get("status") in statuses:
            return state
        if time.monotonic() > end:
            print(json.dumps(state))
            sys.exit(f"no {' or '.join(statuses)} within {seconds} s")
        time.sleep(0.02)


def main():
    path, what, *rest = sys.argv[1:]
    monitor = Monitor(path)
    if what == "--events":
        monitor.socket.settimeout(None)
        for line in monitor.lines:
            print(line, end="", flush=True)
    elif what == "--migrate":
        monitor.execute("migrate", {"uri": rest[0]})
        state = wait(monitor, ("completed", "failed", "cancelled"), float(rest[1]))
        print(json.dumps(state))
        sys.exit(state["status"] != "completed")
    elif what == "--until":
        print(json.dumps(wait(monitor, (rest[0],), float(rest[1]))))
    else:
        print(json.dumps(monitor.execute(what, json.loads(rest[0]) if rest else None)))


main()
