#!/bin/busybox sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=dash
# First process of a migrating guest: its NIC, then commands from the second serial line. The line's
# far end is another process after each migration; nothing of it is kept here.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/run TMPDIR=/tmp
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t tmpfs none /run
mount -t tmpfs none /tmp
ip link set lo up
for module in failover net_failover virtio_net llc stp garp mrp 8021q; do
    insmod "/lib/$module.ko" || echo "insmod $module failed"
done

# In pages: a socket that holds megabytes leaves room for the others, however little memory was free.
echo 8192 12288 16384 >/proc/sys/net/ipv4/udp_mem

# A job is one line: base64 of a shell script. The answer is one line: exit code and base64 of what
# it wrote. One at a time.
exec 3<>/dev/ttyS1
stty -F /dev/ttyS1 raw -echo
echo 'the guest is ready'
while read -r job <&3; do
    echo "$job" | base64 -d >/run/job
    sh /run/job >/run/job.out 2>/run/job.err </dev/null
    echo "done $? $(base64 -w 0 /run/job.out) . $(base64 -w 0 /run/job.err) ." >&3
done
