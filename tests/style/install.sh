#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What an installation holds. Usage: install.sh SOURCE-ROOT BUILD-ROOT MESON... Prints TAP.
set -u
root=${1:?usage: install.sh SOURCE-ROOT BUILD-ROOT MESON...}
build=${2:?usage: install.sh SOURCE-ROOT BUILD-ROOT MESON...}
shift 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
number=0
failed=0

result()
{
    number=$((number + 1))
    if [[ $1 == 0 ]]; then
        echo "ok $number - $2"
    else
        echo "not ok $number - $2"
        sed 's/^/# /' "$work/out"
        failed=1
    fi
}

# has END WHAT: one file whose path ends like that
has()
{
    (cd "$work/to" && find . -type f -path "*$1") >"$work/out"
    [[ $(wc -l <"$work/out") == 1 ]]
    result $? "$2"
}

echo 1..10
DESTDIR=$work/to "$@" install -C "$build" --no-rebuild --quiet >"$work/out" 2>&1
result $? "meson install"
[[ -d $work/to ]] || exit 1

has /bin/vdpa-tracker "the program"
"$(cd "$work/to" && find "$PWD" -path '*/bin/vdpa-tracker')" --version >"$work/out" 2>&1
result $? "it runs from where it is installed"

(cd "$root/include" && find . -name '*.h' | sort) >"$work/wanted"
(cd "$work/to" && find . -path '*/include/*.h' | sed 's,.*/include/,./,' | sort) >"$work/got"
diff "$work/wanted" "$work/got" >"$work/out"
result $? "the public headers and no others"
(cd "$work/to" && find . -name 'libvdpa-tracker.so*' -type f) >"$work/out"
[[ -s $work/out ]]
result $? "the library"
has /pkgconfig/vdpa-tracker.pc "its pkg-config file"

(cd "$root/docs/man" && ls ./*.[0-9]) >"$work/wanted"
(cd "$work/to" && find . -path '*/man/man[0-9]/*' | sed 's,.*/man/man\([0-9]\)/.*\.\1$,&,; s,.*/,./,' | sort) >"$work/got"
diff <(sort "$work/wanted") "$work/got" >"$work/out"
result $? "the manual pages"
has /share/bash-completion/completions/vdpa-tracker "the completion"

has /share/qemu/vhost-user/50-vdpa-tracker.json "the vhost-user backend's description"
description=$(cat "$work/out")
python3 - "$work/to" "$description" >"$work/out" 2>&1 <<'END'
import json, os, subprocess, sys
to, path = sys.argv[1:]
about = json.load(open(os.path.join(to, path)))
assert set(about) == {"description", "type", "binary", "tags"}, about
program = to + about["binary"]
says = json.loads(subprocess.run([program, "--print-capabilities"], check=True, timeout=20,
                                 capture_output=True).stdout)
assert says["type"] == about["type"] == "net", (says, about)
END
result $? "its program is there and says the same type"
exit $failed
