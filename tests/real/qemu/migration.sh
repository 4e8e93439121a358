# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A guest that QEMU moves between two hosts with a tracker each: there and back under numbered
# datagrams, every byte of its memory compared, and what tests of failures need. Needs machine.sh.
#
#   variants     of there_and_back(), for run_variants(); a row of it:
#                name, policy, what the devices can do, what QEMU is told of the NIC ("-" nothing special),
#                round trips, and the mode that must come of it
#   nic_words    what QEMU is told of each NIC
#   policy       of trackers
# shellcheck disable=SC2034,SC2154 # names of lib.sh and machine.sh, and of the test

# How far a loss may lie outside of a downtime, in ms: a frame waits in the queue of a tap that its
# device reads no more, and the switch learns of the move by the guest's next frame.
slack_ms=${VDT_STREAM_SLACK_MS:-60}

# shellcheck disable=SC2016 # jq's own variable
negotiated='.features.acked as $acked | .mode + if $acked | index("RING_PACKED") then " packed" else "" end'

names=(one two)
hosts_of=(a b)
plain_device=sim:tap=tap,pairs=1,num=1024,mac=$guest_mac

# The guest is on host $at (0 or 1), in VM ${names[at]}.
begin() {
    must 'two trackers start' both_trackers
    at=0
    must 'a guest starts' machine_start one a
    must 'and boots' guest_boots one
    must 'and has its network' network one
    must 'and answers' alive 20
}

both_trackers() {
    host_tracker a && host_tracker b
}

# host_tracker HOST: as this test runs them; its own, where it has another.
host_tracker() {
    tracker_start "$1" --shadow "$policy"
}

finish() {
    machine_stop "${names[at]}"
    check 'no tracker was surprised' by_the_book
    check 'the trackers end when asked' end_trackers
}

# What went through here goes by the phases that there are.
by_the_book() {
    ! grep 'cannot go from there' "$work"/tracker-*.log
}

end_trackers() {
    stop tracker-a && stop tracker-b
}

# What a host's tracker knows of the guest's filters, and what its device holds.
filters() {
    status "$1" '{mac, control, device_state} | tojson'
}

# migration NUMBER: to the other host.
migration() {
    local from=${names[at]} to=${names[1 - at]} source=${hosts_of[at]} target=${hosts_of[1 - at]} before
    machine_waits "$to" "$target" || return 1
    before=$(filters "$source")
    switched "$source" >"$work/switch.$1.before.json"
    qmp "$from" --migrate "unix:$work/$to.migration" 60 >"$work/migrate.$1.json" || return 1
    wait_for 10 resumed "$to" || return 1
    wait_for 10 runs "$target" || return 1
    status "$source" . >"$work/source.json"
    switched "$source" >"$work/switch.$1.json"
    status "$target" . >"$work/target.json"
    [[ $(filters "$target") == "$before" ]] || {
        diff <(jq . <<<"$before") <(filters "$target" | jq .)
        return 1
    }
    jq -n --slurpfile source "$work/source.json" --slurpfile target "$work/target.json" \
        --argjson stop "$(event_us "$from" STOP)" --argjson resume "$(event_us "$to" RESUME)" \
        --slurpfile qemu "$work/migrate.$1.json" '
        {window_start_us: ([$stop, $source[0].stopped_us] | min),
         window_end_us: ([$resume, $target[0].started_us] | max),
         ours_us: ($target[0].started_us - $source[0].stopped_us),
         dropped: $source[0].device.internals.frames_dropped, qemu_ms: $qemu[0].downtime, rehearsed_us: $target[0].carried.rehearsed_us}' >"$work/window.$1.json"
    jq -e '.arrival == "loaded" and .failure == null and .unmigratable == null' "$work/target.json" || return 1
    machine_stop "$from"
    at=$((1 - at))
}

# A device that is suspended to change the mode receives nothing meanwhile.
switched() {
    status "$1" '{window_start_us: .frozen_from_us, window_end_us: (.frozen_from_us + .frozen_us)}'
}

resumed() {
    (($(event_us "$1" RESUME) > 0))
}

runs() {
    [[ $(status "$1" .phase) == running ]]
}

migrations() {
    local number
    for ((number = 1; number <= 2 * trips; number++)); do
        migration "$number" || {
            echo "migration $number"
            return 1
        }
        sleep 0.2
    done
}

# Losses to the guest, and how far each reaches out of the nearest window, in ms, by the times at
# which the peer sent them: the guest's clock stands still in each downtime. A window is a downtime,
# and as long as the peer hears nothing of the guest around it: before its first frame from the new
# host the switch sends to the old one. The moment in which a tracker takes its device off the guest's
# own rings, or lets it there, is a window too.
losses() {
    jq -n --slurpfile stream "$work/to-guest.json" --slurpfile stamps "$work/to-guest.stamps.json" \
        --slurpfile back "$work/from-guest.json" '
        [inputs | . as $window | [$back[0].silences[] | select(.end_us > $window.window_start_us and
             .start_us < $window.window_end_us)] as $silent |
         {window_start_us: ([.window_start_us, $silent[].start_us] | min),
          window_end_us: ([.window_end_us, $silent[].end_us] | max)}] as $windows | [$stream[0].gaps[] |
         {first, count, start: $stamps[0][.first], end: $stamps[0][.first + .count - 1]} as $loss |
         $loss + {beyond_ms: ([$windows[] |
             [.window_start_us - $loss.start, $loss.end - .window_end_us, 0] | max] | min / 1000)}]' "$work"/window.*.json "$work"/switch.*.json
}

losses_inside() {
    jq -e --argjson slack "$slack_ms" 'map(select(.beyond_ms > $slack)), all(.beyond_ms <= $slack)' "$work/losses.json"
}

stream_whole() {
    jq -e '{sent, received, lost, duplicated, reordered, overflow, ended}, (.sent > 500 and .lost == 0 and
        .duplicated == 0 and .ended)' "$work/$1-guest.json"
}

# Losses are looked at apart.
stream_sane() {
    jq -e '{sent, received, lost, duplicated, reordered, overflow, ended}, (.sent > 500 and
        .duplicated == 0 and .overflow == 0 and .ended)' "$work/$1-guest.json"
}

unharmed() {
    local host
    for host in a b; do
        status "$host" '[.rings[] | select(.broken != null)] == [] and .device.internals.fault_count == 0' | grep -qx true || return 1
    done
}

there_and_back() {
    begin
    same 'in the mode meant, on the rings meant' "$mode" "$(status a "$negotiated")"
    must 'datagrams go both ways' streams_start one
    [[ $policy != auto ]] || must 'a migration is begun and cancelled meanwhile' cancelled_under_way
    must "it goes to the other host and back $trips times" migrations
    must 'the streams end' streams_end "${names[at]}"
    check 'of what the guest sent nothing is lost, nothing comes twice' stream_whole from
    check 'what it was sent comes once' stream_sane to
    losses >"$work/losses.json"
    check 'and is lost in a downtime only' losses_inside
    note "mode at the end: $(status "${hosts_of[at]}" '"\(.mode): \(.reason)"')"
    [[ $policy != auto ]] || must 'iperf3 both ways while it goes there and back once more' iperf_goes_along
    check 'no ring and no device was found broken' unharmed
    note "$((2 * trips)) migrations; downtime by the trackers $(figures '.ours_us / 1000 | round'), by QEMU $(figures .qemu_ms)" \
        "(least, median, most, in ms); tried on the device beforehand in $(figures .rehearsed_us) us;" \
        "$(jq .lost "$work/to-guest.json") of $(jq .sent "$work/to-guest.json") datagrams to the guest lost," \
        "the farthest $(jq '[.[].beyond_ms] | max // 0' "$work/losses.json") ms outside of a downtime"
    finish
}

figures() {
    jq -n -r "[inputs | $1] | sort | \"\(first), \(.[length / 2 | floor]), \(last)\"" "$work"/window.*.json
}

in_mode() {
    [[ $(status "$1" .mode) == "$2" ]]
}

# The device is taken off the guest's own rings when logging goes on, and back to them when it goes off.
cancelled_under_way() {
    machine_waits two b && slowly one two && wait_for 10 logging a true || return 1
    in_mode a shadow || return 1
    switched a >"$work/switch.on.json"
    qmp one migrate_cancel && wait_for 20 given_up one && back one && wait_for 10 logging a false &&
        wait_for 10 in_mode a "${mode%% *}" || return 1
    switched a >"$work/switch.off.json"
    machine_stop two
    goes_on a one
}

# One connection each way, from before the first migration until after the second.
iperf_goes_along() {
    guest "${names[at]}" 'iperf3 -s -D' && start_on peer iperf iperf3 -c "$guest_ip" --bidir -t 600 -J || return 1
    sleep 2
    migration iperf.1 && migration iperf.2 || return 1
    sleep 3
    kill -INT "${started[iperf]}"
    ended iperf 10 || : # its exit code says that it was told to
    guest "${names[at]}" 'killall iperf3'
    jq -c '[.intervals[] | {to_guest: .sum.bytes, from_guest: .sum_bidir_reverse.bytes}] |
        (map(.to_guest) | add), (map(.from_guest) | add), last' "$work/iperf.log" | tee "$work/iperf.sums"
    jq -es 'length == 3 and .[0] > 1000000 and .[1] > 1000000 and .[2].to_guest > 0 and .[2].from_guest > 0' "$work/iperf.sums"
}

# Too slow to be over before something else happens.
slowly() {
    qmp "$1" migrate-set-parameters '{"max-bandwidth": 2000000}' &&
        qmp "$1" migrate "{\"uri\":\"unix:$work/$2.migration\"}" &&
        qmp "$1" --until active 20
}

# back VM: what it still has of a migration is over, and the next may go at full speed.
back() {
    wait_for 20 idle "$1" && qmp "$1" migrate-set-parameters '{"max-bandwidth": 0}'
}

idle() {
    qmp "$1" query-migrate | jq -e '.status | IN("failed", "cancelled", "completed", null)'
}

logging() {
    [[ $(status "$1" .logging) == "$2" ]]
}

gone() {
    ! running "$1"
}

vm_runs() {
    [[ $(qmp "$1" query-status | jq -r .status) == running ]]
}

# goes_on HOST VM: the guest runs there and answers, and nothing is held against it.
goes_on() {
    wait_for 20 vm_runs "$2" && alive 20 && runs "$1" &&
        status "$1" '.failure == null and .unmigratable == null and .logging == false' | grep -qx true
}

# QEMU says "failed" where the destination has hung up before the source was through with cancelling.
given_up() {
    qmp "$1" query-migrate | jq -e '.status | IN("failed", "cancelled")'
}

cancelled() {
    machine_waits two b && slowly one two && wait_for 10 logging a true || return 1
    qmp one migrate_cancel && wait_for 20 given_up one && back one
}

kill_tracker() {
    kill -KILL -- "-${started["tracker-$1"]}"
    wait "${started["tracker-$1"]}" || :
    unset "started[tracker-$1]"
}

# The guest's memory on both sides, after the source has stopped and before the destination begins, in
# $compared. 32 MB that are written over and over make pre-copy's second pass long: what the device
# writes in it lies in pages that were copied, and of most of them the log alone tells.
compare() {
    compared=$work/memory.json
    guest one 'tr "\0" x </dev/zero | head -c 33554432 >/run/noise
        while :; do dd if=/run/noise of=/run/noise bs=64k conv=notrunc 2>/dev/null; done & echo $!' 90 || return 1
    hold_start one && machine_waits two b -S || return 1
    qmp one migrate-set-parameters '{"max-bandwidth": 15000000}' &&
        qmp one migrate "{\"uri\":\"unix:$work/two.migration\"}" && wait_for 40 copied_again one &&
        qmp one migrate-set-parameters '{"max-bandwidth": 3000000}' && hold_fill && holding=$(held one) || return 1
    qmp one query-migrate
    copied_again one || return 1
    python3 "$machine_here/same_memory.py" "${started[one]}" "${started[two]}" >"$work/before.json" || :
    qmp one migrate-set-parameters '{"max-bandwidth": 0}' && wait_for 40 idle one || return 1
    qmp one query-migrate >"$work/migrate.json"
    [[ $(jq -r .status "$work/migrate.json") == completed ]] || return 1
    [[ $(qmp two query-status | jq -r .running) == false && $(status b .phase) == loaded && $(status a .phase) == saved ]] || return 1
    echo "$holding bytes are held"
    ((holding > 2000000)) || return 1
    python3 "$machine_here/same_memory.py" "${started[one]}" "${started[two]}" >"$compared" || :
}

copied_again() {
    qmp "$1" query-migrate | jq -e '.status == "active" and .ram."dirty-sync-count" >= 2'
}

# And on to the destination, which becomes the source of the next.
go_over() {
    machine_stop one
    qmp two cont && goes_on b two
}

memory_is_the_same() {
    cat "$compared" && jq -e '.filled > 5000 and .differ == 0' "$compared"
}

memory_differs() {
    cat "$compared" && jq -e '.differ > 0' "$compared"
}

every_byte() {
    begin
    must 'datagrams go both ways' streams_start one
    must 'it goes to a destination that does not begin' compare
    check 'a moment before, it was not' jq -e '., .differ > 300' "$work/before.json"
    check 'and there every byte is what it was' memory_is_the_same
    note "$(jq -c '[.pages, .filled, .differ]' "$compared") pages: all, not empty, different;" \
        "QEMU copied $(jq -c '.ram."dirty-sync-count"' "$work/migrate.json") times"
    must 'and it begins' go_over
    check 'the streams end' streams_end two
    check 'what it was sent came once' stream_sane to
    check 'what the guest sent came once, all of it' stream_whole from
    at=1
    finish
}

# A tracker that leaves out one mark in a hundred is found out. No small frames: those make receive
# buffers small, and a page of several is marked for one of them.
forgetful() {
    # shellcheck source=SCRIPTDIR/../../lib/mutant.sh
    . "$here/../lib/mutant.sh"
    must 'a tracker that leaves out one mark in a hundred is built' \
        mutant "$top" "$build" "$machine_here/one-mark-in-100.patch" tools/vdpa-tracker/vdpa-tracker "$work/forgetful"
    tracker_program=$work/forgetful
    begin
    must 'it goes to a destination that does not begin' compare
    check 'and there memory is not what it was' memory_differs
    note "$(jq -c '[.pages, .filled, .differ]' "$compared") pages: all, not empty, different"
    machine_stop two
    machine_stop one
    unset tracker_program
    end_trackers || :
}

# wants NAME WORD...: is that part asked for?
wants() {
    local name=$1
    shift
    (($# == 0)) || [[ " $* " == *" $name "* ]]
}

# run_variants [WORD...]: each row of $variants, of those that are asked for.
run_variants() {
    local variant options nic trips mode
    while read -r variant policy options nic trips mode; do
        if [[ -z $variant ]] || ! wants "$variant" "$@"; then continue; fi
        session "$variant"
        tracker_device=$plain_device${options#-}
        machine_nic=$nic_words${nic#-}
        [[ -z ${VDT_NIGHTLY:-} ]] || trips=$((5 * trips))
        there_and_back
    done <<<"$variants"
}

# run_parts "PART..." [WORD...]: functions of the test.
run_parts() {
    local part_name parts
    read -ra parts <<<"$1"
    shift
    tracker_device=$plain_device
    machine_nic=$nic_words
    policy=always
    for part_name in "${parts[@]}"; do
        wants "$part_name" "$@" || continue
        session "$part_name"
        "$part_name"
    done
}
