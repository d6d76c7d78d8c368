#!/usr/bin/python3
"""The part of crictl that the scenario uses, for machines without crictl: the same commands, options and output.

Speaks the Kubernetes Container Runtime Interface (CRI, version 1) with the module grpc of Debian's python3-grpcio. Only
the fields that are used are declared; protobuf leaves others alone.
"""

import json
import sys

import grpc

# The tree may be one that others look at.
sys.dont_write_bytecode = True
import streams
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

ENDPOINT = "unix:///run/containerd/containerd.sock"

# NAME: TYPE FIELD NUMBER, ... ; "*" is repeated, "map" a map of strings.
MESSAGES = """
Nothing:
VersionResponse: string version 1, string runtime_name 2, string runtime_version 3, string runtime_api_version 4
PodSandboxMetadata: string name 1, string uid 2, string namespace 3, uint32 attempt 4
IDMapping: uint32 host_id 1, uint32 container_id 2, uint32 length 3
UserNamespace: int32 mode 1, *IDMapping uids 2, *IDMapping gids 3
NamespaceOption: int32 network 1, int32 pid 2, int32 ipc 3, UserNamespace userns_options 5
LinuxSandboxSecurityContext: NamespaceOption namespace_options 1
LinuxPodSandboxConfig: string cgroup_parent 1, LinuxSandboxSecurityContext security_context 2, map sysctls 3
DNSConfig: *string servers 1, *string searches 2, *string options 3
PodSandboxConfig: PodSandboxMetadata metadata 1, string hostname 2, string log_directory 3, DNSConfig dns_config 4, map labels 6, map annotations 7, LinuxPodSandboxConfig linux 8
RunPodSandboxRequest: PodSandboxConfig config 1, string runtime_handler 2
PodSandboxId: string pod_sandbox_id 1
PodSandboxNetworkStatus: string ip 1
PodSandboxStatus: string id 1, PodSandboxMetadata metadata 2, PodSandboxState state 3, PodSandboxNetworkStatus network 5, string runtime_handler 9
PodSandboxStatusRequest: string pod_sandbox_id 1, bool verbose 2
PodSandboxStatusResponse: PodSandboxStatus status 1, map info 2
PodSandbox: string id 1, PodSandboxMetadata metadata 2, PodSandboxState state 3, string runtime_handler 7
ListPodSandboxResponse: *PodSandbox items 1
ContainerMetadata: string name 1, uint32 attempt 2
ImageSpec: string image 1
KeyValue: string key 1, string value 2
Mount: string container_path 1, string host_path 2, bool readonly 3
LinuxContainerResources: int64 cpu_period 1, int64 cpu_quota 2, int64 cpu_shares 3, int64 memory_limit_in_bytes 4
Capability: *string add_capabilities 1
LinuxContainerSecurityContext: Capability capabilities 1, NamespaceOption namespace_options 3, bool readonly_rootfs 7
LinuxContainerConfig: LinuxContainerResources resources 1, LinuxContainerSecurityContext security_context 2
ContainerConfig: ContainerMetadata metadata 1, ImageSpec image 2, *string command 3, *string args 4, string working_dir 5, *KeyValue envs 6, *Mount mounts 7, string log_path 11, bool stdin 12, bool stdin_once 13, bool tty 14, LinuxContainerConfig linux 15
CreateContainerRequest: string pod_sandbox_id 1, ContainerConfig config 2, PodSandboxConfig sandbox_config 3
ContainerId: string container_id 1
StopContainerRequest: string container_id 1, int64 timeout 2
UpdateContainerResourcesRequest: string container_id 1, LinuxContainerResources linux 2
Container: string id 1, string pod_sandbox_id 2, ContainerMetadata metadata 3, ContainerState state 6
ListContainersResponse: *Container containers 1
ContainerStatus: string id 1, ContainerMetadata metadata 2, ContainerState state 3, int32 exit_code 7, string reason 10, string log_path 15
ContainerStatusRequest: string container_id 1, bool verbose 2
ContainerStatusResponse: ContainerStatus status 1, map info 2
ExecSyncRequest: string container_id 1, *string cmd 2, int64 timeout 3
ExecSyncResponse: bytes stdout 1, bytes stderr 2, int32 exit_code 3
ExecRequest: string container_id 1, *string cmd 2, bool tty 3, bool stdin 4, bool stdout 5, bool stderr 6
AttachRequest: string container_id 1, bool stdin 2, bool tty 3, bool stdout 4, bool stderr 5
PortForwardRequest: string pod_sandbox_id 1, *int32 port 2
StreamAddress: string url 1
UInt64Value: uint64 value 1
CpuUsage: int64 timestamp 1, UInt64Value usage_core_nano_seconds 2
MemoryUsage: int64 timestamp 1, UInt64Value working_set_bytes 2
ContainerAttributes: string id 1, ContainerMetadata metadata 2
ContainerStats: ContainerAttributes attributes 1, CpuUsage cpu 2, MemoryUsage memory 3
ListContainerStatsResponse: *ContainerStats stats 1
"""
ENUMS = {
    "PodSandboxState": ["SANDBOX_READY", "SANDBOX_NOTREADY"],
    "ContainerState": ["CONTAINER_CREATED", "CONTAINER_RUNNING", "CONTAINER_EXITED", "CONTAINER_UNKNOWN"],
}


def declare():
    """Makes the classes of all messages."""
    kinds = descriptor_pb2.FieldDescriptorProto
    scalars = {name[5:].lower(): number for name, number in kinds.Type.items()}
    file = descriptor_pb2.FileDescriptorProto(name="cri.proto", package="runtime.v1", syntax="proto3")
    for name, values in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    names = []
    for line in MESSAGES.strip().splitlines():
        name, fields = line.split(":")
        names.append(name)
        message = file.message_type.add(name=name)
        for field in filter(None, (text.strip() for text in fields.split(","))):
            kind, label, number = field.split(" ")
            added = message.field.add(name=label, number=int(number), label=kinds.LABEL_OPTIONAL)
            if kind == "map":
                entry = message.nested_type.add(name=label.title().replace("_", "") + "Entry")
                entry.options.map_entry = True
                for key, at in (("key", 1), ("value", 2)):
                    entry.field.add(name=key, number=at, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_STRING)
                kind = f"*{name}.{entry.name}"
            if kind.startswith("*"):
                added.label, kind = kinds.LABEL_REPEATED, kind[1:]
            if kind in scalars:
                added.type = scalars[kind]
            else:
                added.type = kinds.TYPE_ENUM if kind in ENUMS else kinds.TYPE_MESSAGE
                added.type_name = f".runtime.v1.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return {name: factory.GetPrototype(pool.FindMessageTypeByName(f"runtime.v1.{name}")) for name in names}


CLASSES = declare()


def call(method, answer, request="Nothing", seconds=60, **fields):
    """Asks the runtime service."""
    ask = channel.unary_unary(
        f"/runtime.v1.RuntimeService/{method}",
        request_serializer=CLASSES[request].SerializeToString,
        response_deserializer=CLASSES[answer].FromString,
    )
    return ask(CLASSES[request](**fields), timeout=seconds)


def from_file(name, path):
    with open(path, encoding="utf-8") as file:
        return json_format.Parse(file.read(), CLASSES[name](), ignore_unknown_fields=True)


def show(message):
    print(json_format.MessageToJson(message, including_default_value_fields=True))


def option(words, *names, default=""):
    """Takes an option with its value out of the words."""
    for name in names:
        if name in words:
            at = words.index(name)
            value = words[at + 1]
            del words[at : at + 2]
            return value
    return default


def logs(container):
    status = call("ContainerStatus", "ContainerStatusResponse", "ContainerStatusRequest", container_id=container)
    with open(status.status.log_path, encoding="utf-8") as file:
        for line in file:
            _time, stream, _part, text = line.rstrip("\n").split(" ", 3)
            print(text, file=sys.stdout if stream == "stdout" else sys.stderr)


def talk(method, words):
    """Exec or Attach, with -i for input and -t for a terminal."""
    flags = []
    while words[0].startswith("-"):
        flags.append(words.pop(0))
    stdin, tty = "-i" in flags, "-t" in flags
    request = {"container_id": words[0], "stdin": stdin, "tty": tty, "stdout": True, "stderr": not tty}
    if method == "Exec":
        request["cmd"] = words[1:]
    return streams.talk(call(method, "StreamAddress", f"{method}Request", **request).url, stdin)


def perform(command, words):
    """One command of crictl."""
    if command == "version":
        show(call("Version", "VersionResponse"))
    elif command == "runp":
        handler = option(words, "--runtime", "-r")
        pod = from_file("PodSandboxConfig", words[0])
        print(call("RunPodSandbox", "PodSandboxId", "RunPodSandboxRequest", config=pod, runtime_handler=handler).pod_sandbox_id)
    elif command == "create":
        config, pod = from_file("ContainerConfig", words[1]), from_file("PodSandboxConfig", words[2])
        request = {"pod_sandbox_id": words[0], "config": config, "sandbox_config": pod}
        print(call("CreateContainer", "ContainerId", "CreateContainerRequest", **request).container_id)
    elif command == "attach" or (command == "exec" and words[0] != "-s"):
        return talk(command.title(), words)
    elif command == "port-forward":
        local, remote = map(int, words[1].split(":"))
        request = {"pod_sandbox_id": words[0], "port": [remote]}
        streams.forward(lambda: call("PortForward", "StreamAddress", "PortForwardRequest", **request).url, local, remote)
    elif command == "exec":
        words.remove("-s")
        done = call("ExecSync", "ExecSyncResponse", "ExecSyncRequest", container_id=words[0], cmd=words[1:])
        sys.stdout.buffer.write(done.stdout)
        sys.stderr.buffer.write(done.stderr)
        return done.exit_code
    elif command == "logs":
        logs(words[0])
    elif command == "update":
        limit = int(option(words, "--memory"))
        resources = CLASSES["LinuxContainerResources"](memory_limit_in_bytes=limit)
        call("UpdateContainerResources", "Nothing", "UpdateContainerResourcesRequest", container_id=words[0], linux=resources)
    elif command in ("pods", "ps", "stats"):
        method, answer = {
            "pods": ("ListPodSandbox", "ListPodSandboxResponse"),
            "ps": ("ListContainers", "ListContainersResponse"),
            "stats": ("ListContainerStats", "ListContainerStatsResponse"),
        }[command]
        show(call(method, answer))
    elif command in ("inspect", "inspectp"):
        kind, field = ("Container", "container_id") if command == "inspect" else ("PodSandbox", "pod_sandbox_id")
        status = call(f"{kind}Status", f"{kind}StatusResponse", f"{kind}StatusRequest", **{field: words[-1]}, verbose=True)
        document = json_format.MessageToDict(status, including_default_value_fields=True)
        document["info"] = json.loads(status.info.get("info", "{}"))
        print(json.dumps(document))
    elif command == "stop":
        seconds = int(option(words, "--timeout", "-t", default="0"))
        call("StopContainer", "Nothing", "StopContainerRequest", container_id=words[0], timeout=seconds)
    elif command in ("start", "rm"):
        call(f"{'Start' if command == 'start' else 'Remove'}Container", "Nothing", "ContainerId", container_id=words[0])
    elif command in ("stopp", "rmp"):
        call(f"{'Stop' if command == 'stopp' else 'Remove'}PodSandbox", "Nothing", "PodSandboxId", pod_sandbox_id=words[0])
    else:
        raise SystemExit(f"crictl.py: no command {command}")
    return 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    endpoint = ENDPOINT
    while arguments[0].startswith("-"):
        # Only options with a value come before the command.
        if arguments[0] == "--runtime-endpoint":
            endpoint = arguments[1]
        del arguments[:2]
    if option(arguments, "-o", "--output", default="json") != "json":
        raise SystemExit("crictl.py: the output is json")
    channel = grpc.insecure_channel(endpoint)
    try:
        sys.exit(perform(arguments[0], arguments[1:]))
    except grpc.RpcError as error:
        raise SystemExit(f"{error.code().name}: {error.details()}") from error
