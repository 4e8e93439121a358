# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Two hosts with a libvirtd each, on the networks of qemu/machine.sh. Needs lib.sh and that.
#
#   libvirt_host NAME ADDRESS     namespaces, vdpa-tracker and its hook as a user installs them, libvirtd
#   inside NAME COMMAND...        runs there
#   virsh_on NAME WORD...
#   devices NAME < LINES          its devices.conf
#
# With $libvirt_later both have a later suite's libvirt and QEMU: libvirt_fetch before enclose().
# shellcheck disable=SC2154 # work, build, started: of lib.sh

declare -A host_pid=()
hook_file=etc/libvirt/hooks/qemu.d/50-vdpa-tracker
libvirt_root= # where programs and configuration come from
[[ -z ${libvirt_later:-} ]] || libvirt_root=$debian_cache/libvirt/root

# Returns 1, and why in $debian_why, where packages are not to be had.
libvirt_fetch() {
    [[ -n $libvirt_root && ! -e $debian_cache/libvirt/ready ]] || return 0
    mkdir -p "$debian_cache/libvirt"
    exec {libvirt_lock}>"$debian_cache/libvirt.lock"
    flock "$libvirt_lock"
    [[ ! -e $debian_cache/libvirt/ready ]] || return 0
    note "fetching libvirt and QEMU of $debian_suite into $debian_cache/libvirt (about 100 MB, once)"
    # The programs, what host.sh and the hooks call, what vdpa-tracker is linked with.
    debian_unpack "$libvirt_root" "libvirt-daemon,libvirt-daemon-driver-qemu,libvirt-clients,qemu-system-x86,$(
    )base-files,bash,dash,coreutils,libc-bin,mount,util-linux,iproute2,procps,sed,grep,hostname,$(
    )libvirt-glib-1.0-0,libjson-glib-1.0-0,libxml2,libmnl0,libxxhash0,libsystemd0" || return 1
    rm -rf "$libvirt_root"/usr/share/{doc,man,locale} "$libvirt_root"/var/lib/apt
    mkdir -p "$libvirt_root"/{dev,proc,run,sys,tmp} "$libvirt_root"/var/{lib,log,cache}/libvirt "$libvirt_root/usr/local/bin"
    # What unpacking alone leaves out.
    rm -rf "$libvirt_root/var/run"
    ln -s /run "$libvirt_root/var/run"
    printf '%s\n' 'root:x:0:0::/root:/bin/bash' >"$libvirt_root/etc/passwd"
    printf '%s\n' 'root:x:0:' >"$libvirt_root/etc/group"
    touch "$debian_cache/libvirt/ready"
    exec {libvirt_lock}>&-
}

# What `meson install` gives, once.
libvirt_install() {
    DESTDIR=$work/install meson install -C "$build" --no-rebuild --quiet
    install_root=$(dirname "$(find "$work/install" -path '*/bin/vdpa-tracker')")
    installed_hook=$(find "$work/install" -path "*/${hook_file#etc/}")
    [[ -x $installed_hook ]]
}

libvirt_host() {
    local name=$1 address=$2 dir=$work/$1 number
    number=$((${#host_pid[@]} + 1))
    mkdir -p "$dir"/{run,lib/boot,log/qemu,cache}
    cp -a "$libvirt_root/etc" "$dir/etc"
    # What Debian's package libvirt-daemon-system would have made.
    grep -q ^libvirt-qemu: "$dir/etc/passwd" || echo 'libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin' >>"$dir/etc/passwd"
    grep -q ^libvirt-qemu: "$dir/etc/group" || echo 'libvirt-qemu:x:64055:' >>"$dir/etc/group"
    grep -q ^kvm: "$dir/etc/group" || echo 'kvm:x:64056:' >>"$dir/etc/group"
    cp -a "$install_root" "$dir/program"
    mkdir -p "$dir"/etc/vdpa-tracker "$dir/$(dirname $hook_file)"
    install -m 755 "$installed_hook" "$dir/$hook_file"
    # Between the two calls of each operation, as the user's other hooks would be.
    install -m 755 "$libvirt_here/trace.sh" "$dir/$(dirname $hook_file)/10-trace"
    printf '%s\n' '127.0.0.1 localhost' '192.0.2.101 a' '192.0.2.102 b' >"$dir/etc/hosts"
    cat >"$dir/etc/libvirt/libvirtd.conf" <<EOF
listen_tls = 0
listen_tcp = 1
listen_addr = "$address"
auth_tcp = "none"
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "00000000-0000-4000-8000-00000000000$number"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
EOF
    cat >"$dir/etc/libvirt/qemu.conf" <<EOF
user = "libvirt-qemu"
group = "libvirt-qemu"
stdio_handler = "file"
cgroup_controllers = [ ]
security_driver = "none"
namespaces = [ ]
seccomp_sandbox = 0
remember_owner = 0
migration_address = "0.0.0.0"
migration_host = "$address"
EOF
    ip -n "$name" addr add "$address/24" dev bridge
    cp "$machine_cache/vmlinuz" "/run/$test_name/initrd.gz" "$dir/lib/boot/"
    start "host-$name" nsenter --net="/run/netns/$name" unshare --mount --uts --ipc --pid --fork \
        --kill-child=KILL --mount-proc "$libvirt_here/host.sh" "$dir" "$name" "$libvirt_root"
    wait_for 10 test -e "$dir/run/ready" || return 1
    host_pid[$name]=$(pgrep -P "${started["host-$name"]}")
    libvirtd_start "$name"
}

inside() {
    local name=$1
    shift
    nsenter --target "${host_pid[$name]}" --root --wd=/ --mount --uts --ipc --net --pid "$@"
}

# start_inside NAME PROGRAM COMMAND...: as start(), the program is called PROGRAM-NAME.
start_inside() {
    start "$2-$1" nsenter --target "${host_pid[$1]}" --root --wd=/ --mount --uts --ipc --net --pid "${@:3}"
}

libvirtd_start() {
    start_inside "$1" libvirtd /usr/sbin/libvirtd --listen
    wait_for 20 virsh_on "$1" version
}

# Its own process: nsenter, which we started, is another.
libvirtd_stop() {
    # shellcheck disable=SC2016 # for the inner shell
    inside "$1" sh -c 'kill "$(cat /run/libvirtd.pid)"' && ended "libvirtd-$1" 20
}

virsh_on() {
    local name=$1
    shift
    inside "$name" timeout 120 virsh --quiet --connect qemu:///system "$@"
}

tracker_on() {
    local name=$1
    shift
    inside "$name" timeout 30 /usr/local/bin/vdpa-tracker "$@"
}

devices() {
    cat >"$work/$1/etc/vdpa-tracker/devices.conf"
}
