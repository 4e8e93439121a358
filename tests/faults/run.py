#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A small migration, once for each system call that a process of it makes, with that call failing,
and once with the process killed there.

  run.py SCRIPTED EXE GOLDEN [--victim NAME] [--match REGEX] [--jobs N]
  run.py SCRIPTED EXE GOLDEN --only VICTIM POINT ERRNO|SIGKILL

The calls are taken from a run without a fault (scripted.c), so the list is never older than the
program. A run is good when the snapshot file is the old or the new one and whole, the guest goes on
where it should, what failed is named, nothing hangs, and nothing is left behind. GOLDEN is a
snapshot file to stand for the old one.
"""
import argparse
import collections
import concurrent.futures
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from table import CALLS, LIBRARY_ENDS, NAMED, errnos

VICTIMS = ('snapshot', 'source', 'destination')
RUN_SECONDS = 60     # a run that needs longer hangs
KILL = 'SIGKILL'
FLOOR = 0.95         # of the runs that were planned have to meet their call
RECORDINGS = 3       # calls that not all of them make depend on timing, and are left out
TRIES = 3            # a call that depends on timing may be missed

Point = collections.namedtuple('Point', 'victim name detail')


class Run:
    """One run of the script: what it said, and what lay in its folder afterwards."""

    def __init__(self, options, victim, point=None, action=None, fds=()):
        self.victim, self.point, self.action = victim, point, action
        self.folder = tempfile.mkdtemp(prefix='vdt-faults-')
        try:
            self.perform(options, fds)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def perform(self, options, fds):
        calls = os.path.join(self.folder, 'calls')
        with open(calls, 'w', encoding='ascii') as file:
            file.writelines(f'{name} {argument}\n' for name, argument, _ in CALLS)
        shutil.copy(options.golden, os.path.join(self.folder, 'state.vdts'))
        words = [options.scripted, options.exe, self.folder, self.victim, calls]
        if self.point:
            code = 0 if self.action == KILL else getattr(errno, self.action)
            words += [self.point, str(code), *map(str, fds)]
        began = time.monotonic()
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, start_new_session=True)
        try:
            out, _ = child.communicate(timeout=RUN_SECONDS)
            self.late = False
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            out, _ = child.communicate()
            self.late = True
        self.seconds = time.monotonic() - began
        self.code = child.returncode
        self.text = out.decode(errors='replace')
        self.said = collections.defaultdict(list)
        for line in self.text.splitlines():
            key, _, rest = line.partition(' ')
            self.said[key].append(rest)
        self.logs = {}
        for name in ('source', 'destination', 'snapshot'):
            try:
                with open(os.path.join(self.folder, name + '.log'), encoding='utf-8',
                          errors='replace') as file:
                    self.logs[name] = file.read()
            except OSError:
                self.logs[name] = ''
        self.rest = [name for name in os.listdir(self.folder)
                     if name not in ('calls', 'state.vdts') and not name.endswith('.log')]

    def get(self, key, default=''):
        return (self.said.get(key) or [default])[0]

    def reached(self):
        return self.get('reached') == '1'

    def fds(self):
        found = dict(line.split(' ', 2)[:2] for line in self.said['fds'])
        return [int(found.get(name, 0)) for name in ('source', 'destination')]

    def ended(self, name):
        """How each process of that name ended, in order."""
        return [line.split(' ', 1)[1] for line in self.said['ended'] if line.startswith(name + ' ')]


def named(run):
    """Whether somebody said what failed: the errno's words, or the operation's."""
    if run.action == KILL:
        return True
    call = run.point.split(' ')[1]
    if os.strerror(getattr(errno, run.action)).lower() in run.logs[run.victim].lower():
        return True
    text = run.logs[run.victim] + run.logs['snapshot']
    return any(re.search(what, call) and re.search(words, text) for what, words in NAMED)


def judge(run, fds_before):
    """What is wrong with a run, as sentences."""
    killed = run.action == KILL
    gone = killed or any(re.search(what, run.logs[run.victim]) for what, _ in LIBRARY_ENDS)
    wrong = []

    if run.late or run.said['hung'] or run.code != 0:
        wrong.append(f"hangs: {run.get('hung')} (code {run.code})")
        return wrong
    # A guest whose tracker has let go of the VMM's connection waits, until the VMM sees to it.
    parted = "the VMM's connection ended" in run.logs[run.victim]
    for line in run.said['late'] if not parted and not gone else []:
        wrong.append(f'no answer in time: {line}')

    guest = dict(word.split('=') for word in run.get('guest').split())
    for what in ('duplicated', 'corrupt', 'touched'):
        if guest[what] != '0':
            wrong.append(f'guest: {what} {guest[what]}')

    if run.get('file') not in ('old', 'new'):
        wrong.append(f"snapshot file is {run.get('file')}")
    leftovers = [name for name in run.rest if name.startswith('.')]
    if leftovers and not (killed and run.victim == 'snapshot'):
        wrong.append(f'left behind: {leftovers}')
    # A lock that could not be taken may be somebody else's, and stays.
    unlocked = run.point and ' flock ' in run.point
    if (sockets := [name for name in run.rest if not name.startswith('.')
                    and not (unlocked and name.endswith('.lock'))]):
        # A socket that stays is replaced by the next tracker of that name.
        if not gone and ' unlink' not in run.point:
            wrong.append(f'left behind: {sockets}')

    if run.victim == 'snapshot':
        wrong += judge_client(run, gone)
    else:
        wrong += judge_tracker(run, gone)
    other = 'destination' if run.victim == 'source' else 'source'
    # Asked to end before it had begun to listen to that.
    early = ['signal 15'] if run.get('failed').startswith('start:') else []
    if any(how not in ['exit 0'] + early for how in run.ended(other)):
        wrong.append(f'{other} ended with {run.ended(other)}')
    for line in run.said['fds']:
        name, count, what = line.split(' ', 2)
        most = fds_before[0 if name == 'source' else 1]
        # GLib takes a pipe, two descriptors, where it gets no eventfd.
        if int(count) > most + (' eventfd2 ' in run.point):
            wrong.append(f'{name} keeps {count} descriptors, not {most}: {what}')
    return wrong


def judge_client(run, gone):
    how, wrong = run.ended('snapshot')[0], []
    first = run.get('first-file')

    if first not in ('old', 'new'):
        wrong.append(f'snapshot file is {first}')
    if gone:
        pass
    elif how == 'exit 0':
        if first != 'new':
            wrong.append(f'success, and the file is {first}')
    elif how != 'exit 1':
        wrong.append(f'ends with {how}')
    elif not named(run):
        wrong.append('error not named')
    elif first == 'new' and 'was written' not in run.logs['snapshot']:
        wrong.append('failure, and the file is new')
    if run.get('again') != 'taken' or run.get('file') != 'new':
        wrong.append(f"the next snapshot: {run.get('again')}, file {run.get('file')}")
    if not run.said['done'] and run.get('went') != 'source untouched':
        wrong.append(f"the guest: {run.get('went')}")
    return wrong


def judge_tracker(run, gone):
    ways = run.ended(run.victim)
    first, wrong = ways[0] if ways else 'exit 0', []
    asked = f'{run.victim} 1' in run.said['asked']
    went = run.get('went')

    if run.said['failed']:
        if not went or went.startswith('nowhere'):
            wrong.append(f"the guest goes on {went}: {run.said['went-wrong']}")
        restarted = went.endswith('restarted')
        if restarted and not gone and not run.get('failed').startswith('start:'):
            wrong.append(f"its tracker had to be started anew: {run.said['went-wrong']}")
        if not gone and not named(run):
            wrong.append('error not named')
    elif not gone and (first != 'exit 0' or 'refused=0' not in run.get('guest')) and not named(run):
        wrong.append('error not named')
    if not gone and first != 'exit 0' and (asked or first != 'exit 1'):
        wrong.append(f'{run.victim} ended with {first}')
    return wrong


def record(options, victim):
    """The calls that each run without a fault makes, how many others there are, and the descriptors
    that are left."""
    runs = []
    for _ in range(RECORDINGS):
        run = Run(options, victim)
        if not run.said['done'] or run.get('file') != 'new' or run.rest:
            raise SystemExit(f'Bail out! {victim}: the script fails without a fault:\n'
                             + run.text + ''.join(run.logs.values()) + str(run.rest))
        runs.append(run)
    points = {}
    for run in runs:
        for line in run.said['call']:
            words = line.split(' ', 4) + ['']
            points.setdefault(' '.join(words[:4]), []).append(words[4])
    found = [Point(victim, name, seen[0]) for name, seen in points.items()
             if len(seen) == RECORDINGS]
    return found, len(points) - len(found), [max(n) for n in zip(*(run.fds() for run in runs))]


def plan(points):
    """(point, action) of each run."""
    for point in points:
        _, call, kind, _ = point.name.split(' ')
        for action in [KILL] + errnos(call, kind):
            yield point, action


def attempt(options, point, action, fds):
    for _ in range(TRIES):
        run = Run(options, point.victim, point.name, action, fds)
        if run.reached():
            break
    return run, judge(run, fds) if run.reached() or run.late else []


def describe(run, point, wrong):
    lines = [f'  {point.victim} "{point.name}" {run.action} ({point.detail})']
    lines += [f'    {sentence}' for sentence in wrong]
    lines += [f'    | {line}' for line in run.text.splitlines()]
    for name, log in run.logs.items():
        lines += [f'    {name}: {line}' for line in log.splitlines() if 'Message' not in line]
    return '\n'.join('#' + line for line in lines)


def suite(options):
    number = planned = met = failures = 0
    began = time.monotonic()
    for victim in options.victim or VICTIMS:
        points, odd, fds = record(options, victim)
        jobs = [(point, action) for point, action in plan(points)
                if re.search(options.match, f'{victim} {point.name} {action}')]
        groups = collections.defaultdict(list)
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            for (point, action), (run, wrong) in zip(
                    jobs, pool.map(lambda job: attempt(options, *job, fds), jobs)):
                groups[point.name.split(' ')[1]].append((point, run, wrong))
        for call, results in sorted(groups.items()):
            number += 1
            reached = [r for r in results if r[1].reached() or r[1].late]
            bad = [r for r in results if r[2]]
            planned, met, failures = planned + len(results), met + len(reached), failures + len(bad)
            kills = sum(1 for _, run, _ in reached if run.action == KILL)
            print(f"{'not ok' if bad else 'ok'} {number} {victim}: {call}: {kills} times killed, "
                  f'{len(reached) - kills} times failed, {len(results) - len(reached)} missed')
            for point, run, wrong in bad:
                print(describe(run, point, wrong))
            sys.stdout.flush()
        print(f'# {victim}: {len(points)} calls ({odd} more that depend on timing), '
              f'{len(jobs)} runs')
    number += 1
    good = planned > 0 and met >= FLOOR * planned
    print(f"{'ok' if good else 'not ok'} {number} {met} of {planned} runs met their call "
          f'({FLOOR:.0%} have to)')
    print(f'# {time.monotonic() - began:.0f} s, {failures} bad')
    print(f'1..{number}')
    return 0 if good and not failures else 1


def only(options):
    victim, name, action = options.only
    _, _, fds = record(options, victim)
    point = Point(victim, name, '')
    run, wrong = attempt(options, point, action, fds)
    print(describe(run, point, wrong))
    for key, log in run.logs.items():
        print(f'# {key}:\n{log}')
    print(f"# {run.seconds:.2f} s, {'met' if run.reached() else 'missed'}, {wrong or 'good'}")
    return 1 if wrong or not run.reached() else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n', maxsplit=1)[0])
    parser.add_argument('scripted')
    parser.add_argument('exe')
    parser.add_argument('golden')
    parser.add_argument('--victim', action='append', choices=VICTIMS)
    parser.add_argument('--match', metavar='REGEX', default='',
                        help='only runs whose "VICTIM POINT ACTION" matches')
    parser.add_argument('--jobs', type=int, default=os.cpu_count())
    parser.add_argument('--only', nargs=3, metavar=('VICTIM', 'POINT', 'ACTION'))
    options = parser.parse_args()
    os.environ['LC_ALL'] = 'C'
    return only(options) if options.only else suite(options)


sys.exit(main())
