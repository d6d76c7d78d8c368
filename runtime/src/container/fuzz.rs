//! What the library reads back from its own files, and the files of an image, for fuzz targets.

use std::hint::black_box;

use super::record::Record;
use super::{store, users};
use crate::cgroup::CgroupRecord;
use crate::linux::mount::added::AddedMount;
use crate::linux::net_device;

/// A document that was written before says the same when it is written and read again.
pub(crate) fn records(bytes: &[u8]) {
    let record = Record::parse(bytes).or_else(|| store::parse_intent(bytes));
    if let Some(json) = record.and_then(|record| record.to_json().ok()) {
        let again = Record::parse(&json).and_then(|record| record.to_json().ok());
        assert_eq!(again.as_deref(), Some(&*json), "a record changed when it was written again");
    }
    black_box(serde_json::from_slice::<Vec<AddedMount>>(bytes).ok());
    black_box(serde_json::from_slice::<CgroupRecord>(bytes).ok());
    black_box(serde_json::from_slice::<net_device::Intent>(bytes).ok());
}

/// The wanted user, then `/etc/passwd` and `/etc/group`, with a NUL between them. No text that is no number is ever
/// taken for an id.
pub(crate) fn users(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.splitn(3, '\0');
    let [wanted, passwd, group] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let Ok(user) = users::resolve(wanted, || Ok(passwd.to_owned()), || Ok(group.to_owned())) else { return };
    let name = wanted.split(':').next().unwrap_or_default();
    let has = |file: &str, id: u32, field: usize| {
        file.lines().any(|line| line.split(':').nth(field).is_some_and(|text| text.parse() == Ok(id)))
    };
    assert!(name.parse() == Ok(user.uid) || has(passwd, user.uid, 2), "a user id from nowhere");
    let explicit = wanted.split_once(':').is_some_and(|(_, group)| group.parse() == Ok(user.gid));
    let known = name.parse::<u32>().is_ok() || has(passwd, user.gid, 3) || has(group, user.gid, 2);
    assert!(explicit || known, "a group id from nowhere");
    assert!(user.additional_gids.iter().all(|gid| has(group, *gid, 2)), "a further group from nowhere");
    assert!([user.uid, user.gid].iter().all(|id| *id != u32::MAX), "the id that means no change");
}
