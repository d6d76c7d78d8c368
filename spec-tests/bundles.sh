#!/bin/bash
# Makes test bundles (a rootfs, and runc's example config.json adapted to it) and prints the path of the requested one.
#
#   spec-tests/bundles.sh busybox OUT    OUT/rootfs is busybox-static with its links, users and empty mount points
#   spec-tests/bundles.sh debian OUT     OUT/rootfs is Debian, as debootstrap --variant=minbase makes it
#   spec-tests/bundles.sh run RUNTIME    both bundles under RUNTIME: apt-get --version, a shell on a terminal, ...
#
# The Debian root is made once and kept, as a tar, in $WHARF_TEST_CACHE (default: target/test-cache). The config.json is
# the same for every runtime: corpus/runc-spec.json, which is what `runc spec` writes, so no runtime is needed here.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
cache=${WHARF_TEST_CACHE:-$here/../target/test-cache}
die() { printf 'bundles.sh: %s\n' "$*" >&2; exit 1; }

# runc 1.1 asks for ambient capabilities that the kernel must refuse, which a runtime has to warn about.
config() { jq --argjson args '["sh"]' '.process.args = $args | .process.terminal = false | .process.capabilities.ambient = []' "$here/corpus/runc-spec.json" >"$1/config.json"; }

busybox_bundle() {
    mkdir -p "$1/rootfs"
    # The lower layer of the managers' image is exactly this root.
    "$here/managers/image.sh" "$1/image.tar"
    local layer
    layer=$(tar -xOf "$1/image.tar" ./manifest.json | jq -r '.[0].Layers[0]')
    tar -xOf "$1/image.tar" "./$layer" | tar -x -C "$1/rootfs" --numeric-owner -p
    rm "$1/image.tar"
    config "$1"
}

debian_bundle() {
    command -v debootstrap >/dev/null || die "debootstrap is missing (spec-tests/setup.sh installs it)"
    [ "$(id -u)" = 0 ] || die "debootstrap needs root"
    mkdir -p "$cache" "$1/rootfs"
    local codename tar
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:?}")
    tar=$(realpath "$cache")/debian-$codename-minbase.tar
    # Two test runs may get here at once; the second finds the first one's tar.
    exec 9>"$tar.lock"
    flock 9
    [ -e "$tar" ] || bootstrap "$codename" "$tar"
    exec 9>&-
    tar -x -C "$1/rootfs" --numeric-owner -p --xattrs -f "$tar"
    config "$1"
}

# bootstrap CODENAME TAR: in a separate mount namespace, since debootstrap mounts proc and sysfs in its target.
bootstrap() {
    local dir mirror log
    mirror=$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Codename: $1" 2>/dev/null | head -n1)
    dir=$(mktemp -d "$cache/bootstrap.XXXXXX")
    log=$dir.log
    if ! unshare --mount --propagation private debootstrap --variant=minbase "$1" "$dir/root" ${mirror:+"$mirror"} >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        rm -rf "$dir" "$log"
        die "debootstrap failed"
    fi
    rm -rf "$dir/root/var/cache/apt/archives/"*.deb "$dir/root/var/lib/apt/lists/"*
    tar -c -C "$dir/root" --numeric-owner --xattrs -f "$2.new" .
    mv "$2.new" "$2"
    rm -rf "$dir" "$log"
}

# --- run: each step under the runtime given, with its own state directory
with() { jq "$2" "$1/config.json" >"$1/config.new" && mv "$1/config.new" "$1/config.json"; }

run_bundles() {
    local runtime work id
    runtime=$(realpath -e "$1")
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    . "$here/managers/tap.sh"
    set +e
    id=bundles-$$
    # One container at a time; the cgroup path is unique, so that two runs do not collide.
    start() { "$runtime" --root "$work/state" run --bundle "$1" "$id"; }
    export -f start
    export runtime work id

    busybox_bundle "$work/busybox"
    with "$work/busybox" ".linux.cgroupsPath = \"/$id\""
    with "$work/busybox" '.process.args = ["sh", "-c", "echo $$; hostname; exit 5"]'
    ends 'busybox: output and exit code' 5 $'^1\nrunc$' bash -c 'start "$work/busybox"'
    with "$work/busybox" '.process.args = ["sh", "-c", "touch /x"]'
    ends 'busybox: the root is read-only' 1 'Read-only file system' bash -c 'start "$work/busybox"'
    with "$work/busybox" '.process.args = ["sh", "-c", "tty; stty size"] | .process.terminal = true'
    on_tty bash -c "stty rows 33 cols 77; $runtime --root $work/state run --bundle $work/busybox $id"
    like 'busybox: a terminal of the right size' "$CODE $OUT" $'^0 /dev/(pts/0|console)\n33 77'
    if [ "$(id -u)" = 0 ] && command -v debootstrap >/dev/null; then
        debian_bundle "$work/debian"
        with "$work/debian" ".linux.cgroupsPath = \"/$id\" | .process.args = [\"apt-get\", \"--version\"]"
        ends 'debian: apt-get --version' 0 '^apt [0-9.]+' bash -c 'start "$work/debian"'
        with "$work/debian" '.process.args = ["sh", "-c", "dpkg -l | grep -c ^ii; ls -l /proc/self/exe"]'
        ends 'debian: dpkg reads its database' 0 '^[0-9]{2,3}' bash -c 'start "$work/debian"'
        with "$work/debian" '.process.args = ["bash", "-i"] | .process.terminal = true'
        mkfifo "$work/keys"
        exec 8<>"$work/keys"
        { sleep 1; echo 'tty'; echo 'echo $((40 + 2))'; echo 'exit 3'; } >&8 &
        STDIN=$work/keys run script -qec "$runtime --root $work/state run --bundle $work/debian $id" /dev/null
        exec 8<&-
        like 'debian: an interactive shell on a terminal' "$CODE $OUT" '^3 .*/dev/(pts/0|console).*42'
    else
        skip 'debian: apt-get, dpkg, a shell on a terminal' 'needs root and debootstrap'
    fi
    is 'nothing is left' "$(ls "$work/state" 2>/dev/null | wc -l) $(find /sys/fs/cgroup -type d -name "$id" | wc -l)" '0 0'
    finish
}

case ${1:-} in
    busybox | debian)
        [ $# = 2 ] || die "usage: bundles.sh $1 OUT"
        [ ! -e "$2/config.json" ] || die "$2 is a bundle already"
        mkdir -p "$2"
        "${1}_bundle" "$(realpath "$2")"
        realpath "$2" ;;
    run)
        [ $# = 2 ] || die "usage: bundles.sh run RUNTIME"
        run_bundles "$2" ;;
    *) die "usage: bundles.sh busybox|debian OUT, bundles.sh run RUNTIME" ;;
esac
