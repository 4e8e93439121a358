# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Numbered UDP streams between a guest and the host, and what a switch-over may do to them.
# Needs lib.sh and uml.sh.
# shellcheck disable=SC2154 # work, build: of lib.sh

udpseq=$build/tests/real/udpseq
stream_rate=1000
# A datagram is stamped some time before the device sees it, and seen some time before the
# receiver's clock is read: what a busy machine with two cores needs to get from one to the other.
stream_slack_ms=${VDT_STREAM_SLACK_MS:-30}

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
    start sender "$udpseq" send "$2" 7001 "$stream_rate" "$seconds"
    guest_begin "$udpseq send $3 7002 $stream_rate $seconds"
    stream_from_guest=$guest_job
}

# Results: $work/to-guest.json, $work/from-guest.json.
streams_end() {
    guest_end "$stream_from_guest" $(($1 + 15)) >"$work/from-guest.sent.json" &&
        ended sender 15 && ended receiver 15 &&
        guest_end "$stream_to_guest" 15 >"$work/to-guest.json"
}

# stream_gaps FILE sent|received WINDOW.json...: false unless each gap lies in a window of a swap's
# report. The clock is the host's: of the sender for a stream to the guest, else of the receiver.
stream_gaps() {
    local file=$1 clock=$2
    shift 2
    jq -e -n --slurpfile stream "$file" --arg clock "$clock" --argjson slack "$((stream_slack_ms * 1000))" '
        [inputs | {start: (.window_start_us - $slack), end: (.window_end_us + $slack)}] as $windows |
        [$stream[0].gaps[] | {first, count, start: .[$clock + "_before_us"], end: .[$clock + "_after_us"]} |
         select(. as $gap | any($windows[]; $gap.start >= .start and $gap.end <= .end) | not)] as $outside |
        {outside: $outside, windows: $windows}, ($outside == [])' "$@"
}

# stream_beyond FILE CLOCK WINDOW.json...: how far gaps reach out of their windows, in ms.
stream_beyond() {
    local file=$1 clock=$2
    shift 2
    jq -n -c --slurpfile stream "$file" --arg clock "$clock" '
        [inputs] as $windows |
        [$stream[0].gaps[] | {start: .[$clock + "_before_us"], end: .[$clock + "_after_us"]} as $gap |
         [$windows[] | [.window_start_us - $gap.start, $gap.end - .window_end_us, 0] | max] | min] |
        (max // 0) / 1000' "$@"
}

# Everything that must hold whatever was done meanwhile: whole, no doubles, our own socket kept up.
stream_sane() {
    jq -e -n 'input | {sent, received, lost, duplicated, reordered, overflow, ended}, .silences,
        (.sent > 0 and .duplicated == 0 and .overflow == 0 and .ended)' "$1"
}
