# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034,SC2154 # of kernel-vdpa and lib.sh
# A part of kernel-vdpa: the command line on devices of two kinds.

listed() {
    in_lab 'vdpa-tracker list' | awk 'NR > 1 && NF { print $2, $3, $4, $NF }'
}

commands() {
    local part='commands: ' name before
    start reflect0 python3 "$lab_here/reflect.py" vpt0 "$work/wire0.json"
    start reflect1 python3 "$lab_here/reflect.py" vpt1 "$work/wire1.json"
    must 'a baseline of both kinds' in_lab "vdpa-tracker baseline $(node vdpa0) $(node sim0) >/tmp/both.conf &&
        grep -qx 'features = MAC STATUS CTRL_VQ CTRL_MAC_ADDR VERSION_1' /tmp/both.conf && grep -qx 'pairs = 1' /tmp/both.conf"
    must 'a tracker starts with it' in_lab "tracker_start src --device $(node vdpa0) --features-from /tmp/both.conf"
    same 'list: names, drivers, management devices, owners' "vdpa0 vp_vdpa pci/0000:00:02.0 src
vdpa1 vp_vdpa pci/0000:00:03.0 -
sim0 vdpa_sim_net vdpasim_net -
sim1 vdpa_sim_net vdpasim_net -
blk0 vdpa_sim_blk vdpasim_blk -
blk1 vdpa_sim_blk vdpasim_blk -" "$(listed)"
    check 'list without privilege says what it could not read' in_lab "mkdir -p /etc; echo 'nobody:x:65534:65534::/:/bin/sh' >/etc/passwd
        su nobody -s /bin/sh -c 'vdpa-tracker list' >/tmp/list.out 2>/tmp/list.err && grep -q 'sim1.*vdpa_sim_net.* ?\$' /tmp/list.out &&
        grep -q 'not read: who has a device open' /tmp/list.err && grep -q 'not read: trackers' /tmp/list.err"
    check 'a device in use says so' in_lab "vdpa-tracker check --from $(node sim0) --to $(node vdpa0) 2>/tmp/check.err; [ \$? -eq 1 ] && grep -q 'already open' /tmp/check.err"

    must 'the guest starts' in_lab 'guest_open && guest start /run/vt/src.sock 0 7 && guest run 20'
    before=$(pinned src)
    for name in vdpa1 sim0 sim1 vdpa0; do
        check "it is swapped to $name, commands are acknowledged and frames come back there" \
            in_lab "vdpa-tracker swap src --device $(node $name) && guest run 20 && guest settle && guest flow 300" 100
        grep '^{' "$work/check.out" | tail -n 1 >"$work/flow.json"
        [[ $name != sim1 ]] ||
            same 'list says where it is' src "$(listed | awk '$1 == "sim1" { print $4 }')"
    done
    same 'no more memory is pinned than before' "$before" "$(pinned src)"
    check 'no answer is wrong' true_of flow '.refused == 0 and .wrong == 0 and .duplicated == 0 and .received_twice == 0'

    check 'its snapshot is replayed' in_lab "vdpa-tracker snapshot src -o /tmp/swapped.vdts && vdpa-tracker replay /tmp/swapped.vdts --device $(node vdpa1)"
    cp "$work/check.out" "$work/replay.out"
    check 'a line a command' grep -qE "^ *[0-9]+ us  OK   MAC_ADDR_SET $(answer flow .expected.mac)\$" "$work/replay.out"
    check 'and the sum' grep -qE '^([0-9]+) of \1 commands acknowledged in' "$work/replay.out"
    check 'check: little memory to lock' in_lab "ulimit -l 65536
        vdpa-tracker check --from /tmp/swapped.vdts --to $(node vdpa1) --memory 4G >/tmp/check.out; [ \$? -eq 3 ] && grep -q RLIMIT_MEMLOCK /tmp/check.out &&
        vdpa-tracker check --from /tmp/swapped.vdts --to $(node vdpa1) --memory 32M"
    check 'the guest ends' in_lab guest_close
    check 'the tracker ends' in_lab 'tracker_stop src'
    stop reflect0 || :
    stop reflect1 || :
    check 'the kernel is quiet' kernel_quiet
}
