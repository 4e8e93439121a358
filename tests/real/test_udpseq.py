#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""udpseq over loopback: a whole stream, and one whose faults are known. Prints TAP."""
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time

UDPSEQ = sys.argv[1]
MAGIC = 0x76647453
CASES = []


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def receive(feed):
    """What `udpseq recv` says of what feed(port) sends."""
    with tempfile.TemporaryDirectory() as folder:
        port, ready = free_port(), os.path.join(folder, 'ready')
        with subprocess.Popen([UDPSEQ, 'recv', str(port), '10', ready], stdout=subprocess.PIPE) as child:
            deadline = time.monotonic() + 10
            while not os.path.exists(ready) and time.monotonic() < deadline:
                time.sleep(0.01)
            feed(port)
            return json.loads(child.communicate(timeout=20)[0])


def by_hand(numbers, stamp=lambda number: 1000 * (number + 1), total=10, pause_before=None):
    def feed(port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            def put(end, number, sent, stream=7):
                sender.sendto(struct.pack('!IIQQQ', MAGIC, end, stream, number, sent), ('127.0.0.1', port))
            for number in numbers:
                if number == pause_before:
                    time.sleep(0.2)
                put(0, number, stamp(number))
            put(0, 3, 1, stream=8)
            sender.sendto(b'short', ('127.0.0.1', port))
            put(0, 1 << 60, 1)
            put(1, total, 1)
    return receive(feed)


def case(name, expected, actual):
    actual = {key: actual[key] for key in expected}
    CASES.append(expected == actual)
    print(f"{'ok' if expected == actual else 'not ok'} {len(CASES)} - {name}", flush=True)
    if expected != actual:
        print(f'# expected {expected}\n# got {actual}', flush=True)


def whole_stream(port):
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, 'stamps')
        before = time.time() * 1e6
        sent = subprocess.run([UDPSEQ, 'send', '127.0.0.1', str(port), '1000', '1', file], check=True,
                              stdout=subprocess.PIPE, timeout=20)
        with open(file, encoding='ascii') as stamps:
            stamps = json.load(stamps)
    case('the sender counts what it sent', {'sent': 1000}, json.loads(sent.stdout))
    case('the sender says when it sent each datagram', {'count': 1000, 'sorted': True, 'now': True},
         {'count': len(stamps), 'sorted': stamps == sorted(stamps),
          'now': before - 1 <= stamps[0] <= stamps[-1] <= time.time() * 1e6})


def cut_short(port):
    with subprocess.Popen([UDPSEQ, 'send', '127.0.0.1', str(port), '1000', '60'], stdout=subprocess.PIPE) as sender:
        time.sleep(0.3)
        sender.terminate()
        said = json.loads(sender.communicate(timeout=20)[0])['sent']
    case('a sender that is told to end says what it sent', {'some': True}, {'some': 0 < said < 10000})


case('a stream without a fault has no gap', {'sent': 1000, 'received': 1000, 'lost': 0, 'duplicated': 0,
     'reordered': 0, 'foreign': 0, 'gaps': [], 'ended': True}, receive(whole_stream))

case('a stream that is cut short has its end all the same', {'lost': 0, 'duplicated': 0, 'ended': True},
     receive(cut_short))

result = by_hand([0, 1, 2, 5, 4, 5, 8])
case('lost, doubled and reordered datagrams are told apart', {'sent': 10, 'received': 6, 'lost': 4,
     'duplicated': 1, 'reordered': 1}, result)
case('datagrams of another stream, short and wild ones are foreign', {'foreign': 3}, result)
case('a gap has the stamps of its neighbours', {'first': 3, 'count': 1, 'sent_before_us': 3000,
     'sent_after_us': 5000}, result['gaps'][0])
case('the end mark shows a lost tail', {'first': 9, 'count': 1, 'sent_before_us': 9000, 'sent_after_us': 0},
     result['gaps'][-1])
case('a pause is a silence, not a gap', {'lost': 0, 'silences': 1},
     {key: len(value) if key == 'silences' else value
      for key, value in by_hand(range(10), pause_before=5).items()})
print(f'1..{len(CASES)}')
sys.exit(not all(CASES))
