# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Completion for vdpa-tracker. Verbs and options are asked of the program itself, so that they are
# always its own.

# Names of running trackers.
_vdpa_tracker_names()
{
    local dir=${VDPA_TRACKER_RUNTIME_DIR:-/run/vdpa-tracker} socket
    for socket in "$dir"/*.ctl; do
        [[ -S $socket ]] || continue
        socket=${socket##*/}
        echo "${socket%.ctl}"
    done
}

_vdpa_tracker_verbs()
{
    "$1" help 2>/dev/null | awk '/^A first try/ { exit } /^  [a-z]/ { print $1 }'
}

# Long options of verb $2, with "=" where they take a value.
_vdpa_tracker_options()
{
    "$1" "$2" --help 2>/dev/null | sed -nE 's/^  (-[a-z], )?(--[a-z-]+=?).*/\2/p'
}

# What may follow in the device $2.
_vdpa_tracker_devices()
{
    local ready node
    case $2 in
    sim:*)
        ready=${2%"${2##*[:,]}"}
        "$1" help sim 2>/dev/null | sed -nE "s|^  ([a-z][a-z-]*=?).*|$ready\1|p"
        ;;
    *)
        echo sim:
        for node in /dev/vhost-vdpa-*; do
            [[ ! -e $node ]] || echo "vhost-vdpa:$node"
        done
        ;;
    esac
}

_vdpa_tracker()
{
    local program=$1 line=${COMP_LINE:0:COMP_POINT} words word before verb kept='' wanted='' files=''
    local breaks cut whole i
    # bash has cut the words at ":" and "="; here they are whole.
    read -ra words <<<"$line"
    [[ $line != *[[:space:]] ]] || words+=('')
    COMPREPLY=()
    ((${#words[@]} >= 2)) || return 0
    word=${words[-1]}
    before=${words[-2]}
    verb=${words[1]}
    if [[ $word == --*=* ]]; then
        before=${word%%=*}
        kept=$before=
        word=${word#*=}
    fi

    if ((${#words[@]} == 2)); then
        wanted=$(_vdpa_tracker_verbs "$program")
    else
        case $before in
        -d | --device | --to) wanted=$(_vdpa_tracker_devices "$program" "$word") ;;
        --from) files=yes wanted=$(_vdpa_tracker_devices "$program" "$word") ;;
        --junit | --socket-path | --restore | --output | --features-from | --metrics-file | --qmp) files=yes ;;
        -o) files=yes ;;
        --shadow) wanted='auto always never' ;;
        --dirty-width) wanted='chain used' ;;
        --format) wanted='1 2' ;;
        --log-level) wanted='error warning info debug' ;;
        --rings) wanted='split packed' ;;
        --source | --destination)
            # The demo's are options of sim: alone.
            wanted=$(case $verb in
                demo) _vdpa_tracker_devices "$program" "sim:$word" | sed 's/^sim://' ;;
                *) _vdpa_tracker_devices "$program" "$word" ;;
            esac)
            ;;
        --name | -n | --fd | --workers | --deadline | --mac | --uuid | --count | -c | --interval | -i) ;;
        --seed | --pairs | --vlans | --rounds | --commands | --duration | --memory) ;;
        --guest) wanted='builtin uml' ;;
        --timeout | --max-downtime | --repeat) ;;
        *)
            case $verb:$word in
            *:-*) wanted=$(_vdpa_tracker_options "$program" "$verb") ;;
            help:*) wanted="$(_vdpa_tracker_verbs "$program") sim" ;;
            status:* | metrics:* | trace:* | snapshot:* | swap:*) wanted=$(_vdpa_tracker_names) ;;
            restore:* | filter:*)
                files=yes
                ((${#words[@]} > 3)) || { files='' && wanted=$(_vdpa_tracker_names); }
                ;;
            baseline:*) files=yes wanted=$(_vdpa_tracker_devices "$program" "$word") ;;
            show:* | diff:* | replay:*) files=yes ;;
            esac
            ;;
        esac
    fi

    mapfile -t COMPREPLY < <(
        compgen -W "$wanted" -- "$word"
        [[ -z $files ]] || compgen -f -- "$word"
    )
    [[ -z $files ]] || compopt -o filenames 2>/dev/null
    for i in "${COMPREPLY[@]}"; do
        [[ $i != *[=:,] ]] || compopt -o nospace 2>/dev/null
    done
    # readline replaces only what follows the last character at which it cuts words.
    breaks=${COMP_WORDBREAKS//[^:=]/}
    word=$kept$word
    cut=
    [[ -z $breaks ]] || cut=${word%"${word##*["$breaks"]}"}
    for i in "${!COMPREPLY[@]}"; do
        whole=$kept${COMPREPLY[i]}
        COMPREPLY[i]=${whole#"$cut"}
    done
}

complete -F _vdpa_tracker vdpa-tracker
