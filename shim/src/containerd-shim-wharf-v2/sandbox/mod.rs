//! What the containers of a pod share, without a container that holds it: the parts of a sandbox.
//!
//! containerd asks for it with `sandboxer = "shim"` in the configuration of the runtime: the service
//! `containerd.runtime.sandbox.v1.Sandbox` ([`crate::methods::sandbox`]), beside that of tasks, in one server for each
//! pod. The containers' own configurations name the namespaces by the pid that `SandboxStatus` tells, so some process is
//! in them: this one or, where a pid or user namespace is shared, a holder ([`wharf::pod`]).
//!
//! | module | idea |
//! |---|---|
//! | `config` | the pod's configuration, a message of the CRI |
//! | `files` | /etc/hostname, /etc/hosts, /etc/resolv.conf and /dev/shm |
//! | `containers` | what a container of the pod gets of them |
//! | `namespaces` | the namespaces that the pod asks for |
//! | `spec` | what the daemon is told about them |

pub(crate) mod config;
pub(crate) mod containers;
pub(crate) mod files;
pub(crate) mod namespaces;
pub(crate) mod spec;
