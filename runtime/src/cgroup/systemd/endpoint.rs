//! How to reach an instance of systemd.

use std::path::PathBuf;

use super::Instance;
use crate::error::{Error, ErrorKind};

/// An address of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// systemd's own socket: no daemon in between, and signals come without a subscription.
    Direct(PathBuf),
    /// A message bus, by its address (D-Bus specification, "Server Addresses").
    Bus(String),
}

impl Instance {
    /// Where to try, best first.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        match self {
            Self::System => vec![
                Endpoint::Direct("/run/systemd/private".into()),
                Endpoint::Bus("unix:path=/run/dbus/system_bus_socket".to_owned()),
            ],
            Self::User { runtime_dir, address, .. } => {
                let direct = runtime_dir.iter().map(|dir| Endpoint::Direct(dir.join("systemd/private")));
                let bus = runtime_dir.iter().map(|dir| {
                    let escaped: String = dir.join("bus").to_string_lossy().bytes().map(escape).collect();
                    Endpoint::Bus(format!("unix:path={escaped}"))
                });
                direct.chain(address.iter().map(|text| Endpoint::Bus(text.clone()))).chain(bus).collect()
            }
        }
    }

    /// The error for an instance that cannot be reached.
    pub(super) fn unreachable(&self, reasons: &[String]) -> Error {
        let what = "systemd cgroup flag passed, but systemd support for managing cgroups is not available";
        let reasons = if reasons.is_empty() { "no address is known".to_owned() } else { reasons.join("; ") };
        let error = Error::new(ErrorKind::Unsupported, format!("{what}: {reasons}"));
        match self {
            Self::System => {
                error.with_hint("is systemd the init of this machine? if it is not, use the cgroupfs driver")
            }
            Self::User { .. } => error.with_hint(
                "a session of the user's own systemd is needed, with XDG_RUNTIME_DIR set: log in anew, \
                 or run `loginctl enable-linger`",
            ),
        }
    }
}

/// Escapes a byte of a value in an address.
fn escape(byte: u8) -> String {
    let plain = byte.is_ascii_alphanumeric() || b"-_/.\\*".contains(&byte);
    if plain { char::from(byte).to_string() } else { format!("%{byte:02x}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemds_own_socket_comes_first() {
        assert_eq!(Instance::System.endpoints()[0], Endpoint::Direct("/run/systemd/private".into()));
        let user = Instance::User { uid: 1000, runtime_dir: Some("/run/user/1000".into()), address: None };
        let expected = [
            Endpoint::Direct("/run/user/1000/systemd/private".into()),
            Endpoint::Bus("unix:path=/run/user/1000/bus".into()),
        ];
        assert_eq!(user.endpoints(), expected);
        let nowhere = Instance::User { uid: 7, runtime_dir: None, address: None };
        assert_eq!(nowhere.endpoints(), []);
        let error = nowhere.unreachable(&[]).to_string();
        assert!(error.contains("XDG_RUNTIME_DIR") && error.contains("no address"), "{error}");
    }
}
