//! User names: looked up in the container's own passwd and group files, which are read as hostile input.

use std::io::Read as _;
use std::path::PathBuf;

use super::handle::Container;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::path;

/// How much of a file is read at most.
const MOST_BYTES: u64 = 1 << 20;

/// A user of a container, for an exec.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecUser {
    /// User id inside the container.
    pub uid: u32,
    /// Group id inside the container.
    pub gid: u32,
    /// Supplementary groups: those whose member lists name the user.
    pub additional_gids: Vec<u32>,
    /// The home directory, if the passwd file has the user.
    pub home: Option<PathBuf>,
}

impl Container {
    /// Finds a user by `USER[:GROUP]`, each a number or a name from the container's own files.
    ///
    /// All digits mean a number, which is never looked up as a name (CVE-2016-3697); it must fit into 32 bits and not
    /// be the kernel's "no change" value.
    ///
    /// # Errors
    ///
    /// `ErrorKind::InvalidSpec` if a number is out of range or a name is unknown; `ErrorKind::WrongState` if the container is
    /// stopped.
    pub fn lookup_user(&self, text: &str) -> Result<ExecUser> {
        if self.init()?.is_none() {
            return Err(self.not_running());
        }
        let read = |file: &str| match self.read_inside(file) {
            // Images without users need no such files.
            Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(String::new()),
            other => other,
        };
        resolve(text, || read("/etc/passwd"), || read("/etc/group"))
    }

    fn read_inside(&self, file: &str) -> Result<String> {
        let pid = self.pid().unwrap_or(0);
        let context = |what: &str| format!("{what} {file} of container {:?}", self.id().as_str());
        let root = std::fs::File::open(format!("/proc/{pid}/root"))
            .map_err(|error| Error::io(&error, context("find")))?;
        let opened =
            path::open_regular_in_root(&root, file).map_err(|errno| Error::os(errno, context("open")))?;
        let mut bytes = Vec::new();
        opened
            .take(MOST_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::io(&error, context("read")))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

pub(super) fn resolve(
    text: &str,
    passwd: impl FnOnce() -> Result<String>,
    group: impl FnOnce() -> Result<String>,
) -> Result<ExecUser> {
    let (user, wanted_group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let number = number(user)?;
    let passwd = passwd()?;
    let line = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
        fields.len() >= 6
            && number.map_or_else(
                || fields[0] == user,
                |uid| matches!(self::number(fields[2]), Ok(Some(id)) if id == uid),
            )
    });
    let uid = match (number, &line) {
        (Some(uid), _) => uid,
        (None, Some(fields)) => id_in("passwd", fields, 2)?,
        (None, None) => return Err(unknown("user", user)),
    };
    let groups = group()?;
    let members: Vec<Vec<&str>> = groups
        .lines()
        .map(|line| line.split(':').collect())
        .filter(|fields: &Vec<_>| fields.len() >= 4)
        .collect();
    let gid = match wanted_group {
        Some(wanted) => match self::number(wanted)? {
            Some(gid) => gid,
            None => match members.iter().find(|fields| fields[0] == wanted) {
                Some(fields) => id_in("group", fields, 2)?,
                None => return Err(unknown("group", wanted)),
            },
        },
        None => line.as_ref().map_or(Ok(0), |fields| id_in("passwd", fields, 3))?,
    };
    let name = line.as_ref().map(|fields| fields[0]);
    let additional_gids = match (wanted_group, name) {
        // A named group replaces the list.
        (Some(_), _) | (None, None) => Vec::new(),
        (None, Some(name)) => members
            .iter()
            .filter(|fields| fields[3].split(',').any(|member| member == name))
            .map(|fields| id_in("group", fields, 2))
            .collect::<Result<_>>()?,
    };
    let home = line.as_ref().map(|fields| PathBuf::from(fields[5])).filter(|home| home.is_absolute());
    Ok(ExecUser { uid, gid, additional_gids, home })
}

/// An id in a line of the image's files. Text that is no number is never taken for an id, least of all root's.
fn id_in(file: &str, fields: &[&str], index: usize) -> Result<u32> {
    let text = fields.get(index).copied().unwrap_or_default();
    let invalid = || {
        let name = fields.first().copied().unwrap_or_default();
        Error::new(
            ErrorKind::InvalidSpec,
            format!("the container's {file} file has no valid id for {name:?}: {text:?} is not a number from 0 to 4294967294"),
        )
        .with_hint("give both as numbers, UID:GID")
    };
    number(text).ok().flatten().ok_or_else(invalid)
}

/// Parses a text as an id; none if it is a name; an error if it is a number that no id can have.
fn number(text: &str) -> Result<Option<u32>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id != u32::MAX && digits.len() == text.len() => Ok(Some(id)),
        _ => Err(Error::new(
            ErrorKind::InvalidSpec,
            format!("{text:?} is not a valid id: ids are numbers from 0 to 4294967294"),
        )),
    }
}

fn unknown(kind: &str, name: &str) -> Error {
    Error::new(
        ErrorKind::InvalidSpec,
        format!("unable to find {kind} {name}: no matching entries in the container's {kind} file"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n1000:x:0:0::/evil:/bin/sh\nweb:x:33:44::/srv:/bin/sh\n4294967296:x:0:0::/:\n";
    const GROUP: &str = "root:x:0:\nweb:x:44:\nlogs:x:50:web,x\n";

    fn find(text: &str) -> Result<ExecUser> {
        resolve(text, || Ok(PASSWD.to_owned()), || Ok(GROUP.to_owned()))
    }

    #[test]
    fn names_numbers_and_groups() {
        let web = find("web").expect("a user");
        assert_eq!(
            (web.uid, web.gid, web.additional_gids, web.home),
            (33, 44, vec![50], Some("/srv".into()))
        );
        let web = find("web:logs").expect("a user");
        assert_eq!((web.uid, web.gid, web.additional_gids), (33, 50, vec![]));
        let number = find("1000").expect("a number is never a name");
        assert_eq!((number.uid, number.gid, number.home), (1000, 0, None));
        assert_eq!(find("33:7").map(|user| (user.uid, user.gid)).expect("numbers"), (33, 7));
    }

    #[test]
    fn an_id_of_the_image_that_is_no_number_is_never_taken_for_another() {
        for (passwd, group, text) in [
            ("web:x:33:staff::/:", "", "web"),
            ("web:x:33:::/:", "", "web"),
            ("web:x:33:-1::/:", "", "web"),
            ("web:x:33:4294967296::/:", "", "web"),
            ("web:x:33:4294967295::/:", "", "33"),
            ("web:x::44::/:", "", "web"),
            ("web:x:+0:44::/:", "", "web"),
            ("web:x:33:44::/:", "logs:x:many:", "web:logs"),
            ("web:x:33:44::/:", "logs:x::web", "web"),
            ("web:x:33:44::/:", "logs:x:4294967295:web", "web"),
        ] {
            let found = resolve(text, || Ok(passwd.to_owned()), || Ok(group.to_owned()));
            let error = found.expect_err(passwd).to_string();
            assert!(error.contains("not a number"), "{error}");
        }
        // Another user's line does not matter.
        let others = "bad:x:no:no::/:\nweb:x:33:44::/:";
        assert_eq!(
            resolve("web", || Ok(others.to_owned()), || Ok("x:x:y:z".to_owned())).expect("web").gid,
            44
        );
    }

    #[test]
    fn numbers_that_no_id_can_have_are_refused() {
        for text in ["-1", "4294967295", "4294967296", "+5", "99999999999999999999", "0:-1", "0:4294967295"] {
            assert!(find(text).is_err(), "{text}");
        }
        assert!(find("nobody").is_err());
        assert!(find("web:nogroup").is_err());
    }
}
