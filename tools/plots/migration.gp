# SPDX-License-Identifier: LGPL-2.1-or-later
set title "Whole migrations of the demo by memory size: wall time (less is better)"
set logscale xy
set xrange [12:1400]
set xtics (16, 64, 256, 1024)
set xlabel "guest memory, MiB, log scale"
set key inside top left vertical reverse Left
set yrange [1:30000]
set ytics format "%.0f"
set ylabel "ms, log scale"
plot curve("migration", "whole migration") with linespoints lc rgb OURS2 lw 2 pt 7 title "logging on until the guest works there", \
     curve("migration", "downtime") with linespoints lc rgb OURS lw 2.5 pt 5 title "downtime: the guest's rings stand still"
