#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The tree's own rules. Usage: check.sh SOURCE-ROOT. Prints TAP; each offender as "# file:line: why".
set -u -o pipefail
export LC_ALL=C
cd "${1:?usage: check.sh SOURCE-ROOT}" || exit 2

max_lines=600

# What each folder of src/ may include beside itself; a name with a slash is that one header.
layers='
base:
virtio: base
memory: base virtio
device: base virtio memory
shadow: base virtio memory device
control: base virtio memory device shadow
snapshot: base virtio memory device shadow control proto
vhost_user: base virtio memory device shadow
migration: base virtio memory device shadow control snapshot
guest: base virtio memory vhost_user/protocol.h vhost_user/frontend.h
daemon: base virtio memory device shadow control snapshot vhost_user migration proto
libvirt: base snapshot migration
library: base virtio memory device shadow control snapshot vhost_user migration daemon
'

# Files whose header does not bear their name: "FILES HEADER". Elsewhere NOUN_PART.c belongs to NOUN.h,
# and whoever includes FOLDER.h or a NOUN_private.h of its folder belongs to that.
parts='
src/base/error.c vdpa-tracker/error.h
src/snapshot/encode.c snapshot/frame.h
src/libvirt/domain_change.c libvirt/domain_xml.h
src/snapshot/decode.c snapshot/frame.h
src/snapshot/validate.c snapshot/frame.h
src/snapshot/compat.c snapshot/words.h
src/snapshot/show.c snapshot/words.h
src/snapshot/net_json.c snapshot/json.h
src/snapshot/net_parse.c snapshot/json.h
src/daemon/main.c -
src/library/device.c vdpa-tracker/device.h
src/library/snapshot.c vdpa-tracker/snapshot.h
src/library/tracker.c vdpa-tracker/tracker.h
'

# Headers that the build makes, by what is included.
generated='^(config\.h|.*\.pb-c\.h|.*tracker1\.h|.*_dir\.h|uml_guest\.h)$'

number=0
failed=0

# report TITLE < offenders, one a line
report()
{
    local offenders
    offenders=$(cat)
    number=$((number + 1))
    if [ -z "$offenders" ]; then
        echo "ok $number - $1"
    else
        echo "not ok $number - $1"
        echo "# ${offenders//$'\n'/$'\n'# }"
        failed=1
    fi
}

# find_files TREES... -- NAME PATTERNS...
find_files()
{
    local trees=() args=()
    while [ "$1" != -- ]; do
        [ -e "$1" ] && trees+=("$1")
        shift
    done
    shift
    while [ $# -gt 0 ]; do
        args+=(-o -name "$1")
        shift
    done
    [ ${#trees[@]} -gt 0 ] || return 0
    find "${trees[@]}" -type f \( "${args[@]:1}" \) | sort
}

# includes TREES...: "file line kind path" of every #include, kind q for quotes and a for angles
includes()
{
    # shellcheck disable=SC2016 # for awk
    find_files "$@" -- '*.c' '*.h' | xargs -r awk '
        match($0, /^[ \t]*#[ \t]*include[ \t]*["<][^">]*[">]/) {
            text = substr($0, RSTART, RLENGTH)
            kind = text ~ /"/ ? "q" : "a"
            sub(/^[^"<]*["<]/, "", text)
            sub(/[">]$/, "", text)
            print FILENAME, FNR, kind, text
        }'
}

layering()
{
    { includes src include; } | awk -v layers="$layers" '
        BEGIN {
            n = split(layers, rows, "\n")
            for (i = 1; i <= n; i++) {
                if (split(rows[i], row, /:[ ]*/) < 1 || row[1] == "")
                    continue
                known[row[1]] = 1
                m = split(row[2], below, " ")
                for (k = 1; k <= m; k++)
                    may[row[1], below[k]] = 1
            }
        }
        $4 ~ /^\.\.?\// { next } # spelling() has those
        {
            split($1, from, "/")
            to = $4
            sub(/\/.*/, "", to)
            why = ""
            if (from[1] == "include") {
                if ($3 == "q" || (to in known))
                    why = "public headers include public headers only"
            } else if (to ~ /^(tools|tests|lib|fake|unit|flow)$/) {
                why = "src/ includes nothing of " to "/"
            } else if ($3 == "q" && index($4, "/") && to != from[2] &&
                       !((from[2], to) in may) && !((from[2], $4) in may)) {
                why = "src/" from[2] " may not include " $4
            }
            if (why != "")
                print $1 ":" $2 ": " why
        }'
}

long_files()
{
    find_files src include tools tests proto -- '*.c' '*.h' '*.sh' '*.py' '*.proto' meson.build |
        xargs -r awk -v max=$max_lines '
            FNR == max + 1 { long[FILENAME] = 1 }
            long[FILENAME] { lines[FILENAME] = FNR }
            END { for (file in lines) print file ":" lines[file] ": more than " max " lines" }'
}

spelling()
{
    includes src include tools tests | while read -r file line kind path; do
        case $path in
        ../* | */../* | ./*)
            echo "$file:$line: relative path $path"
            continue
            ;;
        esac
        if [ "$kind" = a ]; then
            [ ! -e "src/$path" ] || echo "$file:$line: <$path> is ours, so it stands in quotes"
            case $path in
            vdpa-tracker/*) [ -e "include/$path" ] || echo "$file:$line: no such header: $path" ;;
            esac
            continue
        fi
        [[ ! $path =~ $generated ]] || continue
        case $file in
        src/* | include/*) roots=(src) ;;
        tools/*) roots=(src .) ;;
        # A test folder may have headers of its own beside the tests.
        *) roots=(src tests . "${file%/*}") ;;
        esac
        found=
        for root in "${roots[@]}"; do
            [ ! -e "$root/$path" ] || found=yes
        done
        [ -n "$found" ] || echo "$file:$line: \"$path\" is no header seen from ${roots[0]}/"
        case $file:$path in
        tests/*:* | *:*/*) ;;
        *) echo "$file:$line: \"$path\" lacks its folder" ;;
        esac
    done
}

licences()
{
    {
        find_files src include tools tests proto docs .ci -- '*.c' '*.h' '*.sh' '*.py' '*.proto' meson.build
        ls meson.build meson_options.txt 2>/dev/null
        # Programs without a suffix: whatever begins with #!
        for tree in tools tests .ci; do
            [ ! -d $tree ] || find $tree -type f ! -name '*.[a-z]*' -exec awk 'FNR == 1 && /^#!/ { print FILENAME } FNR > 1 { nextfile }' {} +
        done
    } | sort -u | xargs -r awk '
        FNR == 1 { wanted = /^#!/ ? 2 : 1 }
        FNR == wanted && !/SPDX-License-Identifier: LGPL-2\.1-or-later/ {
            print FILENAME ":" FNR ": no SPDX tag"
        }
        FNR > wanted { nextfile }'
    find_files src include tools tests proto docs -- '*.c' '*.h' '*.sh' '*.py' '*.proto' meson.build |
        while read -r file; do [ -s "$file" ] || echo "$file:1: empty"; done
}

nouns()
{
    local file folder noun owner row all
    all=$(includes src)
    find src -mindepth 1 -maxdepth 1 -type d | sort | while read -r folder; do
        grep -q "^${folder#src/}:" <<<"$layers" || echo "$folder:1: not in the table of layers"
    done
    find src -mindepth 2 -type d | sed 's/$/:1: folders of src have no folders/'
    find_files src -- '*.c' '*.h' | awk -F/ 'NF == 2 { print $0 ":1: stands in no layer" }'
    find_files src -- '*.c' | while read -r file; do
        [ ! -e "${file%.c}.h" ] || continue
        owner=
        while read -r pattern header; do
            # shellcheck disable=SC2254
            case $file in
            $pattern) owner=$header ;;
            esac
        done <<<"$parts"
        folder=${file%/*}
        folder=${folder#src/}
        [ -n "$owner" ] || owner=$(awk -v c="$file" -v f="$folder" '$1 == c && $4 ~ "^" f "/(" f "|.*_private)\\.h$" { print $4; exit }' <<<"$all")
        noun=${file%.c}
        while [ -z "$owner" ] && [[ ${noun##*/} == *_* ]]; do
            noun=${noun%_*}
            [ ! -e "$noun.h" ] || owner=${noun#src/}.h
        done
        if [ -z "$owner" ]; then
            echo "$file:1: no ${file##*/} header of its own, of a noun its name begins with, or in the table of check.sh"
        elif [ "$owner" != - ]; then
            row=$(awk -v c="$file" -v a="$owner" -v b="${owner%.h}_private.h" '$1 == c && ($4 == a || $4 == b)' <<<"$all")
            [ -n "$row" ] || echo "$file:1: belongs to $owner and does not include it"
        fi
    done
}

unfinished()
{
    local words='TO''DO|FIX''ME|X''XX'
    find_files src include tools tests proto docs -- '*' | grep -v '/golden/\|/corpus/' |
        xargs -r grep -nIwE "$words" /dev/null | grep -v 'SKIP|' | # TAP's directives
        sed -E 's/^([^:]*:[0-9]+):.*/\1: unfinished work/'
}

echo 1..6
report "folders include only what stands below them" < <(layering)
report "no file has more than $max_lines lines" < <(long_files)
report "our headers are spelled folder/file.h" < <(spelling)
report "files begin with their licence" < <(licences)
report "each source file has a header, each folder a layer" < <(nouns)
report "nothing is marked as unfinished" < <(unfinished)
exit $failed
