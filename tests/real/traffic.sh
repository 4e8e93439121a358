# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Numbered UDP streams between a guest and the host, and what a switch-over may do to them.
# Needs lib.sh and uml.sh.
# shellcheck disable=SC2154 # work, build: of lib.sh

udpseq=$build/tests/real/udpseq
stream_rate=1000
# What the guest's clock may be off, and a busy machine late, in ms.
stream_slack_ms=${VDT_STREAM_SLACK_MS:-20}

# streams_start SECONDS GUEST-ADDRESS HOST-ADDRESS: one stream each way.
streams_start() {
    local seconds=$1
    rm -f "$work/guest/receiving" "$work/receiving" "$work/to-guest.json" "$work/from-guest.json"
    guest_begin "$udpseq recv 7001 $((seconds + 10)) /mnt/receiving"
    stream_to_guest=$guest_job
    # shellcheck disable=SC2016 # for the inner shell
    start receiver bash -c 'exec "$0" recv 7002 "$1" "$2" >"$3"' \
        "$udpseq" $((seconds + 10)) "$work/receiving" "$work/from-guest.json"
    wait_for 10 test -e "$work/guest/receiving" -a -e "$work/receiving" || return 1
    start sender "$udpseq" send "$2" 7001 "$stream_rate" "$seconds" "$work/to-guest.stamps.json"
    guest_begin "$udpseq send $3 7002 $stream_rate $seconds"
    stream_from_guest=$guest_job
}

# Results: $work/to-guest.json, $work/from-guest.json.
streams_end() {
    guest_end "$stream_from_guest" $(($1 + 15)) >"$work/from-guest.sent.json" &&
        ended sender 15 && ended receiver 15 &&
        guest_end "$stream_to_guest" 15 >"$work/to-guest.json"
}

# Losses of the stream to the guest, and how far each reaches out of the nearest window, in ms. A
# datagram can be lost from the later of two moments on: when its first was sent, and when the guest
# got the one before it (until then it waited in a queue). It cannot be lost before it is sent.
# losses WINDOW.json... (swap reports)
losses() {
    jq -n --slurpfile stream "$work/to-guest.json" --slurpfile stamps "$work/to-guest.stamps.json" '
        [inputs] as $windows |
        [$stream[0].gaps[] |
         {first, count, start: ([$stamps[0][.first], .received_before_us] | max),
          end: $stamps[0][.first + .count - 1]} as $loss |
         $loss + {beyond_ms: ([$windows[] |
             [.window_start_us - $loss.start, $loss.end - .window_end_us, 0] | max] | min / 1000)}]' "$@"
}

# losses_inside WINDOW.json...: no loss to the guest but in the windows of these swaps.
losses_inside() {
    losses "$@" | jq -e --argjson slack "$stream_slack_ms" '., all(.beyond_ms <= $slack)'
}

# stream_beyond WINDOW.json...: how far the farthest loss reaches out of its window, in ms.
stream_beyond() {
    losses "$@" | jq '[.[].beyond_ms] | max // 0'
}

# Everything that must hold whatever was done meanwhile: whole, no doubles, our own socket kept up.
stream_sane() {
    jq -e -n 'input | {sent, received, lost, duplicated, reordered, overflow, ended}, .silences,
        (.sent > 0 and .duplicated == 0 and .overflow == 0 and .ended)' "$1"
}
