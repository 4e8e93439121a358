# SPDX-License-Identifier: LGPL-2.1-or-later
set multiplot layout 1, 3 title "What shadowing costs as the device grows: us of CPU time (less is better)"
set logscale xy
set yrange [1:200000]
set ytics format "%.0f"
set ylabel "us, log scale"
set key inside top left vertical reverse Left samplen 1.5 font ",10"
# The exponent of the largest size against an eighth of it.
grows(s, p) = sprintf("n^{%.2f}", real(system(sprintf("awk -F, -v s='%s' -v p='%s' \
    '$1 == \"growth\" && $2 == s && $3 == p {at[++n] = $4; cost[n] = $6} \
     END {for (i = n; i > 1 && at[i] * 8 > at[n]; i--); print log(cost[n] / cost[i]) / log(at[n] / at[i])}' '%s'", \
    s, p, results))))
line(s, p) = sprintf("< awk -F, -v s='%s' -v p='%s' '$1 == \"growth\" && $2 == s && $3 == p {print $4, $6}' '%s'", s, p, results)

set title "rings" font ",12"
set xrange [0.8:100]
set xtics (1, 4, 16, 64)
plot line("switch to shadow (rings full)", "rings") with linespoints lc rgb QEMU lw 2 pt 7 title "to shadow, full: ".grows("switch to shadow (rings full)", "rings"), \
     line("switch to passthrough", "rings") with linespoints lc rgb DPDK lw 2 pt 9 title "to passthrough: ".grows("switch to passthrough", "rings"), \
     line("switch to shadow", "rings") with linespoints lc rgb OURS lw 2.5 pt 5 title "to shadow: ".grows("switch to shadow", "rings"), \
     line("start", "rings") with linespoints lc rgb GREEN lw 2 pt 11 title "start: ".grows("start", "rings")

unset ylabel
set title "memory regions" font ",12"
set xrange [0.8:800]
set xtics (1, 8, 64, 511)
plot line("start", "regions") with linespoints lc rgb GREEN lw 2 pt 11 title "start: ".grows("start", "regions"), \
     line("region plugged and unplugged", "regions") with linespoints lc rgb VU lw 2 pt 13 title "plug, unplug: ".grows("region plugged and unplugged", "regions"), \
     line("switch to shadow", "regions") with linespoints lc rgb OURS lw 2.5 pt 5 title "to shadow: ".grows("switch to shadow", "regions")

set title "VLAN filters" font ",12"
set xrange [0.8:8000]
set xtics (1, 8, 64, 512, 4094)
plot line("start with replay", "VLANs") with linespoints lc rgb OURS lw 2.5 pt 5 title "start with replay: ".grows("start with replay", "VLANs")
unset multiplot
