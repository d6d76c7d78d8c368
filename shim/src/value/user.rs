//! The `UID[:GID]` of `exec --user`, read strictly.
//!
//! A number that does not fit must never wrap around (`4294967296` to root), and never be tried as a name, which could
//! be in the image's passwd file.

use crate::failure::Failure;

/// The user that a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UserSpec {
    /// Nothing has to be looked up.
    Numeric {
        /// The user id inside the container.
        uid: u32,
        /// The group id inside the container, if one is given.
        gid: Option<u32>,
    },
    /// At least one half is a name, to be resolved with the container's own files.
    Named(String),
}

/// Parses `USER[:GROUP]`.
pub(crate) fn parse(text: &str) -> Result<UserSpec, Failure> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let uid = half(user).map_err(|reason| invalid(text, reason))?;
    let gid = group.map(half).transpose().map_err(|reason| invalid(text, reason))?;
    Ok(match (uid, gid) {
        (Some(uid), None) => UserSpec::Numeric { uid, gid: None },
        (Some(uid), Some(Some(gid))) => UserSpec::Numeric { uid, gid: Some(gid) },
        _ => UserSpec::Named(text.to_owned()),
    })
}

/// Parses the argument of `--additional-gids`.
pub(crate) fn parse_gid(text: &str) -> Result<u32, Failure> {
    match half(text) {
        Ok(Some(gid)) => Ok(gid),
        Ok(None) => Err(Failure::new(format!("invalid additional gid {text:?}: not a number"))),
        Err(reason) => Err(Failure::new(format!("invalid additional gid {text:?}: {reason}"))),
    }
}

fn invalid(text: &str, reason: &str) -> Failure {
    Failure::new(format!("invalid user {text:?}: {reason}"))
}

/// A number, or `None` if it can be a name.
fn half(text: &str) -> Result<Option<u32>, &'static str> {
    if text.is_empty() {
        return Err("a user or group is empty");
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // 4294967295 is (uid_t) -1, with which setresuid(2) changes nothing.
        return match text.parse::<u32>() {
            Ok(number) if number != u32::MAX => Ok(Some(number)),
            _ => Err("the number is larger than 4294967294"),
        };
    }
    if text.starts_with(['-', '+']) {
        return Err("a number has no sign, and a name starts with neither - nor +");
    }
    if text.contains(|c: char| c == ':' || c == ',' || c == '/' || c.is_whitespace() || c.is_control()) {
        return Err("a name has no colon, comma, slash, blank or control character");
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_and_names_are_told_apart() {
        assert_eq!(parse("0").unwrap(), UserSpec::Numeric { uid: 0, gid: None });
        assert_eq!(parse("1000:5").unwrap(), UserSpec::Numeric { uid: 1000, gid: Some(5) });
        assert_eq!(parse("4294967294").unwrap(), UserSpec::Numeric { uid: 4_294_967_294, gid: None });
        assert_eq!(parse("0010").unwrap(), UserSpec::Numeric { uid: 10, gid: None });
        for name in ["www-data", "1000:staff", "nobody:0", "1a", "a.b_c"] {
            assert_eq!(parse(name).unwrap(), UserSpec::Named(name.to_owned()));
        }
    }

    #[test]
    fn nothing_becomes_root_by_accident() {
        for text in [
            "",
            ":",
            "0:",
            ":0",
            "-1",
            "+1",
            "-0",
            "4294967295",
            "4294967296",
            "1:4294967295",
            "18446744073709551616",
            "1:2:3",
            " 0",
            "0 ",
            "0\n",
            "root\n",
            "a/b",
            "a:b:c",
            "1:-1",
            "99999999999999999999999999",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        for text in ["", "-1", "4294967295", "staff", "4294967296"] {
            assert!(parse_gid(text).is_err(), "{text:?}");
        }
        assert_eq!(parse_gid("27").unwrap(), 27);
    }

    proptest! {
        #[test]
        fn a_number_is_itself_or_an_error(number in any::<u64>()) {
            match parse(&number.to_string()) {
                Ok(UserSpec::Numeric { uid, gid: None }) => prop_assert_eq!(u64::from(uid), number),
                Ok(other) => prop_assert!(false, "{other:?}"),
                Err(_) => prop_assert!(number >= u64::from(u32::MAX)),
            }
        }
    }
}
