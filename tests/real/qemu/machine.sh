# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Guests in QEMU that migrate: QEMU and kernel of a later suite, unpacked beside the system, two hosts
# as network namespaces with a tracker each, and a peer that the guest talks to. Needs lib.sh.
#
#   machine_fetch              before enclose(): needs the package mirror, once
#   hosts                      inside: namespaces a, b and peer, a switch between them
#   tracker_start HOST [WORD...]
#   machine_start VM HOST [QEMU-ARGUMENT...]   VM is a name: the first, or one that waits for a guest
#   guest VM COMMAND [SECONDS] runs a shell command in the guest that VM has
#   qmp VM COMMAND [ARGUMENTS]
# shellcheck disable=SC2154 # work, here, build, started: of lib.sh

machine_here=$here/qemu
# shellcheck source=SCRIPTDIR/../debian.sh
. "$here/debian.sh"
machine_cache=$debian_cache/qemu
machine_modules='failover net_failover virtio_net llc stp garp mrp 8021q'
guest_mac=52:54:00:00:00:2a
guest_ip=192.0.2.42
peer_ip=192.0.2.1
peer_mac=52:54:00:00:00:01

# Returns 1, and why in $machine_why, where packages are not to be had.
machine_fetch() {
    local root=$machine_cache/root mirror kernel module
    [[ ! -e $machine_cache/ready-2 ]] || return 0
    mkdir -p "$machine_cache"
    exec {machine_lock}>"$machine_cache.lock"
    flock "$machine_lock"
    [[ ! -e $machine_cache/ready-2 ]] || return 0
    note "fetching QEMU and a kernel of $debian_suite into $machine_cache (about 100 MB, once)"
    debian_unpack "$root" linux-image-cloud-amd64,qemu-system-x86 || {
        # shellcheck disable=SC2034 # for the caller
        machine_why=$debian_why
        return 1
    }
    kernel=$(basename "$root"/usr/lib/modules/*-cloud-amd64)
    mkdir -p "$machine_cache"/{lib,share,modules}
    cp "$root/boot/vmlinuz-$kernel" "$machine_cache/vmlinuz"
    for module in $machine_modules; do
        find "$root/usr/lib/modules/$kernel" -name "$module.ko.xz" -exec xz -dc {} \; >"$machine_cache/modules/$module.ko"
    done
    cp "$root/usr/bin/qemu-system-x86_64" "$machine_cache/"
    "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu" --list \
        "$root/usr/bin/qemu-system-x86_64" | grep -o "$root/[^ ]*" | xargs -n 1 cp -L -t "$machine_cache/lib"
    cp -L "$root"/usr/share/qemu/{kvmvapic,linuxboot_dma}.bin "$root/usr/share/seabios/bios-256k.bin" "$machine_cache/share/"
    rm -rf "$root"
    touch "$machine_cache/ready-2"
    exec {machine_lock}>&-
}

# machine_initrd: busybox, the NIC's modules, udpseq and iperf3 with their libraries.
machine_initrd() {
    local root=$work/initrd library programs
    programs=("$build/tests/real/udpseq" "$(command -v iperf3)")
    mkdir -p "$root"/{bin,dev,lib,proc,sys,run,tmp}
    cp "$(command -v busybox)" "${programs[@]}" "$root/bin/"
    install -m 755 "$machine_here/init.sh" "$root/init"
    cp "$machine_cache/modules"/*.ko "$root/lib/"
    for library in $(ldd "${programs[@]}" | grep -v :$ | grep -o '/[^ ]*'); do
        cp -L --parents "$library" "$root"
    done
    (cd "$root" && find . | cpio --quiet -o -H newc) | gzip -1 >"/run/$test_name/initrd.gz"
    rm -rf "$root"
}

# Two hosts, each with a tap for its tracker's device, and a peer: three ports of one switch.
hosts() {
    local host
    mkdir -p /run/netns
    for host in a b peer; do ip netns add "$host"; done
    ip -n peer link add switch address $peer_mac type bridge
    ip -n peer link set switch mtu 9000
    for host in a b; do
        ip -n "$host" link set lo up
        ip -n "$host" link add uplink type veth peer name "to-$host" netns peer
        ip -n "$host" link add bridge type bridge
        ip -n "$host" tuntap add dev tap mode tap multi_queue vnet_hdr
        for port in uplink tap; do ip -n "$host" link set "$port" mtu 9000 master bridge up; done
        ip -n "$host" link set tap txqueuelen 10000
        ip -n "$host" link set bridge up
        ip -n peer link set "to-$host" mtu 9000 master switch up
    done
    ip -n peer addr add "$peer_ip/24" dev switch
    ip -n peer link set switch up
    ip -n peer link set lo up
}

# on HOST COMMAND...
on() {
    local host=$1
    shift
    nsenter --net="/run/netns/$host" "$@"
}

# start_on HOST NAME COMMAND...: as start().
start_on() {
    local host=$1 name=$2
    shift 2
    start "$name" nsenter --net="/run/netns/$host" "$@"
}

vdpa_tracker() {
    timeout 30 "$build/tools/vdpa-tracker/vdpa-tracker" "$@"
}

# tracker_start HOST [WORD...]: a tracker with the host's name on $tracker_device.
tracker_device=sim:tap=tap,pairs=1,num=1024,mac=$guest_mac
tracker_start() {
    local host=$1
    shift
    start_on "$host" "tracker-$host" "${tracker_program:-$build/tools/vdpa-tracker/vdpa-tracker}" run \
        --name "$host" --socket-path "/run/$test_name/$host.sock" --device "$tracker_device" "$@"
    wait_for 10 test -S "/run/$test_name/$host.sock" && wait_for 10 vdpa_tracker status "$host"
}

# status HOST FILTER
status() {
    vdpa_tracker status "$1" --json | jq -r "$2"
}

# Whichever QEMU it is.
machine_qemu=("$machine_cache/lib/ld-linux-x86-64.so.2" --library-path "$machine_cache/lib"
    "$machine_cache/qemu-system-x86_64" -L "$machine_cache/share")
machine_memory=128
machine_nic=,vectors=4
machine_chardev=

# init_on_alloc=0: no processor writes to a receive buffer before the device does.
# Files of an earlier VM of that name are overwritten, its log is gone on with.
machine_start() {
    local vm=$1 host=$2
    shift 2
    rm -f "$work/$vm".{console,line,qmp,events} "$work/$vm-events.log"
    start "$vm" "${machine_qemu[@]}" -nodefaults -no-user-config -display none -no-reboot \
        -M q35,memory-backend=ram -m "$machine_memory" -accel tcg,thread=multi -cpu qemu64 -smp 1 \
        -object "memory-backend-memfd,id=ram,size=${machine_memory}M,share=on" \
        -kernel "$machine_cache/vmlinuz" -initrd "/run/$test_name/initrd.gz" \
        -append "console=ttyS0 mitigations=off panic=-1 quiet loglevel=5 random.trust_cpu=on init_on_alloc=0" \
        -chardev "file,id=c0,path=$work/$vm.console" -serial chardev:c0 \
        -chardev "socket,id=c1,path=$work/$vm.line,server=on,wait=off" -serial chardev:c1 \
        -qmp "unix:$work/$vm.qmp,server=on,wait=off" -qmp "unix:$work/$vm.events,server=on,wait=off" \
        -chardev "socket,id=nic,path=/run/$test_name/$host.sock$machine_chardev" -netdev vhost-user,id=net,chardev=nic \
        -device "virtio-net-pci,netdev=net,mac=$guest_mac,romfile=$machine_nic" "$@"
    wait_for 10 test -S "$work/$vm.events" || return 1
    start "$vm-events" python3 "$machine_here/qmp.py" "$work/$vm.events" --events
    # Without it a source takes a state for loaded that its destination has refused.
    qmp "$vm" migrate-set-capabilities '{"capabilities": [{"capability": "return-path", "state": true}]}'
}

# machine_waits VM HOST [QEMU-ARGUMENT...]: for a guest that comes to $work/VM.migration.
machine_waits() {
    local vm=$1 host=$2
    shift 2
    rm -f "$work/$vm.migration"
    machine_start "$vm" "$host" -incoming "unix:$work/$vm.migration" "$@" &&
        wait_for 10 test -S "$work/$vm.migration"
}

qmp() {
    local vm=$1
    shift
    timeout 90 python3 "$machine_here/qmp.py" "$work/$vm.qmp" "$@"
}

guest() {
    python3 "$here/kernel/lab.py" "$work/$1.line" "${3:-30}" <<<"$2"
}

guest_boots() {
    wait_for "${GUEST_BOOT_SECONDS:-90}" grep -q 'the guest is ready' "$work/$1.console"
}

# When VM's event happened, in us; the last of that name.
event_us() {
    jq -n --arg event "$2" '[inputs | select(.event == $event) | .timestamp |
        .seconds * 1000000 + .microseconds] | last // 0' "$work/$1-events.log"
}

machine_stop() {
    [[ -n ${started[$1]:-} ]] || return 0
    qmp "$1" quit >/dev/null 2>&1 || :
    timeout 5 tail --pid="${started[$1]}" -s 0.02 -f /dev/null || :
    stop "$1" 1 || :
    stop "$1-events" 1 || :
}

# network VM: the guest's address, and no address resolution that a stop could cut off.
network() {
    on peer ip neigh replace "$guest_ip" lladdr "$guest_mac" dev switch
    guest "$1" "ip addr add $guest_ip/24 dev eth0; ip link set eth0 up; arp -s $peer_ip $peer_mac"
}

answers() {
    on peer ping -c 1 -W 1 "$guest_ip"
}

# alive SECONDS
alive() {
    wait_for "$1" answers
}

# --- numbered datagrams both ways, from one migration to the next ---

stream_rate=500

# streams_start VM
streams_start() {
    rm -f "$work"/{to,from}-guest.* "$work/receiving"
    # shellcheck disable=SC2016 # for the inner shell
    start_on peer receiver sh -c 'exec "$0" recv 7002 1200 "$1" >"$2"' \
        "$build/tests/real/udpseq" "$work/receiving" "$work/from-guest.json"
    guest "$1" 'rm -f /run/receiving; udpseq recv 7001 1200 /run/receiving >/run/to-guest.json & echo $! >/run/receiver' &&
        wait_for 10 test -e "$work/receiving" && wait_for 10 guest "$1" 'test -e /run/receiving' || return 1
    start_on peer sender "$build/tests/real/udpseq" send "$guest_ip" 7001 "$stream_rate" 1200 "$work/to-guest.stamps.json"
    guest "$1" "udpseq send $peer_ip 7002 $stream_rate 1200 >/run/from-guest.sent & echo \$! >/run/sender"
}

# hold_start VM: a socket that nobody reads.
hold_start() {
    # shellcheck disable=SC2016 # for the guest
    guest "$1" 'ip link set eth0 mtu 9000; rm -f /run/holding; udpseq recv 7009 1200 /run/holding >/dev/null & echo $! >/run/holder' &&
        wait_for 10 guest "$1" 'test -e /run/holding' &&
        guest "$1" 'kill -STOP $(cat /run/holder)'
}

# hold_fill: frames for it, of two receive buffers of a page each. The guest keeps them where the device
# has put them: what is read goes back into the ring, and all that is there at a stop is marked.
hold_fill() {
    on peer timeout 20 python3 -c '
import socket, sys, time
line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(650):
    line.sendto(bytes([number % 256]) * 8000, (sys.argv[1], 7009))
    time.sleep(0.002)' "$guest_ip"
}

# held VM: how many bytes it holds.
held() {
    # shellcheck disable=SC2016 # for awk in the guest
    echo $((16#$(guest "$1" 'awk "/:1B61 /{split(\$5, queue, \":\"); print queue[2]}" /proc/net/udp')))
}

# streams_end VM: both senders end, both receivers tell.
streams_end() {
    kill -TERM "${started[sender]}"
    # shellcheck disable=SC2016 # for the guest
    guest "$1" 'kill $(cat /run/sender)' && ended sender 10 && ended receiver 10 || return 1
    # shellcheck disable=SC2016 # for the guest
    guest "$1" 'for i in $(seq 100); do [ -e /proc/$(cat /run/receiver) ] || break; sleep 0.1; done; cat /run/to-guest.json' \
        >"$work/to-guest.json"
}
