# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# A real kernel with real vhost-vdpa devices, in a virtual machine without KVM. Needs lib.sh.
#
# No Debian kernel ships vp_vdpa or vdpa_sim. Their unpatched sources come from Debian's linux-source
# package and are built against the headers of the same suite's cloud kernel, inside a folder into
# which that later suite's packages are unpacked beside the system; nothing of it is installed. What
# is kept (kernel, modules) is a few megabytes in the cache folder.
#
#   lab_build                before enclose(): needs the package mirror, once
#   lab_boot                 inside: the devices of devices.sh, vpt0 and vpt1 on the host
#   lab COMMAND [SECONDS]    runs a shell command in the machine
#   in_lab, oracle, ...      below
# shellcheck disable=SC2154 # work, here, build, started: of lib.sh

lab_source=linux-source-6.12
lab_here=$here/kernel
# shellcheck source=SCRIPTDIR/../debian.sh
. "$here/debian.sh"
lab_cache=$debian_cache/kernel-lab
lab_modules='irqbypass vdpa vhost_iotlb vhost vhost_vdpa' # of the kernel's package
lab_built='vringh vp_vdpa vdpa_sim vdpa_sim_net vdpa_sim_blk' # ours, in the order of insmod

# Returns 1, and why in $lab_why, where packages are not to be had.
lab_build() {
    local root=$lab_cache/root kernel source mirror
    [[ ! -e $lab_cache/ready ]] || return 0
    mkdir -p "$lab_cache"
    exec {lab_lock}>"$lab_cache.lock"
    flock "$lab_lock"
    [[ ! -e $lab_cache/ready ]] || return 0
    note "building the kernel lab in $lab_cache (about 350 MB are downloaded, once)"
    debian_unpack "$root" "linux-image-cloud-amd64,linux-headers-cloud-amd64,$lab_source,gcc,make,busybox-static" || {
        # shellcheck disable=SC2034 # for the caller
        lab_why=$debian_why
        return 1
    }
    kernel=$(basename "$root"/usr/lib/modules/*-cloud-amd64)
    source=$root/usr/src/$lab_source
    timeout 600 tar -C "$root/usr/src" -xJf "$source.tar.xz" "$lab_source/drivers/vdpa" "$lab_source/drivers/vhost"
    mkdir -p "$root"/{build,dev,proc,tmp}
    cp "$source"/drivers/vdpa/vdpa_sim/*.[ch] "$source/drivers/vdpa/virtio_pci/vp_vdpa.c" \
        "$source/drivers/vhost/vringh.c" "$root/build/"
    # shellcheck disable=SC2086 # a list
    printf 'obj-m :=%s\n' "$(printf ' %s.o' $lab_built)" >"$root/build/Makefile"
    lab_links "$root"
    # kbuild's helpers are programs of the later suite and want its libc.
    # shellcheck disable=SC2016 # for the inner shell
    timeout 900 unshare --mount --pid --fork --kill-child bash -c '
        mount --bind /dev "$0/dev" && mount -t proc none "$0/proc" || exit 1
        exec chroot "$0" /usr/bin/env -i PATH=/usr/sbin:/usr/bin make -C "/usr/src/linux-headers-$1" M=/build modules' \
        "$root" "$kernel" >"$lab_cache/modules.log" 2>&1 || {
        tail -n 20 "$lab_cache/modules.log" >&2
        # Not a reason to skip: what was fetched should build.
        echo "not ok 1 - the modules of $lab_source are built for $kernel"
        exit 1
    }
    lab_keep "$root" "$kernel"
    rm -rf "$root"
    touch "$lab_cache/ready"
    exec {lab_lock}>&-
}

# Unpacked only: links that maintainer scripts would have made, and busybox for what kbuild calls.
lab_links() {
    local name
    for name in bin sbin lib lib64; do [[ -e $1/$name ]] || ln -s "usr/$name" "$1/$name"; done
    for name in $("$1/usr/bin/busybox" --list); do
        [[ -e $1/usr/bin/$name || -e $1/usr/sbin/$name ]] || ln -s busybox "$1/usr/bin/$name"
    done
}

lab_keep() {
    local module
    mkdir -p "$lab_cache/modules"
    cp "$1/boot/vmlinuz-$2" "$lab_cache/vmlinuz"
    for module in $lab_modules; do
        find "$1/usr/lib/modules/$2" -name "${module//_/[-_]}.ko.xz" -exec xz -dc {} \; >"$lab_cache/modules/$module.ko"
    done
    for module in $lab_built; do cp "$1/build/$module.ko" "$lab_cache/modules/"; done
    echo "$2" >"$lab_cache/kernel"
}

# lab_initrd PROGRAM...: busybox, vdpa(8), the modules, our programs and what libraries they want;
# and all that is in $lab_files, if that is a folder.
lab_initrd() {
    local root=$work/initrd program library
    mkdir -p "$root"/{bin,dev,lib,proc,sys,run,tmp}
    cp "$(command -v busybox)" "$root/bin/"
    install -m 755 "$lab_here/init.sh" "$root/init"
    cp "$lab_cache/modules"/*.ko "$root/lib/"
    tr ' ' '\n' <<<"$lab_modules $lab_built" >"$root/lib/order"
    [[ ! -d ${lab_files:-} ]] || cp -r "$lab_files/." "$root"
    for program in "$(command -v vdpa)" "$@"; do
        cp "$program" "$root/bin/"
        for library in $(ldd "$program" | grep -o '/[^ ]*'); do
            [[ -e $root$library ]] || cp -L --parents "$library" "$root"
        done
    done
    (cd "$root" && find . | cpio --quiet -o -H newc) | gzip -1 >"$work/initrd.gz"
    rm -rf "$root"
}

# lab_boot [QEMU-ARGUMENT...]: returns when the machine answers. The network cards are vp_vdpa's.
lab_boot() {
    local card cards=()
    for card in 0 1; do
        ip tuntap add dev "vpt$card" mode tap multi_queue vnet_hdr
        # No frames but the guest's, and none dropped on the way to it.
        sysctl -q -w "net.ipv6.conf.vpt$card.disable_ipv6=1"
        ip link set "vpt$card" txqueuelen 20000 arp off up
        cards+=(-netdev "tap,id=n$card,ifname=vpt$card,queues=4,script=no,downscript=no"
            -device "virtio-net-pci,id=net$card,netdev=n$card,mac=52:54:00:00:53:0$card,addr=0x$((card + 2)),disable-legacy=on,iommu_platform=on,ats=off,vectors=12,romfile=,ctrl_vq=on,ctrl_rx=on,ctrl_rx_extra=on,ctrl_vlan=on,ctrl_mac_addr=on,ctrl_guest_offloads=on,mq=on,rss=on")
    done
    # no_timer_check: on a busy host the kernel takes a late timer for a broken one, and panics.
    start qemu qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
        -M q35,memory-backend=ram -object "memory-backend-memfd,id=ram,size=${LAB_MEMORY:-512}M,share=on" -m "${LAB_MEMORY:-512}" \
        -accel tcg,thread=multi -cpu max -smp "${LAB_CPUS:-2}" -device intel-iommu,intremap=off,snoop-control=on \
        -kernel "$lab_cache/vmlinuz" -initrd "$work/initrd.gz" \
        -append "console=ttyS0 intel_iommu=on mitigations=off no_timer_check panic=-1 quiet loglevel=5 random.trust_cpu=on" \
        -chardev "file,id=c0,path=$work/console.log" -serial chardev:c0 \
        -chardev "socket,id=c1,path=$work/lab.sock,server=on,wait=off" -serial chardev:c1 \
        -qmp "unix:$work/qmp.sock,server=on,wait=off" "${cards[@]}" "$@"
    on_failure+=(lab_logs)
    wait_for "${LAB_BOOT_SECONDS:-90}" grep -q 'the lab is ready' "$work/console.log"
}

# lab COMMAND [SECONDS]: its stdout and exit code are the command's (124: too late).
lab() {
    python3 "$lab_here/lab.py" "$work/lab.sock" "${2:-30}" <<<"$1"
}

lab_logs() {
    [[ -S $work/lab.sock ]] || return 0
    # shellcheck disable=SC2016 # for the machine's shell
    in_lab 'tail -n 200 /tmp/*.log; dmesg | tail -n 30; tail -n 3 /tmp/guest.out
        for socket in /run/vt/*.sock; do vdpa-tracker status "$(basename "$socket" .sock)"; done' 10 >"$work/machine.log" 2>&1
}

# in_lab COMMAND [SECONDS]: with the machine's own helpers.
lab_helpers=("$lab_here/machine.sh")
in_lab() {
    lab "$(cat "${lab_helpers[@]}")
$1" "${2:-60}"
}

# The devices, kept in $work/devices.
devices_there() {
    lab "$(cat "$lab_here/devices.sh")" 60 >"$work/devices" && [[ $(wc -l <"$work/devices") -eq 6 ]]
}

# node NAME: vhost-vdpa:/dev/vhost-vdpa-N
node() {
    awk -v name="$1" '$1 == name { print "vhost-vdpa:" $2 }' "$work/devices"
}

# oracle NAME CARD: what a card was told, as $work/NAME.json.
oracle() {
    python3 "$lab_here/oracle.py" "$work/qmp.sock" "$2" >"$work/$1.json"
}

# true_of NAME FILTER: shows what it was when it is not.
true_of() {
    jq -e -s "length == 1 and (.[0] | ($2))" "$work/$1.json" >/dev/null || { jq -c . "$work/$1.json" && return 1; }
}

# The machine's kernel has nothing to complain about.
kernel_quiet() {
    ! lab 'dmesg' | grep -E 'DMAR:.*fault|DRHD: handling|WARNING:|BUG:|Oops|protection fault|vhost_vdpa|vp_vdpa.*(fail|error)'
}

# Pages that a tracker has pinned, in kB.
pinned() {
    # shellcheck disable=SC2016 # for the machine's shell
    in_lab 'sed -n "s/^VmPin:[[:space:]]*\([0-9]*\).*/\1/p" /proc/$(cat /tmp/'"$1"'.pid)/status'
}

# lab_or_skip PROGRAM...: what the lab and the test need, or the test skips. Before enclose().
lab_or_skip() {
    local program
    ((EUID == 0)) || skip_all 'needs root'
    for program in qemu-system-x86_64 mmdebstrap busybox cpio jq "$@"; do
        command -v "$program" >/dev/null || skip_all "there is no $program"
    done
    lab_build || skip_all "$lab_why"
}

lab_stop() {
    ((failures == 0)) || lab_logs || :
    lab 'sync; echo o >/proc/sysrq-trigger' 2 >/dev/null 2>&1 || :
    timeout 10 tail --pid="${started[qemu]}" -s 0.05 -f /dev/null || :
    stop qemu 2 || :
}
