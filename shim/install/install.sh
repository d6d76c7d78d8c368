#!/bin/sh
# Installs the shim on a node with containerd: install.sh [ROOT]. ROOT is where the node's root is mounted (default: /).
#
# Puts the programs into /usr/local/bin, adds the runtime `wharf` to containerd's configuration if it is missing, and
# restarts containerd if something was added. Running containers are not touched.
set -eu
root=${1:-} here=$(cd "$(dirname "$0")" && pwd)
config=$root/etc/containerd/config.toml

# On the node: with hostPID its process 1 is visible.
on_node() { if [ -n "$root" ]; then nsenter -t 1 -m -u -i -n -- "$@"; else "$@"; fi; }

mkdir -p "$root/usr/local/bin" "$(dirname "$config")"
for program in wharf containerd-shim-wharf-v2; do
    # By rename: the file may be in use.
    cp "$here/$program" "$root/usr/local/bin/.$program.new"
    chmod 755 "$root/usr/local/bin/.$program.new"
    mv "$root/usr/local/bin/.$program.new" "$root/usr/local/bin/$program"
done

[ ! -e "$config" ] || version=$(sed -n 's/^version *= *\([0-9]*\).*/\1/p' "$config" | head -n1)
# Without a configuration, use version 2, which every containerd from 1.6 on understands.
part=$here/containerd-config-v${version:-2}
case $(on_node containerd --version) in *' 1.6.'* | *' v1.6.'*) part=$part-1.6 ;; esac
part=$part.toml
[ -e "$part" ] || { echo "$config is of version ${version:-1}: 2 and 3 are known" >&2; exit 1; }
if [ -e "$config" ]; then
    # Adds the missing tables, however their names are quoted there.
    {
        cat "$config"
        awk 'function plain(name) { gsub(/#.*|["'"'"' \t]/, "", name); return name }
            FNR == NR { if (/^[ \t]*\[/) there[plain($0)]; next }
            /^\[/ { wanted = !(plain($0) in there); if (wanted) print "" }
            wanted' "$config" "$part"
    } >"$config.new"
    if cmp -s "$config" "$config.new"; then
        rm "$config.new"
        echo "$config has the runtime already"
        exit 0
    fi
    cp -p "$config" "$config.before-wharf"
else
    cp "$part" "$config.new"
fi
mv "$config.new" "$config"

on_node systemctl restart containerd
echo "containerd has the runtime wharf"
