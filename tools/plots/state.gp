# SPDX-License-Identifier: LGPL-2.1-or-later
set multiplot layout 1, 2 title "State: CPU time (less is better)"
set logscale y

set title "Snapshot with 64 addresses, 4094 VLANs" font ",12"
set logscale x 2
set xrange [2.5:80]
set xtics (3, 9, 17, 33, 65)
set xlabel "rings, log scale"
set ylabel "ns, log scale"
set yrange [100:100000]
set ytics format "%.0f"
set key inside top left vertical reverse Left samplen 1.5 font ",10" maxrows 4
set print $peer
print sprintf("65 %g %g %g %g", peer("state", "plain protobuf-c schema", "encode"), \
    peer("state", "plain protobuf-c schema", "decode"), peer("state", "goal", "encode"), peer("state", "goal", "decode"))
set print
plot curve("state", "decode") with linespoints lc rgb OURS lw 2.5 pt 5 title "decode", \
     curve("state", "encode") with linespoints lc rgb OURS2 lw 2.5 pt 7 title "encode", \
     curve("state", "validate") with linespoints lc rgb GREEN lw 2 pt 9 title "validate (part of both)", \
     $peer using 1:3 with points lc rgb QEMU pt 4 lw 2 title "decode, plain schema", \
     $peer using 1:2 with points lc rgb QEMU pt 6 lw 2 title "encode, plain schema", \
     $peer using 1:5 with points lc rgb GOAL pt 1 lw 2 title "goal, decode", \
     $peer using 1:4 with points lc rgb GOAL pt 2 lw 2 title "goal, encode"

set title "Replay of 4094 VLANs, a command" font ",12"
set xrange [0.7:180]
set xtics (1, 8, 32, 128)
set xlabel "commands in flight, log scale"
set yrange [10:20000]
set key inside top right vertical noreverse Right
plot peer("state", "QEMU with its kicks", "replay") with lines lc rgb QEMU lw 2 title "QEMU, a kick each", \
     peer("state", "QEMU", "replay") with lines lc rgb QEMU lw 2 dt 3 title "QEMU, without kicks", \
     curve("state", "replay 4094 VLANs") with linespoints lc rgb OURS lw 2.5 pt 5 title "vdpa-tracker, kicks and waits in it", \
     peer("state", "goal", "replay") with lines lc rgb GOAL dt 2 title "goal"
unset multiplot
