#!/bin/bash
# Makes the image of all scenarios as one tar, offline: image.sh OUT.tar [NAME [COMMAND...]]
#
# docker-archive form, which containerd, Docker and Podman all read. Two layers: busybox with users and links, then
# /layer2 on top of it (one new file, one file replaced), so that the order of layers shows.
set -euo pipefail

out=$(realpath -m "$1")
name=${2:-docker.io/library/scenario:1}
shift $(($# < 2 ? $# : 2))
[ $# -gt 0 ] || set -- /bin/sh
busybox=$(command -v busybox)
# A dynamically linked busybox would not start anywhere; its error would look like the runtime's.
if head -c 65536 "$busybox" | grep -q -a 'ld-linux\|ld-musl'; then
    printf 'image.sh: %s is not static: install busybox-static\n' "$busybox" >&2
    exit 1
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

mkdir -p "$dir/1"/{bin,etc,proc,sys,dev,tmp,var/tmp,root,home/app} "$dir/2"/{layer2,etc}
chmod 1777 "$dir/1/tmp" "$dir/1/var/tmp"
cp "$busybox" "$dir/1/bin/busybox"
chmod 755 "$dir/1/bin/busybox"
# Links from the list rather than with --install, which needs a chroot; including [ and others of busybox's own list.
"$busybox" --list | while read -r applet; do
    [ "$applet" = busybox ] || ln -sf busybox "$dir/1/bin/$applet"
done
cat >"$dir/1/etc/passwd" <<'END'
root:x:0:0:root:/root:/bin/sh
app:x:1000:1000:app:/home/app:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
END
cat >"$dir/1/etc/group" <<'END'
root:x:0:
wheel:x:10:app
app:x:1000:
nogroup:x:65534:
END
echo lower >"$dir/1/etc/layer"
echo 'not a program' >"$dir/1/etc/plain"
printf '#!/no/such/interpreter\n' >"$dir/1/bin/badinterp"
chmod 755 "$dir/1/bin/badinterp"
chown 1000:1000 "$dir/1/home/app"
echo upper >"$dir/2/etc/layer"
echo second >"$dir/2/layer2/file"

layer_tar() {
    tar --sort=name --mtime=@1700000000 --numeric-owner --format=gnu -C "$dir/$1" -cf "$dir/$1.tar" .
    sha256sum <"$dir/$1.tar" | cut -d' ' -f1
}
one=$(layer_tar 1)
two=$(layer_tar 2)
mkdir "$dir/image"
for layer in 1:$one 2:$two; do
    mkdir "$dir/image/${layer#*:}"
    mv "$dir/${layer%%:*}.tar" "$dir/image/${layer#*:}/layer.tar"
done
cat >"$dir/config.json" <<END
{"architecture":"$(dpkg --print-architecture)","os":"linux","created":"2023-11-14T22:13:20Z",
"config":{"Cmd":$(jq -nc '$ARGS.positional' --args -- "$@"),"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"WorkingDir":"/"},
"rootfs":{"type":"layers","diff_ids":["sha256:$one","sha256:$two"]},
"history":[{"created":"2023-11-14T22:13:20Z","created_by":"busybox"},{"created":"2023-11-14T22:13:20Z","created_by":"layer2"}]}
END
config=$(sha256sum <"$dir/config.json" | cut -d' ' -f1)
mv "$dir/config.json" "$dir/image/$config.json"
printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["%s/layer.tar","%s/layer.tar"]}]' \
    "$config" "$name" "$one" "$two" >"$dir/image/manifest.json"
tar -C "$dir/image" -cf "$out" .
