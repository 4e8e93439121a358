# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Sourced by tools/test and tools/demo: packages and meson build folders.
# Every function leaves with 1 and a sentence on stderr when it cannot do its part.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Names of the packages of GROUP... that dpkg does not have.
packages_missing() {
    local group package
    for group in "$@"; do
        sed -n "s/^$group //p" "$top/tools/packages" | tr ' ' '\n' | while read -r package; do
            dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
                echo "$package"
        done
    done
}

# Installs what GROUP... lacks. Elsewhere than on Debian it trusts that meson names what is missing.
packages_need() {
    local missing apt=(apt-get -q -y -o DPkg::Lock::Timeout=300)
    command -v dpkg-query >/dev/null || return 0
    missing=$(packages_missing "$@" | sort -u | tr '\n' ' ')
    [[ -n $missing ]] || return 0
    if ((EUID != 0)); then
        echo "missing packages; install them with: sudo apt-get install $missing" >&2
        return 1
    fi
    echo "== packages: $missing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # a list of names
    { timeout 600 "${apt[@]}" update && timeout 1200 "${apt[@]}" install --no-install-recommends $missing; } \
        >"${TMPDIR:-/tmp}/vdpa-tracker-apt.log" 2>&1 || {
        tail -n 20 "${TMPDIR:-/tmp}/vdpa-tracker-apt.log" >&2
        echo "packages could not be installed: $missing" >&2
        return 1
    }
}

# Configures FOLDER once with the meson options that follow, then builds it.
build_folder() {
    local folder=$1
    shift
    if [[ ! -f $folder/build.ninja ]]; then
        mkdir -p "$(dirname "$folder")"
        meson setup "$folder" "$top" "$@" >"$folder.log" 2>&1 || {
            tail -n 30 "$folder.log" >&2
            echo "$folder could not be configured" >&2
            return 1
        }
        rm -f "$folder.log"
    fi
    ninja -C "$folder" -j "${VDT_JOBS:-$(nproc)}" || {
        echo "$folder could not be built" >&2
        return 1
    }
}
