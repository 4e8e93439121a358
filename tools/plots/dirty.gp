# SPDX-License-Identifier: LGPL-2.1-or-later
set title "Marking guest memory dirty: ns a page, 1500 B: a buffer (less is better)"
set logscale y
set yrange [0.003:30]
set ytics format "%g"
set ylabel "ns, log scale"
set xrange [-0.6:3.6]

set print $bars
row(n, name, case) = sprintf("%d \"%s\" %g %g %g %g %g %g", n, name, peer("dirty", "DPDK log_write", case), \
    peer("dirty", "DPDK log cache", case), peer("dirty", "libvhost-user", case), \
    ours("dirty", "cleared: ".case, "0"), ours("dirty", "set: ".case, "0"), goal("dirty", case))
print row(0, "4 KiB pages at random\\nover 16 GiB", "4 KiB random over 16 GiB")
print row(1, "1500 B buffers\\nin sequence", "1500 B in sequence")
print row(2, "64 KiB buffers", "64 KiB buffers")
print row(3, "2 MiB buffers", "2 MiB buffers")
set print

w = 0.16
set boxwidth w absolute
set bmargin 7
plot $bars using 1:(0.003):xtic(2) with dots lc rgb "#ffffff" notitle, \
     "" using ($1 - 2 * w):3 with boxes lc rgb DPDK title "DPDK log write", \
     "" using ($1 - 2 * w):($3 * 1.2):(label($3)) with labels font ",9" notitle, \
     "" using ($1 - w):4 with boxes lc rgb GREEN title "DPDK log cache", \
     "" using ($1 - w):($4 * 1.2):(label($4)) with labels font ",9" notitle, \
     "" using 1:5 with boxes lc rgb VU title "libvhost-user", \
     "" using 1:($5 * 1.2):(label($5)) with labels font ",9" notitle, \
     "" using ($1 + w):6 with boxes lc rgb OURS2 title "vdpa-tracker, clean log", \
     "" using ($1 + w):($6 * 1.2):(label($6)) with labels font ",9" notitle, \
     "" using ($1 + 2 * w):7 with boxes lc rgb OURS title "vdpa-tracker, bits set before", \
     "" using ($1 + 2 * w):(higher($7, $8)):(label($7)) with labels font ",9" notitle, \
     "" using ($1 + 2 * w):8:(w / 2) with xerrorbars lc rgb GOAL lw 2.5 pt 0 title "goal"
