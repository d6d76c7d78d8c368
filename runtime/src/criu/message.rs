//! The messages of the service protocol (CRIU's images/rpc.proto), as far as wharf uses it.
//!
//! The field numbers are the protocol; an older criu skips fields that it does not know.

use prost::{Enumeration, Message};

/// The kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum RequestType {
    Empty = 0,
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

/// What becomes of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum CgroupMode {
    Ignore = 0,
    Soft = 3,
    Full = 4,
    Strict = 5,
    Default = 6,
}

/// How connections are frozen while they are dumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(crate) enum NetworkLockMethod {
    Iptables = 1,
    Nftables = 2,
    Skip = 3,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct PageServer {
    #[prost(string, optional, tag = "1")]
    pub(crate) address: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) port: Option<i32>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct JoinNamespace {
    #[prost(string, required, tag = "1")]
    pub(crate) kind: String,
    #[prost(string, required, tag = "2")]
    pub(crate) file: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct InheritFd {
    #[prost(string, required, tag = "1")]
    pub(crate) key: String,
    #[prost(int32, required, tag = "2")]
    pub(crate) fd: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct CgroupRoot {
    #[prost(string, optional, tag = "1")]
    pub(crate) controller: Option<String>,
    #[prost(string, required, tag = "2")]
    pub(crate) path: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Options {
    #[prost(int32, required, tag = "1")]
    pub(crate) images_dir_fd: i32,
    #[prost(int32, optional, tag = "2")]
    pub(crate) pid: Option<i32>,
    #[prost(bool, optional, tag = "3")]
    pub(crate) leave_running: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    pub(crate) ext_unix_sk: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    pub(crate) tcp_established: Option<bool>,
    #[prost(bool, optional, tag = "6")]
    pub(crate) evasive_devices: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub(crate) shell_job: Option<bool>,
    #[prost(bool, optional, tag = "8")]
    pub(crate) file_locks: Option<bool>,
    #[prost(int32, optional, tag = "9")]
    pub(crate) log_level: Option<i32>,
    #[prost(string, optional, tag = "10")]
    pub(crate) log_file: Option<String>,
    #[prost(message, optional, tag = "11")]
    pub(crate) page_server: Option<PageServer>,
    #[prost(bool, optional, tag = "12")]
    pub(crate) notify_scripts: Option<bool>,
    #[prost(string, optional, tag = "13")]
    pub(crate) root: Option<String>,
    #[prost(string, optional, tag = "14")]
    pub(crate) parent_img: Option<String>,
    #[prost(bool, optional, tag = "15")]
    pub(crate) track_mem: Option<bool>,
    #[prost(bool, optional, tag = "16")]
    pub(crate) auto_dedup: Option<bool>,
    #[prost(int32, optional, tag = "17")]
    pub(crate) work_dir_fd: Option<i32>,
    #[prost(bool, optional, tag = "18")]
    pub(crate) link_remap: Option<bool>,
    #[prost(bool, optional, tag = "24")]
    pub(crate) manage_cgroups: Option<bool>,
    #[prost(message, repeated, tag = "25")]
    pub(crate) cgroup_roots: Vec<CgroupRoot>,
    #[prost(bool, optional, tag = "26")]
    pub(crate) restore_sibling: Option<bool>,
    #[prost(message, repeated, tag = "27")]
    pub(crate) inherit_fds: Vec<InheritFd>,
    #[prost(enumeration = "CgroupMode", optional, tag = "34")]
    pub(crate) manage_cgroups_mode: Option<i32>,
    #[prost(string, repeated, tag = "37")]
    pub(crate) external: Vec<String>,
    #[prost(uint32, optional, tag = "38")]
    pub(crate) empty_ns: Option<u32>,
    #[prost(message, repeated, tag = "39")]
    pub(crate) join_namespaces: Vec<JoinNamespace>,
    #[prost(string, optional, tag = "44")]
    pub(crate) freeze_cgroup: Option<String>,
    #[prost(bool, optional, tag = "46")]
    pub(crate) tcp_skip_in_flight: Option<bool>,
    #[prost(bool, optional, tag = "48")]
    pub(crate) lazy_pages: Option<bool>,
    #[prost(bool, optional, tag = "50")]
    pub(crate) orphan_pts_master: Option<bool>,
    #[prost(string, optional, tag = "51")]
    pub(crate) config_file: Option<String>,
    #[prost(bool, optional, tag = "52")]
    pub(crate) tcp_close: Option<bool>,
    #[prost(string, optional, tag = "53")]
    pub(crate) lsm_profile: Option<String>,
    #[prost(string, optional, tag = "63")]
    pub(crate) lsm_mount_context: Option<String>,
    #[prost(enumeration = "NetworkLockMethod", optional, tag = "64")]
    pub(crate) network_lock: Option<i32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct CriuFeatures {
    #[prost(bool, optional, tag = "1")]
    pub(crate) mem_track: Option<bool>,
    #[prost(bool, optional, tag = "2")]
    pub(crate) lazy_pages: Option<bool>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct CriuRequest {
    #[prost(enumeration = "RequestType", required, tag = "1")]
    pub(crate) kind: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) options: Option<Options>,
    #[prost(bool, optional, tag = "3")]
    pub(crate) notify_success: Option<bool>,
    #[prost(message, optional, tag = "5")]
    pub(crate) features: Option<CriuFeatures>,
}

impl CriuRequest {
    /// A request without arguments.
    pub(crate) fn new(kind: RequestType) -> Self {
        Self { kind: kind as i32, ..Self::default() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Restored {
    #[prost(int32, required, tag = "1")]
    pub(crate) pid: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Notification {
    #[prost(string, optional, tag = "1")]
    pub(crate) script: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) pid: Option<i32>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Version {
    #[prost(int32, required, tag = "1")]
    pub(crate) major: i32,
    #[prost(int32, required, tag = "2")]
    pub(crate) minor: i32,
    #[prost(string, optional, tag = "3")]
    pub(crate) git: Option<String>,
    #[prost(int32, optional, tag = "4")]
    pub(crate) sublevel: Option<i32>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Response {
    #[prost(enumeration = "RequestType", required, tag = "1")]
    pub(crate) kind: i32,
    #[prost(bool, required, tag = "2")]
    pub(crate) success: bool,
    #[prost(message, optional, tag = "4")]
    pub(crate) restored: Option<Restored>,
    #[prost(message, optional, tag = "5")]
    pub(crate) notification: Option<Notification>,
    #[prost(int32, optional, tag = "7")]
    pub(crate) errno: Option<i32>,
    #[prost(message, optional, tag = "8")]
    pub(crate) features: Option<CriuFeatures>,
    #[prost(string, optional, tag = "9")]
    pub(crate) message: Option<String>,
    #[prost(message, optional, tag = "10")]
    pub(crate) version: Option<Version>,
}

/// One filter of `seccomp.img` (images/seccomp.proto).
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct SeccompFilter {
    #[prost(bytes = "vec", required, tag = "1")]
    pub(crate) filter: Vec<u8>,
    /// The index of the filter before it.
    #[prost(uint32, optional, tag = "2")]
    pub(crate) previous: Option<u32>,
}

/// The contents of `seccomp.img`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct SeccompEntry {
    #[prost(message, repeated, tag = "1")]
    pub(crate) filters: Vec<SeccompFilter>,
}

/// A process in `pstree.img` (images/pstree.proto); only its id is used here.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct TreeEntry {
    #[prost(uint32, required, tag = "1")]
    pub(crate) pid: u32,
}

/// A process in `core-*.img` (images/core.proto); only its state is used here.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct CoreEntry {
    #[prost(message, optional, tag = "3")]
    pub(crate) task: Option<TaskCore>,
}

/// The part that belongs to the process and not to one of its threads.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct TaskCore {
    #[prost(uint32, optional, tag = "1")]
    pub(crate) state: Option<u32>,
}

/// The first message of `pagemap-*.img` (images/pagemap.proto): the number of the pages file.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct PagemapHead {
    #[prost(uint32, required, tag = "1")]
    pub(crate) pages: u32,
}

/// A run of pages.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct PagemapEntry {
    #[prost(uint64, required, tag = "1")]
    pub(crate) address: u64,
    /// How many pages, unless `pages` says it.
    #[prost(uint32, required, tag = "2")]
    pub(crate) few_pages: u32,
    #[prost(bool, optional, tag = "3")]
    pub(crate) in_parent: Option<bool>,
    #[prost(uint32, optional, tag = "4")]
    pub(crate) flags: Option<u32>,
    #[prost(uint64, optional, tag = "5")]
    pub(crate) pages: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_protocol() {
        // By hand from rpc.proto: type = RESTORE (field 1), opts (field 2) with images_dir_fd 5 and root "/r".
        let mut request = CriuRequest::new(RequestType::Restore);
        request.options = Some(Options { images_dir_fd: 5, root: Some("/r".into()), ..Options::default() });
        assert_eq!(request.encode_to_vec(), [0x08, 2, 0x12, 6, 0x08, 5, 0x6a, 2, b'/', b'r']);
        // A notification "post-dump" that succeeded, with a field that wharf does not know.
        let bytes = [
            0x08, 6, 0x10, 1, 0x2a, 11, 0x0a, 9, b'p', b'o', b's', b't', b'-', b'd', b'u', b'm', b'p', 0x58,
            3,
        ];
        let response = Response::decode(&bytes[..]).expect("a valid message");
        assert_eq!(response.kind(), RequestType::Notify);
        assert_eq!(response.notification.and_then(|n| n.script).as_deref(), Some("post-dump"));
    }
}
