#!/bin/bash
# Docker Engine on a containerd shim: Compose, Swarm, a registry, the builder. RUNTIME=/abs/path [SHIM=/abs/path] docker-shim.sh
#
# From Docker 23 on the shim is a runtime in daemon.json with `runtimeType`. Older versions know only containerd's own
# type, so the shim is put where containerd looks for that, and gets the runtime's path as BinaryName. Either way the
# file comes from shim/install.
NEEDS='containerd dockerd docker-init docker-proxy docker-compose docker-registry redis-server redis-cli iptables'
: "${SHIM:=$(command -v containerd-shim-runc-v2)}"
export SHIM
. "$(dirname "$0")/scenario.sh"

docker=/usr/bin/docker
: "${PROGRAMS:=}"
[ -z "$PROGRAMS" ] || docker=$PROGRAMS/usr/bin/docker
export DOCKER_BUILDKIT=0 DOCKER_CONFIG=$work/client DOCKER_HOST=unix:///run/docker.sock COMPOSE_INTERACTIVE_NO_CLI=1
cd "$work" || exit 125
image=scenario:1

mkdir -p bin /etc/docker
engine=$(dockerd --version | sed -E 's/[^0-9]*([0-9]+).*/\1/')
install "$RUNTIME" /usr/local/bin/wharf
install "$SHIM" /usr/local/bin
if [ "$engine" -lt 23 ]; then
    ln -s "$SHIM" bin/containerd-shim-runc-v2
    cp /opt/install/docker-daemon-cli.json daemon.json
elif [ "$(basename "$SHIM")" = containerd-shim-wharf-v2 ]; then
    cp /opt/install/docker-daemon-shim.json daemon.json
else
    printf '{"runtimes": {"tested": {"runtimeType": "%s"}}, "default-runtime": "tested"}\n' "$SHIM" >daemon.json
fi
PATH=$work/bin:$PATH dockerd --config-file daemon.json --host "$DOCKER_HOST" --exec-opt native.cgroupdriver=cgroupfs \
    --bip 172.30.0.1/24 --shutdown-timeout 3 >dockerd.log 2>&1 &
daemon=$!
wait_for 30 "$docker" version || { log_tail dockerd.log; fail 'Docker starts'; finish; }
printf '# Docker %s, shim %s\n' "$("$docker" version --format '{{.Server.Version}}')" "$("$SHIM" -v 2>&1 | tr -s '\n ' ' ')"

# Prints a page once there is one.
page() { timeout 5 busybox wget -qO- "http://$1"; }
serves() { page "$1" | grep -q "$2"; }
# The pid of the process that serves a container, its parent, by the executable's name on the command line.
served_by() { tr '\0' ' ' <"/proc/$(awk '{print $4}' "/proc/$("$docker" inspect --format '{{.State.Pid}}' "$1")/stat")/cmdline"; }

# layer DIR PROGRAM...: the programs and their libraries, in their places.
layer() {
    local dir=$1 program file
    shift
    mkdir -p "$dir"/{etc,tmp,data,var/lib}
    for program; do
        for file in "$program" $(ldd "$program" | grep -oE '/[^ ]+'); do
            mkdir -p "$dir$(dirname "$file")"
            cp -L "$file" "$dir$file"
        done
    done
    printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$dir/etc/passwd"
}

# --- load and build
ends 'load an image' 0 'scenario:1' "$docker" load -i "$IMAGE_TAR"
ends 'run' 0 '^hello$' "$docker" run --rm "$image" echo hello
run "$docker" run -d --name parent "$image" sleep 60
like 'the container is a child of the shim' "$(served_by parent)" "$(basename "$SHIM").* -namespace moby|containerd-shim-runc-v2 -namespace moby"
"$docker" rm -f parent >/dev/null
layer redis "$(command -v redis-server)" "$(command -v redis-cli)"
cat >redis/Dockerfile <<'END'
FROM scratch
COPY . /
EXPOSE 6379
USER nobody
WORKDIR /tmp
CMD ["/usr/bin/redis-server", "--save", "", "--protected-mode", "no"]
END
ends 'build: redis from scratch' 0 'Successfully built' "$docker" build --network none -t redis:1 redis
layer web "$(command -v redis-cli)"
mkdir -p web/www/cgi-bin
cat >web/www/cgi-bin/hits <<'END'
#!/bin/sh
printf 'Content-type: text/plain\r\n\r\n'
echo "hits $(redis-cli -h store INCR hits)"
END
chmod 755 web/www/cgi-bin/hits
cat >web/Dockerfile <<'END'
FROM scenario:1
COPY usr /usr
COPY lib* /lib/
COPY lib64 /lib64
COPY www /www
RUN echo built >/www/index.html && redis-cli --version >/www/version
CMD ["httpd", "-f", "-p", "80", "-h", "/www"]
END
ends 'build: a web application' 0 'Successfully built' "$docker" build --network none -t web:1 web
ends 'build: what RUN made is in the image' 0 $'^built\nredis-cli' "$docker" run --rm web:1 cat /www/index.html /www/version

# --- Compose: a web application and its store on a bridge of their own
cat >compose.yaml <<'END'
version: "3.7"
services:
  store:
    image: redis:1
    healthcheck: {test: ["CMD", "/usr/bin/redis-cli", "PING"], interval: 1s, retries: 20}
  web:
    image: web:1
    depends_on: [store]
    ports: ["127.0.0.1:8080:80"]
    init: true
networks:
  default: {driver: bridge}
END
compose=(docker-compose -p app -f compose.yaml)
ends 'compose up' 0 '' "${compose[@]}" up -d
wait_for 20 serves 127.0.0.1:8080/cgi-bin/hits 'hits 1'
like 'the application answers by way of the store' "$(page 127.0.0.1:8080/cgi-bin/hits)" '^hits [0-9]+'
one=$(page 127.0.0.1:8080/cgi-bin/hits | tr -dc 0-9)
two=$(page 127.0.0.1:8080/cgi-bin/hits | tr -dc 0-9)
is 'and counts' "$((two - one))" 1
store=$("${compose[@]}" ps -q store 2>/dev/null)
wait_for 20 bash -c "[ \"\$($docker inspect --format '{{.State.Health.Status}}' $store)\" = healthy ]"
is 'the store is healthy: execs' "$("$docker" inspect --format '{{.State.Health.Status}}' "$store")" healthy
ends 'compose exec' 0 "^\"?$two\"?\$" "${compose[@]}" exec -T store /usr/bin/redis-cli GET hits
like 'compose logs' "$("${compose[@]}" logs store 2>&1 | tr -d '\r')" 'Ready to accept connections'
ends 'compose restart of the store' 0 '' "${compose[@]}" restart -t 2 store
wait_for 20 serves 127.0.0.1:8080/cgi-bin/hits 'hits 1'
like 'it answers after the restart, with an empty store' "$(page 127.0.0.1:8080/cgi-bin/hits)" '^hits [1-9]$'
ends 'compose scale' 0 '' "${compose[@]}" up -d --scale store=3
is 'three stores' "$("${compose[@]}" ps -q store 2>/dev/null | wc -l)" 3
ends 'compose down' 0 '' "${compose[@]}" down -t 2
is 'no container of it is left' "$("$docker" ps -aq --filter label=com.docker.compose.project=app | wc -l)" 0

# --- a registry that itself runs on this shim
layer registry "$(command -v docker-registry)"
cat >registry/etc/registry.yml <<'END'
version: 0.1
storage: {filesystem: {rootdirectory: /data}, delete: {enabled: true}}
http: {addr: ":5000"}
END
cat >registry/Dockerfile <<END
FROM scratch
COPY . /
VOLUME /data
CMD ["$(command -v docker-registry)", "serve", "/etc/registry.yml"]
END
ends 'build: the registry' 0 'Successfully built' "$docker" build --network none -t registry:1 registry
ends 'run the registry' 0 '' "$docker" run -d --name registry -p 127.0.0.1:5000:5000 registry:1
wait_for 20 page 127.0.0.1:5000/v2/
run "$docker" tag web:1 localhost:5000/web:1
ends 'push' 0 'digest: sha256:' "$docker" push localhost:5000/web:1
is 'the registry has it' "$(page 127.0.0.1:5000/v2/web/tags/list | tr -d ' \n')" '{"name":"web","tags":["1"]}'
run "$docker" rmi localhost:5000/web:1 web:1
ends 'pull' 0 'Downloaded newer image' "$docker" pull localhost:5000/web:1
ends 'run what was pulled' 0 $'^built\nredis-cli' "$docker" run --rm localhost:5000/web:1 cat /www/index.html /www/version
run "$docker" tag localhost:5000/web:1 web:1

# --- Swarm: a service and a rolling update
printf 'FROM web:1\nRUN echo second >/www/index.html\n' >Dockerfile.two
ends 'build: the second version' 0 'Successfully built' bash -c "$docker build --network none -t web:2 - <Dockerfile.two"
run "$docker" swarm init --advertise-addr 192.0.2.1
if [ "$CODE" != 0 ]; then
    skip 'a service and a rolling update' "no swarm here: $OUT"
else
    running() { "$docker" ps --filter "label=com.docker.swarm.service.name=$1" --format '{{.Image}}' | sort | uniq -c | tr -s ' ' | tr '\n' ','; }
    runs() { [ "$(running "$1")" = "$2" ]; }
    # Without ip_vs in the kernel there is no virtual address, hence dnsrr and mode=host.
    ends 'service create with three tasks' 0 '' timeout 50 "$docker" service create --detach --no-resolve-image --endpoint-mode dnsrr --replicas 3 --name many web:1
    wait_for 90 runs many ' 3 web:1,'
    is 'three tasks run' "$(running many)" ' 3 web:1,'
    ends 'service create with a published port' 0 '' "$docker" service create --detach --no-resolve-image --endpoint-mode dnsrr --publish mode=host,target=80,published=8090 --name front web:1
    wait_for 60 serves 127.0.0.1:8090/ built
    is 'it answers' "$(page 127.0.0.1:8090/)" built
    ends 'rolling update' 0 '' "$docker" service update --detach --no-resolve-image --update-parallelism 1 --update-delay 1s --stop-grace-period 1s --image web:2 many
    wait_for 120 runs many ' 3 web:2,'
    is 'three tasks of the second version run' "$(running many)" ' 3 web:2,'
    ends 'update of the published service' 0 '' "$docker" service update --detach --no-resolve-image --stop-grace-period 1s --image web:2 front
    wait_for 60 serves 127.0.0.1:8090/ second
    is 'it answers as the second version' "$(page 127.0.0.1:8090/)" second
    # A task that dies is replaced.
    task=$("$docker" ps -q --filter label=com.docker.swarm.service.name=many | head -n1)
    run "$docker" kill "$task"
    replaced() { [ -z "$("$docker" ps -q --filter "id=$task")" ] && runs many ' 3 web:2,'; }
    wait_for 60 replaced
    is 'a killed task is replaced' "$(running many)" ' 3 web:2,'
    ends 'service rm' 0 '' "$docker" service rm many front
    none_of_both() { [ -z "$(running many)$(running front)" ]; }
    wait_for 60 none_of_both
    is 'no task of them is left' "$(running many)$(running front)" ''
    ends 'swarm leave' 0 '' "$docker" swarm leave --force
fi

# --- the installer for Kubernetes nodes: its image, and what its DaemonSet says
if ! /usr/bin/python3 -c 'import yaml' 2>/dev/null; then
    skip 'the node installer' 'there is no python3-yaml to read the manifests with'
else
    cp -r /opt/install installer
    cp "$RUNTIME" installer/wharf
    cp "$SHIM" installer/containerd-shim-wharf-v2
    run "$docker" tag "$image" busybox:stable-musl
    installer=registry.example.com/wharf-installer:0.1.0
    ends 'build: the node installer' 0 'Successfully built' "$docker" build --network none -t $installer installer
    # The options of `docker run` for the first container of the manifest, one per line.
    /usr/bin/python3 - installer/kubernetes.yaml >daemonset <<'END'
import sys, yaml
documents = list(yaml.safe_load_all(open(sys.argv[1])))
handlers = {document["handler"] for document in documents if document["kind"] == "RuntimeClass"}
assert handlers == {"wharf", "wharf-pauseless"}, handlers
pod = next(document for document in documents if document["kind"] == "DaemonSet")["spec"]["template"]["spec"]
volumes = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"]}
container = pod["initContainers"][0]
print("--privileged" if container["securityContext"]["privileged"] else "--privileged=false")
print("--pid=host" if pod["hostPID"] else "--pid=")
for mount in container["volumeMounts"]:
    print(f"--volume={volumes[mount['name']]}:{mount['mountPath']}")
print("--entrypoint=" + container["command"][0], container["image"], *container["command"][1:], sep="\n")
END
    printf '#!/bin/sh\necho "$*" >>%s/systemctl.log\n' "$work" >/usr/local/sbin/systemctl
    chmod 755 /usr/local/sbin/systemctl
    mapfile -t words <daemonset
    ends 'the installer in its pod' 0 'containerd has the runtime wharf' "$docker" run --rm "${words[@]}"
    like 'the node has the programs' "$(/usr/local/bin/containerd-shim-wharf-v2 -v 2>&1 | tr '\n' ' ')" 'wharf'
    is 'and the runtime in its configuration' "$(grep -c 'runtimes.wharf' /etc/containerd/config.toml)" 1
    is 'its containerd is started anew' "$(cat systemctl.log)" 'restart containerd'
    ends 'the installer finds it there the next time' 0 'has the runtime already' "$docker" run --rm "${words[@]}"
fi

# --- live restore is off: the end of the daemon ends everything
"$docker" rm -f registry >/dev/null 2>&1
run "$docker" run -d --name last "$image" sleep 99
kill -TERM "$daemon"
wait "$daemon"
is 'nothing is left: no process' "$(pgrep -xfc 'sleep 99')" 0
shims() { pgrep -f -- '-namespace moby' | wc -l; }
no_shims() { [ "$(shims)" = 0 ]; }
wait_for 10 no_shims
is 'nothing is left: no shim' "$(shims)" 0
is 'nothing is left: no cgroup' "$(find /sys/fs/cgroup -mindepth 3 -type d -path '*/docker/*' | wc -l)" 0

[ "$failed" = 0 ] || grep -E 'level=(error|warning|fatal)' dockerd.log | tail -n "${LOG_LINES:-20}" | sed 's/^/# /'
finish
