# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034,SC2154 # of kernel-vdpa and lib.sh
# A part of kernel-vdpa: the test for others (vdpa-tracker ci-migrate) on the kernel's devices.

# ci NAME CODE OPTION...: exit code CODE, the results as NAME.json.
ci() {
    in_lab "cd /tmp && ulimit -l unlimited && vdpa-tracker ci-migrate --memory 32 --duration 0.3 --timeout 150 --json ${*:3} >ci.json 2>ci.err
        code=\$?; cat ci.json; [ \$code -eq $2 ] && [ -s vdpa-tracker-ci.xml ]" 160 >"$work/$1.json" ||
        { jq -r '.cases[]? | select(.verdict == "failed") | .name, .said' "$work/$1.json" && lab 'tail -n 5 /tmp/ci.err' && return 1; }
}

# skipped NAME: the cases, without those of commands that were not offered.
skipped() {
    jq -r '.cases[] | select(.verdict == "skipped" and (.name | startswith("it sets") | not)) | .group + ": " + .name' "$work/$1.json"
}

# failed NAME FILTER: one case failed, and what it says.
failed() {
    true_of "$1" "[.cases[] | select(.verdict == \"failed\")] | length == 1 and (.[0] | ($2))"
}

ci_migrate() {
    local part='ci-migrate: '
    start reflect0 python3 "$lab_here/reflect.py" vpt0 "$work/wire0.json"
    start reflect1 python3 "$lab_here/reflect.py" vpt1 "$work/wire1.json"
    check 'cards whose network returns frames' ci cards 0 --source "$(node vdpa0)" --destination "$(node vdpa1)" --reflects
    note "downtime: $(jq -c '.properties | {there: .["downtime_us.there.1"], back: .["downtime_us.back.1"]}' "$work/cards.json") us"
    same 'all is checked that can be' 'there: the device there holds what the first one held
back: the device there holds what the first one held' "$(skipped cards)"
    check 'the guest used all that the cards have' true_of cards '[.cases[] | select((.name | test("it sets: (mac address|rx mode|mac table|vlan|queue pairs|rss)")) and .verdict == "passed")] | length == 6'
    check 'a card and a simulator, by what both have' ci both 0 --source "$(node sim0)" --destination "$(node vdpa1)" --common --reflects
    stop reflect0 || :
    stop reflect1 || :
    check 'cards whose network returns nothing' ci alone 0 --source "$(node vdpa0)" --destination "$(node vdpa1)"
    same 'what needs frames is skipped' 9 "$(skipped alone | wc -l)"
    check 'which can be called a failure' ci demanded 1 --source "$(node vdpa0)" --destination "$(node vdpa1)" --reflects
    check 'by its name' failed demanded '.name == "its frames come back"'
    check 'simulators return frames by themselves' ci simulators 0 --source "$(node sim0)" --destination "$(node sim1)" --reflects
    check 'and not without' ci differ 1 --source "$(node vdpa0)" --destination "$(node sim0)"
    check 'by what is missing' failed differ '.name == "the destination can take what a guest of the source may use" and (.said | contains("device lacks MQ"))'
    check 'one device' ci one 1 --source "$(node sim0)" --destination "$(node sim0)"
    check 'is not two' failed one '.name == "the destination opens" and (.said | contains("a migration needs two devices"))'
    check 'a block device' ci block 1 --source "$(node sim0)" --destination "$(node blk0)"
    check 'is no network device' failed block '.name == "the destination opens" and (.said | contains("is no network device"))'
    must 'a device that has an owner' in_lab "tracker_start src --device $(node sim1)"
    check 'is busy' ci busy 1 --source "$(node sim0)" --destination "$(node sim1)"
    check 'and said to be' failed busy '.name == "the destination opens" and (.said | contains("already open"))'
    check 'the tracker ends' in_lab 'tracker_stop src'
    check 'time that runs out' ci late 1 --source "$(node vdpa0)" --destination "$(node vdpa1)" --duration 1000 --timeout 10
    check 'leaves no owner' in_lab "vdpa-tracker check --from $(node vdpa0) --to $(node vdpa1) && ! ls -d /tmp/vdpa-tracker-ci-*"
    check 'the kernel is quiet' kernel_quiet
}
