#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# First process of a host: DIRECTORY NAME ROOT. What libvirt keeps is the host's own; the rest is this
# machine's, or another system's whose files are in ROOT. It has been put into namespaces of its own
# already.
set -euo pipefail
dir=$1 name=$2 root=$3
hostname "$name"
mount --make-rprivate /
mount --bind "$dir/etc" "$root/etc"
for folder in lib log cache; do
    mkdir -p "$root/var/$folder/libvirt"
    mount --bind "$dir/$folder" "$root/var/$folder/libvirt"
done
mount --bind "$dir/program" "$root/usr/local/bin"
# No cgroups: libvirt would want controllers that a container has not.
mount -t tmpfs none /sys/fs/cgroup
if [[ -n $root ]]; then
    for folder in dev proc sys; do mount --rbind "/$folder" "$root/$folder"; done
    mount -t tmpfs none "$root/tmp"
fi
mount --bind "$dir/run" "$root/run"
: >"$root/run/ready"
# Whoever enters this process's root is in there.
[[ -z $root ]] || exec chroot "$root" /bin/bash -c "trap 'exit 143' TERM; while :; do sleep 1000 & wait \$! || :; done"
# bash buries what is left to the first process; libvirt waits for QEMUs that nobody did.
trap 'exit 143' TERM
while :; do
    sleep 1000 &
    wait $! || :
done
