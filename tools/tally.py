#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counts test cases: `tally.py FILE...` prints "PASSED FAILED SKIPPED".

`tally.py --failures FILE...` prints what the cases that failed said; meson keeps it to itself.
`tally.py --names FILE...` prints a line for each of them.

FILE is a meson testlog.json or the TAP output of one program (*.tap). A program that was to print
more cases than it did, or that failed without naming a case, counts as one failure more: a crash
must never make the sum look better.
"""
import json
import os
import re
import sys

LINE = re.compile(r'^(not )?ok\b(?P<rest>.*)$')
PLAN = re.compile(r'^1\.\.(\d+)(\s*#\s*SKIP\b.*)?', re.IGNORECASE)
SKIP = re.compile(r'#\s*SKIP\b', re.IGNORECASE)


def tap(text):
    passed = failed = skipped = 0
    plan = None
    for line in text.splitlines():
        if m := PLAN.match(line):
            plan = int(m[1])
            skipped += plan == 0 and m[2] is not None
        elif line.startswith('Bail out!'):
            failed += 1
        elif m := LINE.match(line):
            if SKIP.search(m['rest']):
                skipped += 1
            elif m[1]:
                failed += 1
            else:
                passed += 1
    short = plan is not None and plan > passed + failed + skipped
    return passed, failed + (1 if short or (plan is None and not failed) else 0), skipped


def meson(text):
    total = [0, 0, 0]
    for line in text.splitlines():
        entry = json.loads(line)
        good = entry['result'] in ('OK', 'EXPECTEDFAIL', 'SKIP')
        stdout = entry.get('stdout', '')
        if re.search(r'^(not ok|ok|1\.\.\d)', stdout, re.MULTILINE):
            case = tap(stdout)
        elif entry['result'] == 'SKIP':
            case = (0, 0, 1)
        else:
            case = (int(good), 0, 0)
        if not good and case[1] == 0:
            case = (case[0], 1, case[2])
        total = [a + b for a, b in zip(total, case)]
    return total


def failures(text):
    for line in text.splitlines():
        entry = json.loads(line)
        telling = 0
        for word in entry.get('stdout', '').splitlines():
            if word.startswith('not ok') or word.startswith('Bail out!'):
                print(f"{entry['name']}: {word}")
                telling = 40
            elif re.match(r'ok\b', word):
                telling = 0
            elif telling > 0:
                print(f'    {word}')
                telling -= 1


def names(name, text):
    """Lines `NAME: not ok ...`; a program that failed without naming a case stands for itself."""
    if name.endswith('.tap'):
        runs = [(os.path.basename(name)[:-len('.tap')], text, tap(text)[1] > 0)]
    else:
        entries = [json.loads(line) for line in text.splitlines()]
        runs = [(f"{e['name']} ({os.path.basename(name).split('-')[0]})", e.get('stdout', ''),
                 e['result'] not in ('OK', 'EXPECTEDFAIL', 'SKIP')) for e in entries]
    for program, output, failed in runs:
        told = [line for line in output.splitlines()
                if line.startswith('Bail out!') or line.startswith('not ok') and not SKIP.search(line)]
        for line in told or (['failed'] if failed else []):
            print(f'# {program}: {line}')


if sys.argv[1:2] == ['--names']:
    for name in sys.argv[2:]:
        with open(name, encoding='utf-8', errors='replace') as file:
            names(name, file.read())
    sys.exit()
if sys.argv[1:2] == ['--failures']:
    for name in sys.argv[2:]:
        with open(name, encoding='utf-8', errors='replace') as file:
            failures(file.read())
    sys.exit()

total = [0, 0, 0]
for name in sys.argv[1:]:
    with open(name, encoding='utf-8', errors='replace') as file:
        text = file.read()
    total = [a + b for a, b in zip(total, (tap if name.endswith('.tap') else meson)(text))]
print(*total)
