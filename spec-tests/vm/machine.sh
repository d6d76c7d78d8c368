#!/bin/bash
# Boots a throw-away machine with pure cgroup v2, systemd as pid 1 and D-Bus, runs one command in it, and powers it off.
#
#   machine.sh [OPTION]... -- COMMAND [ARG]...
#
#       --user            run COMMAND as user `user` (uid 1000, subordinate ids 100000-165535), as a service of that
#                         user's systemd instance; else as root, as a service of the system. Either has its cgroup
#                         delegated.
#       --session         run COMMAND as user `user` in a login session, which has no cgroup of its own
#       --tree DIR        what the machine sees of this one, read-write, at the same path; it is COMMAND's working
#                         directory. Default: this working tree.
#       --cgroups KIND    v2 (default), or hybrid (controllers in v1 hierarchies, systemd's own tree is v2), or v1 alone;
#                         the kernel has no memory controller for v1 (CONFIG_MEMCG_V1)
#       --timeout SECS    kill the machine after SECS seconds (default 600); the exit code is then 124
#       --memory MIB      default 1024
#       --console FILE    keep what the kernel and systemd print; else only the end of it, when the machine dies
#
# COMMAND's output, error output and exit code come out here; its environment does not go in. 125 means that the
# machine died. The tree's own file system apart, nothing that COMMAND writes lasts. There is no network, one
# processor, and of the cgroup controllers cpu, io, memory and pids. Boot and shutdown take some 6 s.
#
# As root; the image is made the first time (see image.sh for what that needs).
set -euo pipefail

here=$(dirname "$(realpath "$0")")
die() { printf 'machine.sh: %s\n' "$*" >&2; exit 125; }

user=root session='' tree=$(realpath "$here/../..") limit=600 memory=1024 console='' cgroups=v2
while [ $# -gt 0 ]; do
    case $1 in
        --user) user=user; shift ;;
        --session) user=user session=1; shift ;;
        --tree) tree=$(realpath -e "$2"); shift 2 ;;
        --timeout) limit=$2; shift 2 ;;
        --cgroups) cgroups=$2; shift 2 ;;
        --memory) memory=$2; shift 2 ;;
        --console) console=$2; shift 2 ;;
        --) shift; break ;;
        *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 125 ;;
    esac
done
[ $# -gt 0 ] || die 'no command'
[ "$(id -u)" = 0 ] || die 'must be root'
[[ $tree != *[[:space:]]* ]] || die "$tree: the path must have no white space"
case $cgroups in
    v2) legacy=() ;;
    hybrid) legacy=(systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1) ;;
    v1) legacy=(systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1 systemd.legacy_systemd_cgroup_controller=1) ;;
    *) die "unknown kind of cgroups: $cgroups" ;;
esac

"$here/image.sh"
cache=$("$here/image.sh" --print)
run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT
# The tmpfs with the machine's memory and its pid namespace end with the process in them, however this script ends.
trap 'kill "$machine" 2>/dev/null; exit 130' INT
trap 'kill "$machine" 2>/dev/null; exit 143' TERM
mkdir -m 755 "$run/exchange" "$run/root"
chmod 755 "$run"
printf '%q ' "$@" >"$run/exchange/command"

# The kernel's root is mounts over a tmpfs: the cache can be rebuilt while machines run. Descriptors of the kernel: 1
# and 4 are the command's streams, 3 its console.
# shellcheck disable=SC2016  # the inner shell expands
unshare --mount --pid --fork --kill-child --propagation private bash -ec '
    root=$1 cache=$2 run=$3 tree=$4 limit=$5
    shift 5
    mount -t tmpfs -o mode=755 root "$root"
    mkdir -p "$root"/{proc,dev,run,tree,image,lib64,lib}
    : >"$root/linux"
    mount --bind "$cache/uml/linux" "$root/linux"
    mount --bind "$cache/uml/lib" "$root/lib"
    mount --bind "$cache/uml/lib64" "$root/lib64"
    mount -t proc proc "$root/proc"
    mount --bind "$run" "$root/run"
    mount --bind "$cache" "$root/image"
    mount --bind "$tree" "$root/tree"
    mount -t tmpfs -o mode=1777,size=64G memory "$root/dev"
    mkdir "$root/dev/shm"
    for node in null zero random urandom; do
        : >"$root/dev/$node"
        mount --bind "/dev/$node" "$root/dev/$node"
    done
    exec timeout -k 5 "$limit" chroot "$root" /linux "$@"
' - "$run/root" "$cache" "$run" "$tree" "$limit" \
    mem="${memory}M" ubd0=/run/changes,/image/image root=/dev/ubda rw quiet panic=-1 noreboot seccomp=auto lsm=yama,apparmor,bpf \
    con=null con0=null,fd:3 ssl=null ssl0=null,fd:1 ssl1=null,fd:4 umid=machine uml_dir=/run \
    vm.run=/run/exchange vm.tree="$tree" vm.user="$user" vm.session="$session" vm.out=/dev/ttyS0 vm.err=/dev/ttyS1 vm.now="$(date +%s)" \
    "${legacy[@]}" \
    3>"$run/console" 4>&2 2>>"$run/console" </dev/null &
machine=$!
status=0
wait "$machine" || status=$?
[ -z "$console" ] || cp "$run/console" "$console"
if [ -s "$run/exchange/code" ]; then exit "$(cat "$run/exchange/code")"; fi
tail -n 40 "$run/console" >&2
if [ "$status" = 124 ] || [ "$status" = 137 ]; then
    printf 'machine.sh: killed after %s s\n' "$limit" >&2
    exit 124
fi
die "the machine died without reporting an exit code (status $status)"
