# SPDX-License-Identifier: LGPL-2.1-or-later
set multiplot layout 1, 2 title "Queue pairs over the embedded device, threads and eventfds"
set bmargin 4
set xrange [0.7:4.3]
set xtics 1
set xlabel "queue pairs"
set yrange [0:*]
set key inside bottom right vertical font ",11"

set title "Chains a second (more is better)" font ",12"
set ylabel "million a second, wall time"
plot curve("queues", "1 worker: wall time") using 1:($4 / 1e6) with linespoints lc rgb OURS lw 2.5 pt 5 title "1 worker", \
     curve("queues", "2 workers: wall time") using 1:($4 / 1e6) with linespoints lc rgb OURS2 lw 2.5 pt 7 dt 2 title "2 workers"

set title "CPU time a chain (less is better)" font ",12"
set ylabel "ns a chain"
set offsets 0, 0, graph 0.4, 0
set bmargin 4
set key inside top right vertical noreverse Right
plot curve("queues", "1 worker: CPU of the device") with linespoints lc rgb GREY lw 2 pt 9 title "the device, 1 worker", \
     curve("queues", "1 worker: CPU of the guest") with linespoints lc rgb DPDK lw 2 pt 11 title "the guest, 1 worker", \
     curve("queues", "1 worker: CPU of the workers") with linespoints lc rgb OURS lw 2.5 pt 5 title "the tracker, 1 worker", \
     curve("queues", "2 workers: CPU of the workers") with linespoints lc rgb OURS2 lw 2.5 pt 7 dt 2 title "the tracker, 2 workers"
unset multiplot
