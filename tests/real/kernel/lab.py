# SPDX-License-Identifier: LGPL-2.1-or-later
"""lab.py SOCKET SECONDS: runs the shell script on stdin in the lab's machine (see init.sh)."""
import base64
import socket
import sys
import time


def run(path, seconds, script):
    """The machine's answer: (exit code, stdout, stderr); code 124 when it came too late."""
    end = time.monotonic() + seconds
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
        line.sendall(base64.b64encode(script) + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            line.settimeout(max(0.01, end - time.monotonic()))
            try:
                more = line.recv(65536)
            except TimeoutError:
                return 124, b"", b"the machine did not answer in time\n"
            if not more:
                return 125, b"", b"the machine has gone\n"
            # Of an earlier command that was given up: its answer is not ours. One line, one answer.
            answer += more
    word, code, *texts = answer.decode().split(" ")
    if word != "done":
        return 125, b"", answer
    out, err = "".join(texts).split(".")[:2]
    return int(code), base64.b64decode(out), base64.b64decode(err)


def main():
    code, out, err = run(sys.argv[1], float(sys.argv[2]), sys.stdin.buffer.read())
    sys.stdout.buffer.write(out)
    sys.stderr.buffer.write(err)
    sys.exit(code)


main()
