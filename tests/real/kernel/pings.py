# SPDX-License-Identifier: LGPL-2.1-or-later
"""pings.py SWAP <PINGS: what `ping -D -O -i 0.02` has seen while a guest moved, as JSON.

SWAP is the report of the move. An answer can be lost from the later of two moments on, when its
question was sent and when the answer before it came; beyond_ms is how far the worst loss reaches
out of the move's window. The last questions may be under way when ping is told to stop.
"""
import json
import re
import sys

INTERVAL_US = 20000
ANSWER = re.compile(r"\[(\d+)\.(\d{6})\] .*icmp_seq=(\d+) .*time=([\d.]+) ms( \(DUP!\))?")
NONE_YET = re.compile(r"\[(\d+)\.(\d{6})\] no answer yet for icmp_seq=(\d+)")
SUM = re.compile(r"(\d+) packets transmitted, (\d+) received")


def runs(numbers):
    """Consecutive numbers as [first, last]."""
    out = []
    for n in sorted(numbers):
        if out and out[-1][1] == n - 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return out


def main():
    with open(sys.argv[1], encoding="ascii") as file:
        window = json.load(file)
    sent, got, doubled, total = {}, {}, 0, None
    for line in sys.stdin:
        if match := ANSWER.match(line):
            n, at = int(match[3]), int(match[1] + match[2])
            doubled += n in got
            got.setdefault(n, at)
            sent[n] = at - int(float(match[4]) * 1000)
        elif match := NONE_YET.match(line):
            # Said when the next one is sent.
            sent.setdefault(int(match[3]) + 1, int(match[1] + match[2]))
        elif match := SUM.match(line):
            total = int(match[1])
    if total is None:
        sys.exit("ping did not come to its end")
    losses, beyond = [], 0
    for first, last in runs(set(range(1, max(got, default=0))) - set(got)):
        at_least = sent.get(first - 1, 0) + INTERVAL_US
        start = max(sent.get(first, at_least), got.get(first - 1, 0))
        end = sent.get(last, start)
        losses.append([first, last])
        beyond = max(beyond, window["window_start_us"] - start, end - window["window_end_us"])
    before = sum(at < window["window_start_us"] for at in got.values())
    after = sum(at > window["window_end_us"] for at in got.values())
    json.dump({"sent": total, "received": len(got), "under_way": total - max(got, default=0),
               "doubled": doubled, "before": before, "after": after, "losses": losses,
               "beyond_ms": beyond / 1000,
               "longest_ms": max((got[n] - sent[n] for n in got), default=0) / 1000}, sys.stdout)
    print()


main()
