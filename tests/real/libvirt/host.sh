#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# First process of a host: DIRECTORY NAME. What libvirt keeps is the host's own; the rest is this
# machine's. It has been put into namespaces of its own already.
set -euo pipefail
dir=$1 name=$2
hostname "$name"
mount --make-rprivate /
mount --bind "$dir/etc" /etc
for folder in lib log cache; do
    mkdir -p "/var/$folder/libvirt"
    mount --bind "$dir/$folder" "/var/$folder/libvirt"
done
mount --bind "$dir/program" /usr/local/bin
# No cgroups: libvirt would want controllers that a container has not.
mount -t tmpfs none /sys/fs/cgroup
mount --bind "$dir/run" /run
: >/run/ready
# bash buries what is left to the first process; libvirt waits for QEMUs that nobody did.
trap 'exit 143' TERM
while :; do
    sleep 1000 &
    wait $! || :
done
