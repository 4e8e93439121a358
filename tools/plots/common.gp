# SPDX-License-Identifier: LGPL-2.1-or-later
# What all plots share. tools/plot sets @results, @peers and @out before it.
set terminal svg size 860,470 fixed enhanced font "DejaVu Sans,13" background "#ffffff"
set output out
set encoding utf8

# Okabe and Ito's colours, which differ for colour-blind eyes as well; shapes and dashes differ too.
OURS = "#0072b2"; OURS2 = "#56b4e9"; QEMU = "#d55e00"; DPDK = "#e69f00"; VU = "#cc79a7"
GREEN = "#009e73"; GOAL = "#000000"; GREY = "#666666"

set border 3 lc rgb GREY
set tics nomirror out
set grid ytics lc rgb "#dddddd" lt 1
set key outside bottom center horizontal samplen 2 spacing 1.2 font ",12"
set style fill solid 0.9 noborder
set boxwidth 0.9 relative
set pointsize 0.9

# One value: of a row of ours (least), of a peer; NaN where there is none, for a goal 0,
# which no logarithmic axis shows.
ours(b, s, at) = real(system(sprintf("awk -F, -v b='%s' -v s='%s' -v a='%s' \
    'BEGIN {v = \"NaN\"} $1 == b && $2 == s && $4 == a {v = $6} END {print v}' '%s'", b, s, at, results)))
peer(p, who, at) = real(system(sprintf("awk -F, -v p='%s' -v w='%s' -v a='%s' \
    'BEGIN {v = \"NaN\"} $1 == p && $2 == w && $3 == a {v = $5} END {print v}' '%s'", p, who, at, peers)))
goal(p, at) = real(system(sprintf("awk -F, -v p='%s' -v a='%s' \
    '$1 == p && $2 == \"goal\" && $3 == a {v = $5} END {print v + 0}' '%s'", p, at, peers)))
# A curve: x, least, median, a second; of a peer: x, value.
curve(b, s) = sprintf("< awk -F, -v b='%s' -v s='%s' '$1 == b && $2 == s {print $4, $6, $7, $8}' '%s'", \
    b, s, results)
peer_curve(p, who) = sprintf("< awk -F, -v p='%s' -v w='%s' '$1 == p && $2 == w {print $3, $5}' '%s'", \
    p, who, peers)
# The number over a bar @x, and over the mark of a goal that is higher.
higher(x, goal) = (goal > x ? goal : x) * 1.25
label(x) = x != x ? "" : x >= 100 ? sprintf("%.0f", x) : x >= 10 ? sprintf("%.1f", x) : \
    x >= 0.1 ? sprintf("%.2f", x) : sprintf("%.3f", x)
