#!/bin/sh
# Installs the shim on a node with containerd: install.sh [ROOT]. ROOT is where the node's root is mounted; / without.
#
# Puts the programs into /usr/local/bin, adds the runtime `wharf` to containerd's configuration unless it is there, and
# has containerd started anew if something was added. Running containers are not touched.
set -eu
root=${1:-} here=$(cd "$(dirname "$0")" && pwd)
config=$root/etc/containerd/config.toml

for program in wharf containerd-shim-wharf-v2; do
    # By rename: the file may be in use.
    cp "$here/$program" "$root/usr/local/bin/.$program.new"
    chmod 755 "$root/usr/local/bin/.$program.new"
    mv "$root/usr/local/bin/.$program.new" "$root/usr/local/bin/$program"
done

[ ! -e "$config" ] || version=$(sed -n 's/^version *= *\([0-9]*\).*/\1/p' "$config" | head -n1)
# Without a configuration, version 2 is what every containerd from 1.6 on understands.
part=$here/containerd-config-v${version:-2}.toml
[ -e "$part" ] || { echo "$config is of version ${version:-1}: 2 and 3 are known" >&2; exit 1; }
table=$(grep '^\[' "$part")
if [ -e "$config" ] && grep -qF "$table" "$config"; then
    echo "$config has the runtime already"
    exit 0
fi
mkdir -p "$(dirname "$config")"
if [ -e "$config" ]; then
    cp -p "$config" "$config.before-wharf"
    { cat "$config.before-wharf"; echo; sed '/^version/d; /^#/d' "$part"; } >"$config.new"
else
    cp "$part" "$config.new"
fi
mv "$config.new" "$config"

if [ -n "$root" ]; then
    # The service manager is that of the node: process 1, which is visible with hostPID.
    nsenter -t 1 -m -u -i -n -- systemctl restart containerd
else
    systemctl restart containerd
fi
echo "containerd has the runtime wharf"
