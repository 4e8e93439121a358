# SPDX-License-Identifier: LGPL-2.1-or-later
set title "One chain through the relay and back: ns of CPU time (less is better)"
set logscale y
set yrange [1:10000]
set ylabel "ns a chain, log scale"
set xrange [-0.6:8.6]

set print $bars
row(n, name, series, at, case) = sprintf("%d \"%s\" %g %g %g %g", n, name, peer("relay", "QEMU", case), \
    peer("relay", "libvhost-user", case), ours("relay", series, at), goal("relay", case))
print row(0, "batch 1", "split", "1", "batch 1")
print row(1, "batch 32", "split", "32", "batch 32")
print row(2, "batch 256", "split", "256", "batch 256")
print row(3, "32,\\ntranslated", "split translated", "32", "translated")
print row(4, "32,\\nlogged", "split logged", "32", "logged")
print row(5, "32,\\nchain of 2", "split indirect 2", "32", "chain of 2")
print row(6, "eventfds,\\nbatch 1", "split eventfds", "1", "eventfds 1")
print row(7, "eventfds,\\n32", "split eventfds", "32", "eventfds 32")
print row(8, "eventfds,\\n256", "split eventfds", "256", "eventfds 256")
set print

w = 0.27
set boxwidth w absolute
set bmargin 7
plot $bars using 1:(1):xtic(2) with dots lc rgb "#ffffff" notitle, \
     "" using ($1 - w):3 with boxes lc rgb QEMU title "QEMU 10.0 shadow virtqueue", \
     "" using ($1 - w):($3 * 1.25):(label($3)) with labels font ",9" notitle, \
     "" using 1:4 with boxes lc rgb VU title "libvhost-user (pop and push only)", \
     "" using 1:($4 * 1.25):(label($4)) with labels font ",9" notitle, \
     "" using ($1 + w):5 with boxes lc rgb OURS title "vdpa-tracker", \
     "" using ($1 + w):(higher($5, $6)):(label($5)) with labels font ",9" notitle, \
     "" using ($1 + w):6:(w / 2) with xerrorbars lc rgb GOAL lw 2.5 pt 0 title "goal"
