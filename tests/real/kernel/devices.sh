# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
# Inside the lab's machine: two vp_vdpa devices (vdpa0, vdpa1) on the two cards, two vdpa_sim_net
# (sim0, sim1) and two vdpa_sim_blk (blk0, blk1: one disk). Prints "NAME /dev/vhost-vdpa-N", a line
# each.
set -eu
n=0
for card in 0000:00:02.0 0000:00:03.0; do
    device=/sys/bus/pci/devices/$card
    echo vp-vdpa >"$device/driver_override"
    echo "$card" >"$device/driver/unbind"
    kernel-poke "$card" >&2
    # The driver's name has a dash, its module's an underscore.
    echo "$card" >/sys/bus/pci/drivers/vp-vdpa/bind
    vdpa dev add name "vdpa$n" mgmtdev "pci/$card"
    n=$((n + 1))
done
vdpa dev add name sim0 mgmtdev vdpasim_net mac 52:54:00:00:51:00
vdpa dev add name sim1 mgmtdev vdpasim_net mac 52:54:00:00:51:01
vdpa dev add name blk0 mgmtdev vdpasim_blk
vdpa dev add name blk1 mgmtdev vdpasim_blk
for name in vdpa0 vdpa1 sim0 sim1 blk0 blk1; do
    echo "$name /dev/$(basename /sys/bus/vdpa/devices/$name/vhost-vdpa-*)"
done
