# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Packages of a later Debian, unpacked beside the system; nothing of it is installed. Needs lib.sh.

debian_suite=trixie
# shellcheck disable=SC2034 # for the callers
debian_cache=${VDT_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/vdpa-tracker}

# debian_unpack ROOT PACKAGE,...: returns 1, and why in $debian_why, where they are not to be had. What
# was printed is in packages.log beside ROOT.
debian_unpack() {
    local root=$1 log mirror
    log=$(dirname "$root")/packages.log
    rm -rf "$root"
    # Whatever mirror this machine uses has the later suite as well.
    # shellcheck disable=SC2016 # for apt-get
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep -v security | head -n 1)
    timeout 1200 mmdebstrap --quiet --variant=extract --architectures=amd64 --include="$2" \
        "$debian_suite" "$root" "$mirror" >"$log" 2>&1 && return 0
    rm -rf "$root"
    # shellcheck disable=SC2034 # for the caller
    debian_why="packages of $debian_suite could not be fetched: $(grep '^E:' "$log" | tail -n 1)"
    return 1
}
