# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_wharf_global_optspecs
    string join \n debug log= log-format= log-level= root= systemd-cgroup cgroup-manager= systemd-annotations rootless= criu= v/version h/help
end

function __fish_wharf_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_wharf_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_wharf_using_subcommand
    set -l cmd (__fish_wharf_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c wharf -n "__fish_wharf_needs_command" -l log -d 'log to [file:]PATH, journald:[IDENTIFIER] or syslog:[IDENTIFIER] (default: standard error)' -r -F
complete -c wharf -n "__fish_wharf_needs_command" -l log-format -d 'format of the log: text or json (default: text)' -r -f -a "text\t''
json\t''"
complete -c wharf -n "__fish_wharf_needs_command" -l log-level -d 'log nothing below error, warning, info or debug (default: info)' -r -f -a "error\t''
warning\t''
info\t''
debug\t''"
complete -c wharf -n "__fish_wharf_needs_command" -l root -d 'directory of the state of containers (default: /run/wharf, or $XDG_RUNTIME_DIR/wharf without privileges)' -r -f -a "(__fish_complete_directories)"
complete -c wharf -n "__fish_wharf_needs_command" -l cgroup-manager -d 'who manages cgroups: cgroupfs, systemd or disabled (default: cgroupfs)' -r -f -a "cgroupfs\t''
systemd\t''
disabled\t''"
complete -c wharf -n "__fish_wharf_needs_command" -l rootless -d 'ignore cgroup permission errors: true, false or auto (default: auto)' -r -f -a "true\t''
false\t''
auto\t''"
complete -c wharf -n "__fish_wharf_needs_command" -l criu -d 'program used by checkpoint and restore' -r -F
complete -c wharf -n "__fish_wharf_needs_command" -l debug -d 'log what is done, at level debug'
complete -c wharf -n "__fish_wharf_needs_command" -l systemd-cgroup -d 'manage cgroups through systemd; cgroupsPath is slice:prefix:name'
complete -c wharf -n "__fish_wharf_needs_command" -l systemd-annotations -d 'honour every annotation org.systemd.property.*, also those that act on the whole machine'
complete -c wharf -n "__fish_wharf_needs_command" -s v -l version -d 'print the version'
complete -c wharf -n "__fish_wharf_needs_command" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "check" -d 'examine a bundle and print everything that is wrong with it'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "checkpoint" -d 'save the processes of a running container with criu'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "completion" -d 'print the script that lets a shell complete the command line'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "create" -d 'create a container from a bundle'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "delete" -d 'delete a stopped container and everything that create made'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "events" -d 'print statistics and out-of-memory events of a container as lines of JSON'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "exec" -d 'start another process in a container'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "explain" -d 'print what create would do with a bundle, step by step'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "features" -d 'print what this build supports, as the features document of the specification'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "kill" -d 'send a signal to the first process of a container (default: TERM)'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "list" -d 'list the containers of a state directory'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "mounts" -d 'add mounts to a running container, or remove them'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "pause" -d 'suspend all processes of a container'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "ps" -d 'print the processes of a container'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "restore" -d 'make a container of the images of a checkpoint'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "resume" -d 'continue the processes of a paused container'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "run" -d 'create, start, await and delete a container'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "spec" -d 'write a config.json to begin with'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "start" -d 'start the process of a created container'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "state" -d 'print the state of a container as JSON'
complete -c wharf -n "__fish_wharf_needs_command" -f -a "update" -d 'change the resource limits of a container'
complete -c wharf -n "__fish_wharf_using_subcommand check" -s b -l bundle -d 'directory of the bundle (default: the current directory)' -r -f -a "(__fish_complete_directories)"
complete -c wharf -n "__fish_wharf_using_subcommand check" -s f -l config -d 'configuration (default: config.json in the bundle)' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand check" -l console-socket -d 'the same, with this socket for the terminal, which is not connected to' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand check" -l format -d 'text or json (default: text)' -r -f -a "text\t''
json\t''"
complete -c wharf -n "__fish_wharf_using_subcommand check" -s d -l detach -d 'examine a call of create or run --detach, too: where does a terminal go?'
complete -c wharf -n "__fish_wharf_using_subcommand check" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand checkpoint" -l image-path -d 'directory of the images (default: checkpoint)' -r -f -a "(__fish_complete_directories)"
complete -c wharf -n "__fish_wharf_using_subcommand checkpoint" -l work-path -d 'directory of the log of criu (default: that of the images)' -r -f -a "(__fish_complete_directories)"
complete -c wharf -n "__fish_wharf_using_subcommand checkpoint" -l parent-path -d 'directory of earlier images, relative to --image-path: save only what changed since' -r -f -a "(__fish_complete_directories)"
complete -c wharf -n "__fish_wharf_using_subcommand checkpoint" -l status-fd -d 'write a zero byte to FD when --lazy-pages serves' -r
complete -c wharf -n "__fish_wharf_using_subcommand checkpoint" -l page-server -d 'send the memory to a page server, or serve it there' -r
complete -c wharf -n "__fish_wharf_using_subcommand checkpoint" -l manage-cgroups-mode -d 'what criu does about cgroups: soft, full, strict or ignore (default: soft)' -r
complete -c wharf -n "__fish_wharf_using_subcommand checkpoint" -l network-lock -d 'how criu keeps connections still: iptables, nftables or skip (default: criu\'s)' -r
complete -c wharf -n "__fish_wharf_using_subcommand checkpoint" -l empty-ns -d 'leave out the contents of a namespace: network, which is always left out (repeatable)' -r
complete -c wharf -n "__fish_wharf_using_subcommand checkpoint" -l leave-running -d 'let the container go on'
complete -c wharf -n "__fish_wharf_using_subcommand checkpoint" -l tcp-established -d 'allow established TCP connections'
complete -c wharf -n "__fish_wharf_using_subcommand checkpoint" -l tcp-skip-in-flight -d 'leave out TCP connections that are being made'
complete -c wharf -n "__fish_wharf_using_subcommand checkpoint" -l link-remap -d 'give deleted files that are open a name again, where possible'
complete -c wharf -n "__fish_wharf_using_subcommand checkpoint" -l ext-unix-sk -d 'allow unix sockets connected to outside of the container'
complete -c wharf -n "__fish_wharf_using_subcommand checkpoint" -l shell-job -d 'allow a terminal that is not the container\'s own'
complete -c wharf -n "__fish_wharf_using_subcommand checkpoint" -l lazy-pages -d 'serve the memory to criu lazy-pages instead of saving it'
complete -c wharf -n "__fish_wharf_using_subcommand checkpoint" -l file-locks -d 'allow file locks'
complete -c wharf -n "__fish_wharf_using_subcommand checkpoint" -l pre-dump -d 'save memory only, as the parent of a later checkpoint, and go on'
complete -c wharf -n "__fish_wharf_using_subcommand checkpoint" -l auto-dedup -d 'take out of parent images what newer ones hold'
complete -c wharf -n "__fish_wharf_using_subcommand checkpoint" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand completion" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand create" -s b -l bundle -d 'directory of the bundle (default: the current directory)' -r -f -a "(__fish_complete_directories)"
complete -c wharf -n "__fish_wharf_using_subcommand create" -s f -l config -d 'configuration (default: config.json in the bundle)' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand create" -l console-socket -d 'unix socket that receives the master end of the terminal' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand create" -l pidfd-socket -d 'unix socket that receives a pidfd of the process' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand create" -l pid-file -d 'write the process id to FILE' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand create" -l preserve-fds -d 'pass N more file descriptors, those behind the standard three and $LISTEN_FDS (default: 0)' -r
complete -c wharf -n "__fish_wharf_using_subcommand create" -l no-pivot -d 'move the root mount instead of pivot_root(2), for a root file system on the initial ram disk'
complete -c wharf -n "__fish_wharf_using_subcommand create" -l no-new-keyring -d 'keep the caller\'s session keyring'
complete -c wharf -n "__fish_wharf_using_subcommand create" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand delete" -s f -l force -d 'kill the container first; no error if it does not exist'
complete -c wharf -n "__fish_wharf_using_subcommand delete" -l strict -d 'refuse a container that is created but not started, as the specification wants'
complete -c wharf -n "__fish_wharf_using_subcommand delete" -s r -l regex -d 'take the container id for a regular expression: all that match'
complete -c wharf -n "__fish_wharf_using_subcommand delete" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand events" -l interval -d 'time between two statistics, for example 1m30s (default: 5s)' -r
complete -c wharf -n "__fish_wharf_using_subcommand events" -l stats -d 'print the statistics once and end'
complete -c wharf -n "__fish_wharf_using_subcommand events" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand exec" -s p -l process -d 'JSON file with the process object to start' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand exec" -l cwd -d 'working directory inside the container' -r -f -a "(__fish_complete_directories)"
complete -c wharf -n "__fish_wharf_using_subcommand exec" -s e -l env -d 'set an environment variable (repeatable)' -r
complete -c wharf -n "__fish_wharf_using_subcommand exec" -s u -l user -d 'user and group, by number or by name in the container' -r
complete -c wharf -n "__fish_wharf_using_subcommand exec" -s g -l additional-gids -d 'add a group, by number (repeatable)' -r
complete -c wharf -n "__fish_wharf_using_subcommand exec" -s c -l cap -d 'add a capability (repeatable)' -r
complete -c wharf -n "__fish_wharf_using_subcommand exec" -l pid-file -d 'write the process id to FILE' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand exec" -l console-socket -d 'unix socket that receives the master end of the terminal' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand exec" -l pidfd-socket -d 'unix socket that receives a pidfd of the process' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand exec" -l apparmor -d 'AppArmor profile of the process' -r
complete -c wharf -n "__fish_wharf_using_subcommand exec" -l process-label -d 'SELinux label of the process' -r
complete -c wharf -n "__fish_wharf_using_subcommand exec" -l cgroup -d 'existing cgroup below the container\'s (repeatable)' -r
complete -c wharf -n "__fish_wharf_using_subcommand exec" -l preserve-fds -d 'pass N more file descriptors, those behind the standard three and $LISTEN_FDS (default: 0)' -r
complete -c wharf -n "__fish_wharf_using_subcommand exec" -s t -l tty -d 'allocate a terminal'
complete -c wharf -n "__fish_wharf_using_subcommand exec" -s d -l detach -d 'do not wait for the process'
complete -c wharf -n "__fish_wharf_using_subcommand exec" -l no-new-privs -d 'set no_new_privs for the process'
complete -c wharf -n "__fish_wharf_using_subcommand exec" -l ignore-paused -d 'start the process even in a paused container'
complete -c wharf -n "__fish_wharf_using_subcommand exec" -l no-subreaper -d 'do not adopt orphaned processes of the container'
complete -c wharf -n "__fish_wharf_using_subcommand exec" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand explain" -s b -l bundle -d 'directory of the bundle (default: the current directory)' -r -f -a "(__fish_complete_directories)"
complete -c wharf -n "__fish_wharf_using_subcommand explain" -s f -l config -d 'configuration (default: config.json in the bundle)' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand explain" -l format -d 'text or json (default: text)' -r -f -a "text\t''
json\t''"
complete -c wharf -n "__fish_wharf_using_subcommand explain" -l id -d 'container id to plan for (default: the name of the bundle\'s directory)' -r
complete -c wharf -n "__fish_wharf_using_subcommand explain" -l preserve-fds -d 'pass N more file descriptors, those behind the standard three and $LISTEN_FDS (default: 0)' -r
complete -c wharf -n "__fish_wharf_using_subcommand explain" -l no-pivot -d 'move the root mount instead of pivot_root(2), for a root file system on the initial ram disk'
complete -c wharf -n "__fish_wharf_using_subcommand explain" -l no-new-keyring -d 'keep the caller\'s session keyring'
complete -c wharf -n "__fish_wharf_using_subcommand explain" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand features" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand kill" -s a -l all -d 'send it to all processes of the container'
complete -c wharf -n "__fish_wharf_using_subcommand kill" -s r -l regex -d 'take the container id for a regular expression: all that match'
complete -c wharf -n "__fish_wharf_using_subcommand kill" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand list" -s f -l format -d 'table or json (default: table)' -r -f -a "table\t''
json\t''"
complete -c wharf -n "__fish_wharf_using_subcommand list" -s q -l quiet -d 'print only the ids'
complete -c wharf -n "__fish_wharf_using_subcommand list" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand mounts" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand pause" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand ps" -s f -l format -d 'table or json (default: table)' -r -f -a "table\t''
json\t''"
complete -c wharf -n "__fish_wharf_using_subcommand ps" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand restore" -s b -l bundle -d 'directory of the bundle (default: the current directory)' -r -f -a "(__fish_complete_directories)"
complete -c wharf -n "__fish_wharf_using_subcommand restore" -s f -l config -d 'configuration (default: config.json in the bundle)' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand restore" -l console-socket -d 'unix socket that receives the master end of the terminal' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand restore" -l image-path -d 'directory of the images (default: checkpoint)' -r -f -a "(__fish_complete_directories)"
complete -c wharf -n "__fish_wharf_using_subcommand restore" -l work-path -d 'directory of the log of criu (default: that of the images)' -r -f -a "(__fish_complete_directories)"
complete -c wharf -n "__fish_wharf_using_subcommand restore" -l manage-cgroups-mode -d 'what criu does about cgroups: soft, full, strict or ignore (default: soft)' -r
complete -c wharf -n "__fish_wharf_using_subcommand restore" -l network-lock -d 'how criu keeps connections still: iptables, nftables or skip (default: criu\'s)' -r
complete -c wharf -n "__fish_wharf_using_subcommand restore" -l pid-file -d 'write the process id to FILE' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand restore" -l empty-ns -d 'leave out the contents of a namespace: network, which is always left out (repeatable)' -r
complete -c wharf -n "__fish_wharf_using_subcommand restore" -l lsm-profile -d 'apparmor or selinux label (default: the configuration\'s)' -r
complete -c wharf -n "__fish_wharf_using_subcommand restore" -l lsm-mount-context -d 'SELinux context for mounts that have one' -r
complete -c wharf -n "__fish_wharf_using_subcommand restore" -l tcp-established -d 'allow established TCP connections'
complete -c wharf -n "__fish_wharf_using_subcommand restore" -l tcp-close -d 'restore established TCP connections as closed ones'
complete -c wharf -n "__fish_wharf_using_subcommand restore" -l ext-unix-sk -d 'allow unix sockets connected to outside of the container'
complete -c wharf -n "__fish_wharf_using_subcommand restore" -l shell-job -d 'allow a terminal that is not the container\'s own'
complete -c wharf -n "__fish_wharf_using_subcommand restore" -l file-locks -d 'allow file locks'
complete -c wharf -n "__fish_wharf_using_subcommand restore" -s d -l detach -d 'do not wait for the process'
complete -c wharf -n "__fish_wharf_using_subcommand restore" -l no-subreaper -d 'do not adopt orphaned processes of the container'
complete -c wharf -n "__fish_wharf_using_subcommand restore" -l no-pivot -d 'without effect: criu makes the mounts'
complete -c wharf -n "__fish_wharf_using_subcommand restore" -l auto-dedup -d 'take out of parent images what newer ones hold'
complete -c wharf -n "__fish_wharf_using_subcommand restore" -l lazy-pages -d 'get the memory from criu lazy-pages when it is used'
complete -c wharf -n "__fish_wharf_using_subcommand restore" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand resume" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand run" -s b -l bundle -d 'directory of the bundle (default: the current directory)' -r -f -a "(__fish_complete_directories)"
complete -c wharf -n "__fish_wharf_using_subcommand run" -s f -l config -d 'configuration (default: config.json in the bundle)' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand run" -l console-socket -d 'unix socket that receives the master end of the terminal' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand run" -l pidfd-socket -d 'unix socket that receives a pidfd of the process' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand run" -l pid-file -d 'write the process id to FILE' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand run" -l preserve-fds -d 'pass N more file descriptors, those behind the standard three and $LISTEN_FDS (default: 0)' -r
complete -c wharf -n "__fish_wharf_using_subcommand run" -s d -l detach -d 'do not wait for the process'
complete -c wharf -n "__fish_wharf_using_subcommand run" -l keep -d 'do not delete the container when it ends'
complete -c wharf -n "__fish_wharf_using_subcommand run" -l no-subreaper -d 'do not adopt orphaned processes of the container'
complete -c wharf -n "__fish_wharf_using_subcommand run" -l no-pivot -d 'move the root mount instead of pivot_root(2), for a root file system on the initial ram disk'
complete -c wharf -n "__fish_wharf_using_subcommand run" -l no-new-keyring -d 'keep the caller\'s session keyring'
complete -c wharf -n "__fish_wharf_using_subcommand run" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand spec" -s b -l bundle -d 'directory of the bundle (default: the current directory)' -r -f -a "(__fish_complete_directories)"
complete -c wharf -n "__fish_wharf_using_subcommand spec" -s f -l file -d 'write FILE instead of config.json in the bundle' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand spec" -l rootless -d 'for a container without privileges on the host'
complete -c wharf -n "__fish_wharf_using_subcommand spec" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand start" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand state" -s h -l help -d 'print this help'
complete -c wharf -n "__fish_wharf_using_subcommand update" -s r -l resources -d 'JSON file with a resources object, or - for standard input' -r -F
complete -c wharf -n "__fish_wharf_using_subcommand update" -l blkio-weight -d 'relative weight of block I/O, 10 to 1000' -r
complete -c wharf -n "__fish_wharf_using_subcommand update" -l cpu-period -d 'period of the CPU limit' -r
complete -c wharf -n "__fish_wharf_using_subcommand update" -l cpu-quota -d 'CPU time allowed in a period' -r
complete -c wharf -n "__fish_wharf_using_subcommand update" -l cpu-burst -d 'CPU time that may be saved up' -r
complete -c wharf -n "__fish_wharf_using_subcommand update" -l cpu-share -d 'relative weight of CPU time' -r
complete -c wharf -n "__fish_wharf_using_subcommand update" -l cpu-rt-period -d 'period of the real-time CPU limit' -r
complete -c wharf -n "__fish_wharf_using_subcommand update" -l cpu-rt-runtime -d 'real-time CPU time allowed in a period' -r
complete -c wharf -n "__fish_wharf_using_subcommand update" -l cpu-idle -d '1: schedule only when nothing else wants to run' -r
complete -c wharf -n "__fish_wharf_using_subcommand update" -l cpuset-cpus -d 'CPUs to use' -r
complete -c wharf -n "__fish_wharf_using_subcommand update" -l cpuset-mems -d 'memory nodes to use' -r
complete -c wharf -n "__fish_wharf_using_subcommand update" -l memory -d 'memory limit' -r
complete -c wharf -n "__fish_wharf_using_subcommand update" -l memory-reservation -d 'memory that is reclaimed last' -r
complete -c wharf -n "__fish_wharf_using_subcommand update" -l memory-swap -d 'limit of memory and swap together; -1 for no limit' -r
complete -c wharf -n "__fish_wharf_using_subcommand update" -l reclaim -d 'take memory back first, for so long, and set a lower memory limit only when the usage is below it' -r
complete -c wharf -n "__fish_wharf_using_subcommand update" -l pids-limit -d 'number of processes; -1 for no limit' -r
complete -c wharf -n "__fish_wharf_using_subcommand update" -l l3-cache-schema -d 'shares of the L3 cache (Intel RDT), such as L3:0=7f0;1=1f' -r
complete -c wharf -n "__fish_wharf_using_subcommand update" -l mem-bw-schema -d 'memory bandwidth (Intel RDT), such as MB:0=20;1=70' -r
complete -c wharf -n "__fish_wharf_using_subcommand update" -l kernel-memory -d 'obsolete, without effect' -r
complete -c wharf -n "__fish_wharf_using_subcommand update" -l kernel-memory-tcp -d 'obsolete, without effect' -r
complete -c wharf -n "__fish_wharf_using_subcommand update" -l check-before-update -d 'refuse a memory limit below the usage'
complete -c wharf -n "__fish_wharf_using_subcommand update" -s h -l help -d 'print this help'
