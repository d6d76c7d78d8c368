#!/bin/bash
# Unpacks crun and runc from Debian's unstable release so that they run here, to be measured: peers.sh
#
# Prints DIR/crun-sid and DIR/runc-sid, one a line; DIR is $WHARF_CACHE/peers (default /var/cache/wharf-tests/peers).
# Their own C library is beside them, named in the programs themselves: a wrapper would count in every figure.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
dir=${WHARF_CACHE:-/var/cache/wharf-tests}/peers
release=$dir/sid libraries=$dir/sid/usr/lib/$(uname -m)-linux-gnu
"$here/unpack.sh" sid "$release" crun runc libc6 libsystemd0 libseccomp2 libcap2 libblake3-0 libjson-c5 libtbb12 libstdc++6 libgcc-s1
for program in usr/bin/crun usr/sbin/runc; do
    own=$dir/$(basename $program)-sid
    if [ ! -e "$own" ] || [ "$release/$program" -nt "$own" ]; then
        cp "$release/$program" "$own.new"
        patchelf --set-interpreter "$(echo "$libraries"/ld-linux*.so.?)" --force-rpath --set-rpath "$libraries" "$own.new"
        touch "$own.new"
        mv "$own.new" "$own"
    fi
    "$own" --version >/dev/null
    echo "$own"
done
