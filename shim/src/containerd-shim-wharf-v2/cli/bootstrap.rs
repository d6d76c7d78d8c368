//! What containerd and a starting shim exchange: three kinds of daemons, two forms of the question, three of the
//! answer.
//!
//! | daemon | standard input of `start` | answer on standard output |
//! |---|---|---|
//! | 1.6 | the options of the runtime, a protobuf `Any`; or nothing | the address |
//! | 1.7 to 2.2 | the same; and `MAX_SHIM_VERSION` is set | JSON with the version of the task API |
//! | 2.3 and later | `containerd.runtime.bootstrap.v1.BootstrapParams` | `BootstrapResult` |

use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::protobuf::Message as _;

/// How much of standard input is read at most.
pub(crate) const MOST_INPUT: u64 = 10 << 20;

/// The kind of daemon that started the shim.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Daemon {
    /// It takes the bare address.
    Plain,
    /// It takes JSON with this version of the task API.
    Json(i32),
    /// It has sent its parameters.
    Bootstrap(Box<BootstrapParams>),
}

impl Daemon {
    /// Recognises the daemon by what it sent and set.
    ///
    /// Options and parameters parse as each other: the first field of both is a string. But that field of the
    /// parameters is the id, and the second is the namespace, and the command line has both as well.
    pub(crate) fn recognize(
        input: &[u8],
        id: &str,
        namespace: &str,
        max_version: Option<&str>,
        wanted_version: Option<&str>,
    ) -> Self {
        if let Ok(params) = BootstrapParams::parse_from_bytes(input)
            && !id.is_empty()
            && params.instance_id == id
            && params.namespace == namespace
        {
            return Self::Bootstrap(Box::new(params));
        }
        match max_version.map(str::parse::<i32>) {
            None => Self::Plain,
            // All of them understand version 2; 2.0 to 2.2 also take version 3, if the shim says so.
            Some(_) if wanted_version == Some("3") => Self::Json(3),
            Some(_) => Self::Json(2),
        }
    }

    /// The directory for the socket, if the daemon asks for one.
    pub(crate) fn socket_dir(&self) -> Option<&str> {
        match self {
            Self::Bootstrap(params) => params.socket_dir.as_deref().filter(|dir| !dir.is_empty()),
            _ => None,
        }
    }

    /// Where the daemon takes events, if it says so here.
    pub(crate) fn events_address(&self) -> Option<&str> {
        match self {
            Self::Bootstrap(params) => {
                Some(params.containerd_ttrpc_address.as_str()).filter(|address| !address.is_empty())
            }
            _ => None,
        }
    }

    /// The answer with the address. It never ends with white space, which daemons trim.
    pub(crate) fn answer(&self, address: &str) -> Vec<u8> {
        match self {
            Self::Plain => address.as_bytes().to_vec(),
            Self::Json(version) => {
                serde_json::json!({"version": version, "address": address, "protocol": "ttrpc"})
                    .to_string()
                    .into_bytes()
            }
            Self::Bootstrap(_) => {
                let mut result = BootstrapResult::new();
                result.version = 3;
                address.clone_into(&mut result.address);
                "ttrpc".clone_into(&mut result.protocol);
                result.write_to_bytes().unwrap_or_default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::protobuf::well_known_types::any::Any;

    use super::*;

    const ADDRESS: &str = "unix:///run/containerd/s/0123";

    fn params(id: &str, namespace: &str) -> Vec<u8> {
        let mut params = BootstrapParams::new();
        id.clone_into(&mut params.instance_id);
        namespace.clone_into(&mut params.namespace);
        "/run/events".clone_into(&mut params.containerd_ttrpc_address);
        params.socket_dir = Some("/run/s".to_owned());
        params.write_to_bytes().unwrap()
    }

    #[test]
    fn parameters_are_told_from_options() {
        let input = params("web", "default");
        let daemon = Daemon::recognize(&input, "web", "default", None, None);
        assert_eq!((daemon.socket_dir(), daemon.events_address()), (Some("/run/s"), Some("/run/events")));
        // The same bytes for another container are not parameters.
        assert_eq!(Daemon::recognize(&input, "db", "default", None, None), Daemon::Plain);
        assert_eq!(Daemon::recognize(&input, "web", "other", None, None), Daemon::Plain);
        let mut any = Any::new();
        any.type_url = "containerd.runc.v1.Options".to_owned();
        any.value = b"default".to_vec();
        let any = any.write_to_bytes().unwrap();
        assert_eq!(Daemon::recognize(&any, "web", "default", Some("2"), None), Daemon::Json(2));
        assert_eq!(Daemon::recognize(&[], "", "", Some("2"), None), Daemon::Json(2));
        assert_eq!(Daemon::recognize(&[0xff; 9], "web", "default", None, None), Daemon::Plain);
    }

    #[test]
    fn answers_in_three_forms() {
        assert_eq!(Daemon::Plain.answer(ADDRESS), ADDRESS.as_bytes());
        let json: serde_json::Value = serde_json::from_slice(&Daemon::Json(2).answer(ADDRESS)).unwrap();
        assert_eq!(json, serde_json::json!({"version": 2, "address": ADDRESS, "protocol": "ttrpc"}));
        let daemon = Daemon::recognize(&params("a", "b"), "a", "b", None, None);
        let answer = daemon.answer(ADDRESS);
        assert!(answer.last().is_some_and(|byte| !byte.is_ascii_whitespace()));
        let result = BootstrapResult::parse_from_bytes(&answer).unwrap();
        assert_eq!(
            (result.version, result.address.as_str(), result.protocol.as_str()),
            (3, ADDRESS, "ttrpc")
        );
    }

    #[test]
    fn version_three_is_only_for_daemons_that_ask() {
        assert_eq!(Daemon::recognize(&[], "a", "b", Some("2"), Some("3")), Daemon::Json(3));
        assert_eq!(Daemon::recognize(&[], "a", "b", None, Some("3")), Daemon::Plain);
    }
}
