# SPDX-License-Identifier: LGPL-2.1-or-later
set multiplot layout 1, 2 title "Addresses: ns by the number of maps (less is better)"
set logscale xy
set xrange [1.5:25000]
set xtics (2, 8, 64, 512, 4096, 16384) font ",11"
set ylabel "ns, log scale"
set xlabel "maps, log scale"
set yrange [1:1e6]
set ytics format "10^{%T}"
set key inside top left vertical reverse Left samplen 1.5 font ",11"

set title "One look-up at random" font ",12"
plot peer_curve("lookup", "QEMU find_gpa") with linespoints lc rgb QEMU lw 2 pt 7 title "QEMU, GPA to IOVA", \
     peer_curve("lookup", "DPDK iotlb") with linespoints lc rgb DPDK lw 2 pt 9 title "DPDK, iotlb cache", \
     peer_curve("lookup", "QEMU iova_tree_find") with linespoints lc rgb VU lw 2 pt 11 title "QEMU, IOVA tree", \
     curve("lookup", "guest memory random") with linespoints lc rgb OURS2 lw 2 pt 4 title "vdpa-tracker, is it guest memory", \
     curve("lookup", "translate random") with linespoints lc rgb OURS lw 2.5 pt 5 title "vdpa-tracker, GPA to IOVA", \
     peer("lookup", "goal", "any") with lines lc rgb GOAL dt 2 title "goal"

set title "One map added and removed" font ",12"
plot peer_curve("lookup", "QEMU map and unmap") with linespoints lc rgb QEMU lw 2 pt 7 title "QEMU", \
     curve("lookup", "find a hole and release") with linespoints lc rgb OURS2 lw 2 pt 4 title "vdpa-tracker, hole looked for", \
     curve("lookup", "reserve and release") with linespoints lc rgb OURS lw 2.5 pt 5 title "vdpa-tracker, IOVA = GPA"
unset multiplot
