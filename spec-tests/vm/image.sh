#!/bin/bash
# Makes what machine.sh boots: a Debian root file system and a kernel. Does nothing if both are up to date.
#
#   image.sh            make them in $WHARF_VM_CACHE (default /var/cache/wharf-vm, some 3 GB)
#   image.sh --print    print that directory
#
# As root on a Debian machine with the packages mmdebstrap and e2fsprogs and a Debian mirror. The first time takes a few
# minutes; a change to the packages rebuilds the root, a change to guest/ only its image.
#
# The kernel is User-Mode Linux: a Linux that is an ordinary program, so that it runs on machines without
# virtualisation, even in containers. Releases before 7 panic on processors with AMX, so it comes from a newer Debian
# than the root; its C library is the root's.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
cache=${WHARF_VM_CACHE:-/var/cache/wharf-vm}
suite=trixie          # systemd 257, runc 1.1, crun 1.21, containerd 1.7, Docker 26, Podman 5.4
kernel_suite=forky

die() { printf 'image.sh: %s\n' "$*" >&2; exit 125; }
say() { printf 'image.sh: %s\n' "$*" >&2; }

# The mirror that this machine uses; it may be the only one that it can reach.
mirror() {
    local found
    found=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep '/debian/*$' | head -n1)
    printf '%s\n' "${found:-http://deb.debian.org/debian}"
}

packages() { sed -E 's/#.*//; /^[[:space:]]*$/d' "$here/packages" | paste -sd,; }

# current NAME STAMP: whether NAME exists and was made from what STAMP says.
current() { [ -e "$cache/$1" ] && [ "$(cat "$cache/$1.stamp" 2>/dev/null)" = "$2" ]; }

# The host's own apt state stays as it is.
make_kernel() {
    local state=$cache/apt.new new=$cache/kernel.new options
    rm -rf "$state" "$new"
    mkdir -p "$state"/{lists,archives}/partial "$new"
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$(mirror)" "$kernel_suite" >"$state/sources.list"
    options=(-qq -o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$state/lists"
        -o Dir::Cache="$state" -o Dir::State::status=/dev/null -o APT::Sandbox::User=root -o Acquire::Languages=none
        -o APT::Architecture=amd64)
    apt-get "${options[@]}" update
    (cd "$state" && apt-get "${options[@]}" download user-mode-linux)
    dpkg -x "$state"/user-mode-linux_*.deb "$new"
    rm -rf "$state" "$cache/kernel"
    mv "$new" "$cache/kernel"
}

make_root() {
    rm -rf "$cache/root" "$cache/root.new"
    mmdebstrap --quiet --variant=minbase --include="$(packages)" --aptopt='Acquire::Languages "none"' \
        --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --customize-hook='rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*' \
        "$suite" "$cache/root.new" "deb $(mirror) $suite main"
    mv "$cache/root.new" "$cache/root"
}

# Turns a Debian root into the test machine: the job, a user, nothing that starts by itself or looks for devices.
configure() {
    local root=$1 unit
    install -m 755 "$here/guest/job" "$root/usr/local/sbin/job"
    install -m 644 "$here/guest/job.service" "$root/etc/systemd/system/job.service"
    ln -s ../job.service "$root/etc/systemd/system/multi-user.target.wants/job.service"
    # The scenarios start their managers themselves.
    for unit in containerd docker podman podman-auto-update podman-restart podman-clean-transient apparmor nftables \
        e2scrub_reap systemd-pstore getty@tty1 netavark-dhcp-proxy; do
        find "$root/etc/systemd" -path '*.wants/*' -name "$unit.*" -delete
    done
    for unit in serial-getty@.service console-getty.service getty-static.service apt-daily.timer apt-daily-upgrade.timer \
        dpkg-db-backup.timer fstrim.timer e2scrub_all.timer systemd-tmpfiles-clean.timer; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
    echo machine >"$root/etc/hostname"
    echo '127.0.0.1 localhost machine' >"$root/etc/hosts"
    : >"$root/etc/fstab"
    # A machine id and these two dates say that this is not a first boot, which would set up much.
    tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
    touch -d 2037-01-01 "$root/etc/.updated" "$root/var/.updated"
    chroot "$root" useradd --create-home --uid 1000 --shell /bin/bash user
    grep -q '^user:' "$root/etc/subuid" || echo user:100000:65536 >>"$root/etc/subuid"
    grep -q '^user:' "$root/etc/subgid" || echo user:100000:65536 >>"$root/etc/subgid"
    mkdir -p "$root/usr/lib/modules"
    cp -a "$cache"/kernel/usr/lib/uml/modules/* "$root/usr/lib/modules/"
    chroot "$root" depmod "$(ls "$cache/kernel/usr/lib/uml/modules")"
}

make_image() {
    local root=$cache/configured.new
    rm -rf "$root"
    cp -a --reflink=auto "$cache/root" "$root"
    configure "$root"
    # The kernel is a program with a C library of its own version: it gets a root with just that.
    rm -rf "$cache/uml.new"
    mkdir -p "$cache/uml.new"/{lib64,lib/x86_64-linux-gnu}
    cp "$cache/kernel/usr/bin/linux.uml" "$cache/uml.new/linux"
    cp "$root/lib64/ld-linux-x86-64.so.2" "$cache/uml.new/lib64/"
    cp "$root"/lib/x86_64-linux-gnu/lib{c.so.6,gcc_s.so.1} "$cache/uml.new/lib/x86_64-linux-gnu/"
    rm -f "$cache/image.new"
    truncate -s 8G "$cache/image.new"
    mke2fs -q -F -t ext4 -O ^has_journal -E lazy_itable_init=1 -d "$root" "$cache/image.new"
    rm -rf "$root" "$cache/uml"
    mv "$cache/uml.new" "$cache/uml"
    # A running machine keeps the image that it has open.
    mv "$cache/image.new" "$cache/image"
}

build() {
    local kernel root image
    kernel="$kernel_suite"
    root="$suite $(packages)"
    image="$kernel; $root; $(cat "$here/image.sh" "$here"/guest/* | sha256sum)"
    current image "$image" && return
    [ "$(id -u)" = 0 ] || die 'making the image needs root'
    [ "$(uname -m)" = x86_64 ] || die "User-Mode Linux is for x86_64, this is $(uname -m)"
    command -v mmdebstrap mke2fs >/dev/null || die 'mmdebstrap or mke2fs is missing (spec-tests/setup.sh installs them)'
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9
    current image "$image" && return
    rm -f "$cache/image.stamp"
    if ! current kernel "$kernel"; then
        say "fetching the kernel"
        make_kernel
        printf '%s' "$kernel" >"$cache/kernel.stamp"
    fi
    if ! current root "$root"; then
        say "making a root file system of $(packages | tr ',' '\n' | wc -l) packages and what they need"
        make_root
        printf '%s' "$root" >"$cache/root.stamp"
    fi
    say "making the image"
    make_image
    printf '%s' "$image" >"$cache/image.stamp"
    exec 9>&-
}

case ${1:-} in
    '') build ;;
    --print) printf '%s\n' "$cache" ;;
    *) die 'usage: image.sh [--print]' ;;
esac
