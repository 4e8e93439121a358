#!/bin/busybox sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=dash
# First process of the lab's machine: devices, then commands from the second serial line.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/run TMPDIR=/tmp
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mkdir -p /dev/pts /dev/shm
mount -t tmpfs none /run
mount -t tmpfs none /tmp
mount -t tmpfs none /dev/shm
ulimit -l unlimited
ip link set lo up
# The machine's memory is small pages in no order, each a piece of its own to vhost.
while read -r module; do
    case $module in
        vhost_vdpa) set -- max_iotlb_entries=65536 ;;
        vdpa_sim_blk) set -- shared_backend=1 ;;
    esac
    insmod "/lib/$module.ko" "$@" || echo "insmod $module failed"
    set --
done </lib/order

# A job is one line: base64 of a shell script. The answer is one line: exit code and base64 of what
# it wrote. One at a time.
exec 3<>/dev/ttyS1
stty -F /dev/ttyS1 raw -echo
echo 'the lab is ready'
while read -r job <&3; do
    echo "$job" | base64 -d >/run/job
    sh /run/job >/run/job.out 2>/run/job.err </dev/null
    echo "done $? $(base64 -w 0 /run/job.out) . $(base64 -w 0 /run/job.err) ." >&3
done
echo o >/proc/sysrq-trigger
