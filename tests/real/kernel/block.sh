# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034,SC2154 # of kernel-vdpa and lib.sh
# A part of kernel-vdpa: a disk.

all_right() {
    true_of "$1" '.wrong == 0 and .failed == 0 and .unmarked == 0'
}

block() {
    local part='vdpa_sim_blk: '
    must 'a tracker starts' in_lab "tracker_start disk --device $(node blk0)"
    must 'the guest starts' in_lab 'guest_open kernel-block'
    check 'blocks are written and read' guest_does first 'begin /run/vt/disk.sock' 'work 2'
    check 'as they were written' all_right first
    same 'the device works on the guest'"'"'s ring' passthrough "$(status disk .mode)"
    check 'the same with logging' guest_does logged 'log on' 'work 2'
    check 'each page that a read has brought is marked' all_right logged
    same 'the ring is shadowed' shadow "$(status disk .mode)"
    check 'and without again' guest_does plain 'log off' 'work 1'
    check 'they are right' all_right plain
    same 'the device works on the guest'"'"'s ring again' passthrough "$(status disk .mode)"
    check 'a network device is not the same disk' in_lab "vdpa-tracker check --from $(node blk1) --to $(node sim0); [ \$? -eq 3 ]"
    check 'it is swapped while it works' in_lab "rm -f /tmp/swapped
        (until [ -e /tmp/swapped ]; do guest work 1 >/tmp/work.out || exit 1; done) & worker=\$!
        for name in $(node blk1) $(node blk0) $(node blk1) $(node blk0); do vdpa-tracker swap disk --device \$name || code=1; done
        touch /tmp/swapped
        wait \$worker && exit \${code:-0}" 60
    lab 'cat /tmp/work.out' >"$work/swapped.json"
    check 'with requests under way' true_of swapped ".requests > $(answer plain .requests) + 1024"
    check 'and its blocks are right' all_right swapped
    same 'it is on the disk that it came to' disk "$(listed | awk '$1 == "blk0" { print $4 }')"
    check 'the guest ends' in_lab guest_close
    same 'no memory stays pinned' 0 "$(pinned disk)"
    check 'the tracker ends' in_lab 'tracker_stop disk'
    check 'the kernel is quiet' kernel_quiet
}
