#!/bin/bash
# Regenerates the files in this folder: has this machine's containerd, Docker, Podman, Buildah and runc write them.
#
#   spec-tests/corpus/capture.sh [OUT-DIR]      default: a new directory below target/
#
# Runs in a box (../managers/box.sh). Ids, pids and paths that differ between runs are replaced with neutral ones, and
# nothing else is changed; so the diff against the folder shows what a new version of a manager does differently.
NEEDS='containerd dockerd podman buildah strace'
here=$(dirname "$(realpath "$0")")
if [ -z "${WHARF_BOX:-}" ]; then
    out=$(realpath -m "${1:-$here/../../target/corpus}")
    mkdir -p "$out"
    BOX_OPTIONS="--rw $out:/run/out"
    RUNTIME=$here/record.sh NAME=record
fi
. "$here/../managers/scenario.sh"
export RECORD=/run/record
mkdir -p "$RECORD"
cd "$work" || exit 125

# keep LABEL COMMAND...: what the runtime is given in the meantime gets that label.
keep() {
    echo "$1" >"$RECORD/label"
    shift
    run "$@"
    [ "$CODE" = 0 ] || printf '# exit code %s: %s\n#   %s\n' "$CODE" "$*" "${OUT:0:300}"
}
quiet() { echo none >"$RECORD/label"; "$@" >/dev/null 2>&1; }
image=docker.io/library/scenario:1
mkdir -p bind

# --- runc itself
mkdir spec rootless
runc spec -b spec
runc spec --rootless -b rootless
cp spec/config.json "$RECORD/runc-spec.json"
cp rootless/config.json "$RECORD/runc-spec-rootless.json"

# --- containerd
containerd --log-level error >"$work/containerd.log" 2>&1 &
wait_for 20 ctr version
quiet ctr images import "$IMAGE_TAR"
ctr_run=(ctr run --rm --runtime io.containerd.runc.v2 --runc-binary "$RUNTIME")
keep ctr-default "${ctr_run[@]}" "$image" c true
keep ctr-seccomp "${ctr_run[@]}" --seccomp "$image" c true
STDIN=$work/endless
mkfifo "$STDIN"
exec 8<>"$STDIN"
keep ctr-tty script -qec "${ctr_run[*]} --tty $image c true" /dev/null
STDIN=''
exec 8<&-
keep ctr-limits "${ctr_run[@]}" --memory-limit 67108864 --cpus 0.5 --env A=b --cwd /tmp --read-only --device /dev/fuse "$image" c true
keep ctr-privileged "${ctr_run[@]}" --privileged "$image" c true
keep ctr-host-network "${ctr_run[@]}" --net-host --mount "type=bind,src=$work/bind,dst=/mnt,options=rbind:ro" "$image" c true
keep ctr-life ctr run -d --runtime io.containerd.runc.v2 --runc-binary "$RUNTIME" "$image" c sleep 60
keep ctr-life ctr task exec --exec-id e c true
keep ctr-life ctr task ps c
keep ctr-life ctr task metrics c
keep ctr-life ctr task pause c
keep ctr-life ctr task resume c
keep ctr-life ctr task kill -s TERM c
keep ctr-life ctr task kill --all -s KILL c
wait_for 5 bash -c 'ctr task ls | grep -q STOPPED'
keep ctr-life ctr task rm c

# --- Docker
export DOCKER_BUILDKIT=0 DOCKER_CONFIG=$work/client DOCKER_HOST=unix:///run/docker.sock
docker=/usr/bin/docker
daemon() {
    echo docker-daemon >"$RECORD/label"
    dockerd --host "$DOCKER_HOST" --add-runtime "tested=$RUNTIME" --default-runtime tested \
        --exec-opt native.cgroupdriver=cgroupfs --bip 172.30.0.1/24 "$@" >>"$work/dockerd.log" 2>&1 &
    daemon=$!
    wait_for 30 "$docker" version
    quiet "$docker" load -i "$IMAGE_TAR"
}
daemon
dr=("$docker" run --rm --hostname boat)
keep docker-default "${dr[@]}" "$image" true
# The box has no disk of its own: use a node of the machine's first one, for a limit that names a device.
disk=$(cat /sys/block/*/dev | head -n1)
mknod /dev/disk0 b "${disk%:*}" "${disk#*:}"
keep docker-limits "${dr[@]}" -m 64m --memory-reservation 32m --cpus 0.5 --cpu-shares 512 --cpuset-cpus 0 --pids-limit 100 \
    --ulimit nofile=100:200 --oom-score-adj 500 --device-read-bps /dev/disk0:1mb "$image" true
exec 8<>"$work/endless"
STDIN=$work/endless
keep docker-tty script -qec "${dr[*]} -it $image true" /dev/null
STDIN=''
exec 8<&-
keep docker-privileged "${dr[@]}" --privileged "$image" true
keep docker-read-only "${dr[@]}" --read-only --tmpfs /tmp:rw,size=2m "$image" true
printf '{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],"syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28},{"names":["personality"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":8,"op":"SCMP_CMP_EQ"}]}]}' >profile.json
keep docker-seccomp-custom "${dr[@]}" --security-opt "seccomp=$work/profile.json" "$image" true
keep docker-user "${dr[@]}" --user app --group-add 77 --cap-drop ALL --cap-add CHOWN --security-opt no-new-privileges "$image" true
keep docker-init "${dr[@]}" --init "$image" true
mount -t tmpfs shared bind && mount --make-shared bind
keep docker-mounts "${dr[@]}" -v "$work/bind:/a" -v "$work/bind:/b:ro,rslave" -v "$work/bind:/c:rshared" --mount type=tmpfs,dst=/d,tmpfs-size=1m \
    -v vol:/layer2 --sysctl kernel.msgmax=1234 --sysctl net.ipv4.ip_forward=1 --shm-size 4m --device /dev/fuse:/dev/boat:r "$image" true
keep docker-host-namespaces "$docker" run --rm --network host --pid host --ipc host --uts host "$image" true
printf 'FROM scenario:1\nENV A=b\nRUN true\n' >Dockerfile
mkdir build && mv Dockerfile build
keep docker-build "$docker" build -q --network none build
keep docker-life "$docker" run -d --name boat --restart on-failure:2 "$image" sleep 60
keep docker-life "$docker" exec -u app -w /layer2 -e A=b boat true
keep docker-life "$docker" top boat
keep docker-life "$docker" stats --no-stream boat
keep docker-life "$docker" pause boat
keep docker-life "$docker" unpause boat
keep docker-life "$docker" update -m 48m --memory-swap 48m boat
keep docker-life "$docker" stop -t 1 boat
quiet "$docker" rm -f boat
kill "$daemon"
wait "$daemon"
useradd -r dockremap 2>/dev/null
printf 'dockremap:100000:65536\ncontainers:200000:262144\nsailor:500000:65536\n' | tee /etc/subuid >/etc/subgid
daemon --userns-remap default
keep docker-userns-remap "${dr[@]}" "$image" true
kill "$daemon"
wait "$daemon"

# --- Podman and Buildah (which would read Docker's client configuration)
unset DOCKER_CONFIG DOCKER_HOST
cat >/etc/containers/containers.conf <<'END'
[containers]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
pull_policy = "never"
image_copy_tmp_dir = "/tmp"
END
podman=(podman --runtime "$RUNTIME")
pr=("${podman[@]}" run --rm --hostname boat --name pod-boat)
quiet "${podman[@]}" load -i "$IMAGE_TAR"
keep podman-default "${pr[@]}" "$image" true
keep podman-limits "${pr[@]}" -m 64m --cpus 0.5 --pids-limit 100 --ulimit nofile=100:200 --ulimit nproc=1000:1000 "$image" true
exec 8<>"$work/endless"
STDIN=$work/endless
keep podman-tty script -qec "${pr[*]} -it --read-only $image true" /dev/null
STDIN=''
exec 8<&-
keep podman-privileged "${pr[@]}" --privileged "$image" true
keep podman-mounts "${pr[@]}" -v "$work/bind:/a" -v "$work/bind:/b:ro,rslave" --tmpfs /c:size=1m --user app --cap-drop all --init "$image" true
keep podman-userns-auto "${pr[@]}" --userns auto "$image" true
keep podman-pod-infra "${podman[@]}" pod create --name pod --hostname harbour --infra-command '/bin/sleep 600' --infra-image "$image"
keep podman-pod-infra "${podman[@]}" pod start pod
keep podman-pod-member "${podman[@]}" run --rm --pod pod "$image" true
quiet "${podman[@]}" pod rm -f -t 0 pod
keep podman-life "${podman[@]}" run -d --name boat "$image" sleep 60
keep podman-life "${podman[@]}" exec -u app boat true
keep podman-life "${podman[@]}" pause boat
keep podman-life "${podman[@]}" unpause boat
keep podman-life "${podman[@]}" update --cpus 0.4 boat
keep podman-life "${podman[@]}" stop -t 1 boat
quiet "${podman[@]}" rm -f boat
container=$(buildah from "$image")
keep buildah-run buildah run --runtime "$RUNTIME" --isolation oci --network none "$container" true

# Podman without root; the box's cgroups belong to root, so it has none
useradd -m -u 1500 sailor 2>/dev/null
mkdir -p /run/user/1500 && chown sailor /run/user/1500
chmod -R a+rwX "$RECORD"
chmod a+rx "$work" && chmod a+r "$IMAGE_TAR"
rootless=(timeout 60 setpriv --reuid 1500 --regid 1500 --init-groups env HOME=/home/sailor USER=sailor XDG_RUNTIME_DIR=/run/user/1500
    RECORD="$RECORD" podman --runtime "$RUNTIME" --cgroup-manager cgroupfs)
quiet "${rootless[@]}" load -i "$IMAGE_TAR"
for kind in default keep-id; do
    options=()
    [ $kind = default ] || options=(--userns keep-id)
    keep "podman-rootless-$kind" "${rootless[@]}" run --rm --hostname boat --network none "${options[@]}" "$image" true
done

# --- neutral names
rm -f "$RECORD"/none*
for file in "$RECORD"/*.json "$RECORD/argv"; do
    script=$work/neutral.sed
    grep -oE '[0-9a-f]{64}' "$file" | awk '!seen[$0]++ {
        short = sprintf("c0ffee%06x", ++n); long = short short short short short "0000"
        printf "s/%s/%s/g\ns/%s/%s/g\n", $0, long, substr($0, 1, 12), short }' >"$script"
    cat >>"$script" <<'END'
s/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/00000000-0000-4000-8000-000000000001/g
s,/netns/[0-9a-f]{12},/netns/c0ffee000001,g
s,/proc/[0-9]+/(exe|ns|fd),/proc/4321/\1,g
s,/run/scenario,/run/containers,g
s,/opt/runtime/record,runc,g
s,/(runc-process|pid-socket|pty)[0-9]+,/\10,g
s,(buildah)[0-9]{5\,},\10000000000,g
s/"[0-9a-f]{12}"/"c0ffee0000ff"/g
s/HOSTNAME=[0-9a-f]{12}"/HOSTNAME=c0ffee0000ff"/g
s/20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-9:]{8}\.[0-9]+Z/2020-01-01T00:00:00.000000000Z/g
s,(exec-process-|/tmp/podman)[0-9]+,\10000000000,g
s,/tmp/conmon-term\.[0-9A-Za-z]+,/tmp/conmon-term.000000,g
END
    sed -E -f "$script" "$file" >/run/out/"$(basename "$file")"
done
is 'at least 16 configurations' "$(($(ls /run/out/*.json | wc -l) >= 16))" 1
for file in /run/out/*.json; do
    ends "$(basename "$file") is JSON" 0 '' jq -e type "$file"
done
finish
