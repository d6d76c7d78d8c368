# What every scenario does first, sourced by it: find the runtime, go into a box, load the checks, make the image.
# shellcheck shell=bash
#
# In:  RUNTIME=/abs/path of the runtime (default: runc of this machine), NAME (default: the file's name)
#      SHIM=/abs/path of a containerd shim to be used in place of containerd's own (default: none)
#      PROGRAMS=/abs/dir where another release's packages were unpacked (unpack.sh); its programs come first in PATH
# Out: the same, as paths inside the box; IMAGE_TAR; $work, a directory of the box; /opt/install, the files for users
set -uo pipefail

here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
if [ -z "${WHARF_BOX:-}" ]; then
    RUNTIME=$(realpath -e "${RUNTIME:-$(command -v runc)}") || exit 125
    [ -x "$RUNTIME" ] || { printf '%s is no program\n' "$RUNTIME" >&2; exit 125; }
    NAME=${NAME:-$(basename "$RUNTIME")}
    missing=''
    for program in $NEEDS busybox ip jq script; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || missing+=" $program"
    done
    if [ -n "$missing" ] || [ "$(id -u)" != 0 ]; then
        printf 'ok 1 - %s # SKIP needs root and:%s (spec-tests/setup.sh installs them)\n' "$0" "${missing:- nothing else}"
        echo '0 passed, 0 failed, 1 skipped'
        exit 0
    fi
    # The runtime is in a directory of its own, so that anything it writes beside itself is noticed.
    inside=/opt/runtime/$NAME
    shares=(--ro "$here/.." --ro "$RUNTIME:$inside" --ro "$here/../../shim/install:/opt/install")
    if [ -n "${SHIM:-}" ]; then
        SHIM=$(realpath -e "$SHIM") || exit 125
        shares+=(--ro "$SHIM:/opt/shim/$(basename "$SHIM")")
        export SHIM=/opt/shim/$(basename "$SHIM")
    fi
    if [ -n "${PROGRAMS:-}" ]; then
        shares+=(--ro "$PROGRAMS:/opt/programs")
        export PROGRAMS=/opt/programs
    fi
    # shellcheck disable=SC2086  # the options are several words
    RUNTIME=$inside NAME=$NAME exec "$here/box.sh" --timeout "${BOX_TIMEOUT:-420}" "${shares[@]}" ${BOX_OPTIONS:-} -- "$0" "$@"
fi

[ -z "${PROGRAMS:-}" ] || PATH=$PROGRAMS/usr/sbin:$PROGRAMS/usr/bin:$PATH

. "$here/tap.sh"
work=/run/scenario
mkdir -p "$work"
IMAGE_TAR=$work/image.tar
"$here/image.sh" "$IMAGE_TAR" || exit 125

# log_tail FILE: the end of a daemon's log, as comment lines.
log_tail() { tail -n "${2:-40}" "$1" | sed 's/^/# /'; }
