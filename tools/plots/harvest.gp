# SPDX-License-Identifier: LGPL-2.1-or-later
set title "Taking the dirty log of 3 GiB: us by the part that is dirty (less is better)"
set logscale y
set yrange [1:100000]
set ylabel "us, log scale"
set ytics format "%.0f"
set xrange [-0.6:4.6]

set print $bars
row(n, at) = sprintf("%d \"%s %%\" %g %g %g %g %g", n, at, ours("harvest", "yardstick: bit by bit", at), \
    peer("harvest", "QEMU vhost_dev_sync_region", at), peer("harvest", "QEMU KVM log", at), \
    ours("harvest", "random pages", at), ours("harvest", "clusters of 2 MiB", at))
print row(0, "0")
print row(1, "0.1")
print row(2, "1")
print row(3, "10")
print row(4, "100")
set print

w = 0.17
set boxwidth w absolute
set bmargin 6
plot $bars using 1:(1):xtic(2) with dots lc rgb "#ffffff" notitle, \
     "" using ($1 - 2 * w):3 with boxes lc rgb "#bbbbbb" title "bit by bit, same run", \
     "" using ($1 - 2 * w):($3 * 1.25):(label($3)) with labels font ",9" notitle, \
     "" using ($1 - w):4 with boxes lc rgb QEMU title "QEMU, vhost log", \
     "" using ($1 - w):($4 * 1.25):(label($4)) with labels font ",9" notitle, \
     "" using 1:5 with boxes lc rgb DPDK title "QEMU, KVM log", \
     "" using 1:($5 * 1.25):(label($5)) with labels font ",9" notitle, \
     "" using ($1 + w):6 with boxes lc rgb OURS title "vdpa-tracker", \
     "" using ($1 + w):($6 * 1.25):(label($6)) with labels font ",9" notitle, \
     "" using ($1 + 2 * w):7 with boxes lc rgb OURS2 title "in clusters of 2 MiB", \
     "" using ($1 + 2 * w):($7 * 1.25):(label($7)) with labels font ",9" notitle
