# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034,SC2154 # of kernel-vdpa and lib.sh
# Parts of kernel-vdpa about a device that is not as it should be.

# A command in the middle is answered ERR by the device itself: QEMU's card takes no RSS with hash
# types and without a key, which the specification and its config space allow and sim: does.
refused() {
    local part='refused by the device: ' says='replaying command [0-9]+ of [0-9]+ \(MQ_RSS_CONFIG .*\) onto .*: the device answered ERR'
    start reflect1 python3 "$lab_here/reflect.py" vpt1 "$work/wire1.json"
    must 'a baseline and two trackers' in_lab "vdpa-tracker baseline sim:pairs=4 $(node vdpa1) >/tmp/fleet.conf &&
        tracker_start src --device sim:pairs=4 --features-from /tmp/fleet.conf && tracker_start dst --device $(node vdpa1)"
    must 'the guest starts' in_lab guest_open
    must 'it sets a lot' guest_does settle 'start /run/vt/src.sock 50 11' 'run 60' settle
    must 'and RSS without a key' guest keyless keyless
    check 'the destination is no reason against it beforehand' \
        in_lab "vdpa-tracker snapshot src -o /tmp/keyless.vdts && vdpa-tracker check --from /tmp/keyless.vdts --to sim:pairs=4"
    check 'the guest tries to move' guest try migrate /run/vt/dst.sock
    check 'it is refused there' true_of try '.refused_by_destination | length > 20'
    check 'the destination runs nothing' in_lab 'cat /tmp/dst.log; mode dst | grep -q stopped'
    cp "$work/check.out" "$work/refusal"
    check 'and names the command' grep -qE "$says" "$work/refusal"
    check 'frames flow at the source' guest flow flow 300
    check 'no frame was damaged' true_of flow '.corrupt == 0'
    check 'a swap to it is refused' in_lab "tracker_stop dst && vdpa-tracker swap src --device $(node vdpa1); [ \$? -eq 3 ]"
    cp "$work/check.out" "$work/refusal"
    check 'by the same name' grep -qE "$says" "$work/refusal"
    check 'frames flow still' guest flow flow 300
    check 'replay says so beforehand' in_lab "vdpa-tracker replay /tmp/keyless.vdts --device $(node vdpa1); [ \$? -eq 3 ]"
    cp "$work/check.out" "$work/replay.out"
    check 'with the commands before it' grep -qE ' OK +MAC_TABLE_SET' "$work/replay.out"
    check 'and that one' grep -qE ' ERR +MQ_RSS_CONFIG' "$work/replay.out"
    # After a swap, also one that was taken back, the tracker announces the address; sim: sends that back.
    check 'no answer is wrong' true_of flow '.refused == 0 and .wrong == 0 and .duplicated == 0 and .corrupt <= 1'
    check 'the guest ends' in_lab guest_close
    stop reflect1 || :
    check 'no frame came out of the refusing card' jq -e '.count == 0' "$work/wire1.json"
    check 'the tracker ends' in_lab 'tracker_stop src'
    check 'the kernel is quiet' kernel_quiet
}

# QEMU 7.2 keeps RSS on when its device is reset, so that one that was just opened is not fresh.
reopened() {
    local part='opened again: '
    start reflect0 python3 "$lab_here/reflect.py" vpt0 "$work/wire0.json"
    start reflect1 python3 "$lab_here/reflect.py" vpt1 "$work/wire1.json"
    must 'a guest on the second card' in_lab "tracker_start dst --device $(node vdpa1) && guest_open"
    must 'runs' guest first start /run/vt/dst.sock 10 5
    must 'and sets a lot' guest run run 60
    must 'RSS at last' settle_with_rss
    must 'it goes, and its tracker' in_lab 'guest_close && tracker_stop dst'
    check 'the closed card is looked at' oracle left net1
    check 'RSS is on there' true_of left .device.rss.enabled
    must 'trackers start again' in_lab "tracker_start src --device $(node vdpa0) && tracker_start dst --device $(node vdpa1) && guest_open"
    must 'a guest begins on the first card' guest start begin /run/vt/src.sock
    check 'it moves to the second one' guest moved migrate /run/vt/dst.sock
    note "$(jq -c . "$work/moved.json")"
    check 'frames flow' guest flow flow 300
    check 'the second card answers' oracle card1 net1
    check 'and holds what this guest has set: nothing' agree flow card1
    check 'RSS is off' true_of card1 '.device.rss == null or .device.rss.enabled == false'
    check 'the guest ends' in_lab guest_close
    stop reflect0 || :
    stop reflect1 || :
    check 'the trackers end' in_lab 'tracker_stop src && tracker_stop dst'
    check 'the kernel is quiet' kernel_quiet
}
