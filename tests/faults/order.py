#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A snapshot file is written, synced, renamed, and its directory synced: in that order, by a trace.

  order.py EXE

Killing the writer would prove nothing, since the page cache survives it.
"""
import os
import re
import subprocess
import sys
import tempfile
import time

WATCHED = 'openat,open,creat,write,writev,pwrite64,fsync,fdatasync,rename,renameat,renameat2,link,linkat'
LINE = re.compile(r'^(?:\d+ +)?(?P<call>\w+)\((?P<rest>.*)\) += (?P<value>-?\d+)')


def fault(trace, folder, name):
    """What is wrong with the order of a trace (strace -y); None: nothing."""
    new = None       # path of the file that becomes the snapshot
    written = synced = renamed = False
    path = os.path.join(folder, name)
    for line in trace.splitlines():
        match = LINE.match(line)
        if not match or match['value'].startswith('-'):
            continue
        call, rest = match['call'], match['rest']
        target = re.match(r'\d+<([^>]*)>', rest)
        target = target[1] if target else None
        if call in ('openat', 'open', 'creat') and 'O_CREAT' in rest:
            if f'"{name}"' in rest or f'"{path}"' in rest:
                return 'the snapshot itself is opened for writing'
            opened = re.search(r'= \d+<([^>]*)>', line)
            if opened and os.path.dirname(opened[1]) == folder:
                new = opened[1]
        elif call in ('write', 'writev', 'pwrite64') and new and target == new:
            if renamed:
                return 'it is written to after the rename'
            written, synced = True, False
        elif call in ('fsync', 'fdatasync') and new and target == new:
            if renamed:
                return 'it is synced after the rename'
            synced = True
        elif call.startswith('rename') and name in rest:
            if not written:
                return 'the rename comes before the write'
            if not synced:
                return 'the rename comes before the sync'
            renamed = True
        elif call == 'fsync' and target == folder and renamed:
            return None
    return 'the directory is not synced after the rename' if renamed else 'it is never renamed'


def record(exe, folder):
    """The trace of `snapshot`, and its exit code."""
    os.environ['VDPA_TRACKER_RUNTIME_DIR'] = folder
    with subprocess.Popen([exe, 'run', '--name', 'order', '--device', 'sim:', '--log-level',
                           'error']) as tracker:
        try:
            end = time.monotonic() + 10
            while not os.path.exists(os.path.join(folder, 'order.sock')):
                if time.monotonic() > end:
                    raise SystemExit('Bail out! no tracker')
                time.sleep(0.01)
            trace = os.path.join(folder, 'trace')
            done = subprocess.run(['strace', '-f', '-y', '-s', '0', '-o', trace,
                                   '-e', 'trace=' + ','.join(f'?{c}' for c in WATCHED.split(',')),
                                   exe, 'snapshot', 'order', '-o',
                                   os.path.join(folder, 'state.vdts')], timeout=30, check=False)
        finally:
            tracker.terminate()
    with open(trace, encoding='utf-8', errors='replace') as file:
        return file.read(), done.returncode


def mutants(trace, folder):
    """The same calls in a wrong order, or fewer of them."""
    lines = trace.splitlines()

    def find(pattern):
        return next(i for i, line in enumerate(lines) if re.search(pattern, line))

    def moved(i, j):
        rest = lines[:i] + lines[i + 1:]
        rest.insert(j, lines[i])
        return '\n'.join(rest)

    temporary = re.escape(folder) + r'/\.state'
    sync, rename = find(r'fsync\(\d+<' + temporary), find(r'rename')
    folder_sync = find(r'fsync\(\d+<' + re.escape(folder) + '>')
    write = find(r'write\(\d+<' + temporary)
    yield 'the file is synced after the rename', moved(sync, rename)
    yield 'the file is not synced', '\n'.join(lines[:sync] + lines[sync + 1:])
    yield 'the file is written after its sync', moved(write, sync)
    yield 'the directory is synced before the rename', moved(folder_sync, rename)
    yield 'the directory is not synced', '\n'.join(lines[:folder_sync] + lines[folder_sync + 1:])
    yield 'nothing is renamed', '\n'.join(lines[:rename] + lines[rename + 1:])
    yield 'the file is written in its place', re.sub(r'"\.state\.vdts\.\w+"', '"state.vdts"', trace)


def main():
    number, bad = 0, 0

    def case(good, what, why=''):
        nonlocal number, bad
        number += 1
        bad += not good
        print(f"{'ok' if good else 'not ok'} {number} {what}{': ' + why if why else ''}")

    with tempfile.TemporaryDirectory(prefix='vdt-order-') as folder:
        folder = os.path.realpath(folder)
        trace, code = record(sys.argv[1], folder)
        wrong = fault(trace, folder, 'state.vdts')
        case(code == 0 and not wrong, 'a snapshot is written, synced, renamed, its directory synced',
             wrong or '')
        if wrong:
            print('\n'.join('# ' + line for line in trace.splitlines()))
        else:
            for what, mutant in mutants(trace, folder):
                said = fault(mutant, folder, 'state.vdts')
                case(said, f'seen when {what}', said or 'not seen')
    print(f'1..{number}')
    return 1 if bad else 0


sys.exit(main())
