#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# First process of the UML guest. The root is the host's, read-only; results go to /mnt.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/run TMPDIR=/run
mount -t proc none /proc
mount -t sysfs none /sys
mount -t tmpfs none /run
mount -t hostfs -o "$GUEST_DIR" none /mnt

for module in net/core/failover drivers/net/net_failover drivers/net/virtio_net \
    net/llc/llc net/802/stp net/802/garp net/802/mrp net/8021q/8021q; do
    /bin/busybox insmod "$GUEST_MODULES/kernel/$module.ko" || echo "insmod $module failed"
done
ip link set lo up

# The exit code appears last and by a rename: hostfs writes a file back when it is closed.
run() {
    sh "/mnt/$1.sh" >"/mnt/$1.out" 2>"/mnt/$1.err" </dev/null
    echo $? >"/mnt/$1.tmp"
    mv "/mnt/$1.tmp" "/mnt/$1.code"
}

exec </dev/ttyS0
stty raw -echo
echo yes >/mnt/ready
while read -r job; do
    run "$job" &
done
echo o >/proc/sysrq-trigger
sleep 10
