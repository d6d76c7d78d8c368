//! What was counted before, and what may be counted now.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// How often each thing was done: system calls by name, or instructions.
pub type Counts = BTreeMap<String, u64>;

/// Growth that is no regression: an interrupted wait is repeated, a hash table has another layout.
const MARGIN_PERCENT: u64 = 2;
const MARGIN_CALLS: u64 = 3;

/// How a measurement compares with its limit.
#[derive(Debug, PartialEq, Eq)]
pub enum Judgement {
    /// As it was, within the margin.
    Same,
    /// Less by more than the margin: renew the limit, or it will let the next growth pass.
    Less(String),
    /// More by more than the margin, and where.
    More(String),
    /// There is no limit.
    Unknown,
}

/// The limits of one kind of host.
#[derive(Debug, Default)]
pub struct Limits {
    entries: BTreeMap<String, Counts>,
}

impl Limits {
    /// Reads those for hosts of a kind.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn read(path: &Path, kind: &str) -> Result<Self, String> {
        let mut this = Self::default();
        let file = parse(path)?;
        for (title, counts) in file["limits"][kind].as_object().into_iter().flatten() {
            let counts = counts.as_object().into_iter().flatten();
            let counts = counts.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect();
            this.entries.insert(title.clone(), counts);
        }
        Ok(this)
    }

    /// Replaces those of one kind of host, and keeps what could not be counted now.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written.
    pub fn renew(path: &Path, kind: &str, found: &[(String, Counts)]) -> Result<(), String> {
        let mut file = parse(path)?;
        let entries = file["limits"].as_object_mut().ok_or("no object /limits")?;
        let entries = entries.entry(kind).or_insert_with(|| json!({}));
        let entries: &mut Map<String, Value> =
            entries.as_object_mut().ok_or("a kind of host is no object")?;
        for (title, counts) in found {
            entries.insert(title.clone(), json!(counts));
        }
        let text = serde_json::to_string_pretty(&file).map_err(|error| error.to_string())?;
        fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Compares.
    pub fn judge(&self, title: &str, found: &Counts) -> Judgement {
        let Some(limit) = self.entries.get(title) else { return Judgement::Unknown };
        let (before, now): (u64, u64) = (limit.values().sum(), found.values().sum());
        let margin = (before * MARGIN_PERCENT / 100).max(MARGIN_CALLS);
        if now > before + margin {
            let grown = found.iter().filter_map(|(name, count)| {
                let before = limit.get(name).copied().unwrap_or(0);
                (*count > before).then(|| format!("{name} {count}, was {before}"))
            });
            let grown: Vec<_> = grown.collect();
            return Judgement::More(format!(
                "{now}, was {before}, may be {}: {}",
                before + margin,
                grown.join("; ")
            ));
        }
        if now + margin < before {
            return Judgement::Less(format!("{now}, was {before}"));
        }
        Judgement::Same
    }
}

fn parse(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(list: &[(&str, u64)]) -> Counts {
        list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn growth_is_told_with_the_calls_that_grew() {
        let limits =
            Limits { entries: [("run".to_owned(), counts(&[("open", 400), ("close", 100)]))].into() };
        let judge = |open, close| limits.judge("run", &counts(&[("open", open), ("close", close)]));
        assert_eq!(judge(400, 100), Judgement::Same);
        assert_eq!(judge(410, 100), Judgement::Same);
        assert_eq!(judge(390, 100), Judgement::Same);
        assert_eq!(judge(400, 111), Judgement::More("511, was 500, may be 510: close 111, was 100".into()));
        assert_eq!(judge(389, 100), Judgement::Less("489, was 500".into()));
        assert_eq!(limits.judge("exec", &counts(&[])), Judgement::Unknown);
        let new = limits.judge("run", &counts(&[("open", 400), ("close", 100), ("mount", 11)]));
        assert_eq!(new, Judgement::More("511, was 500, may be 510: mount 11, was 0".into()));
    }

    #[test]
    fn renewing_keeps_other_hosts_and_the_explanation() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("limits.json");
        fs::write(
            &path,
            r#"{"how": "so", "limits": {"v1": {"run": {"open": 1}}, "v2": {"run": {"open": 9}}}}"#,
        )
        .expect("written");
        Limits::renew(&path, "v1", &[("run".into(), counts(&[("open", 5)]))]).expect("renewed");
        let read = |kind| Limits::read(&path, kind).expect("readable").entries["run"].clone();
        assert_eq!((read("v1"), read("v2")), (counts(&[("open", 5)]), counts(&[("open", 9)])));
        assert!(fs::read_to_string(&path).expect("readable").contains("\"how\": \"so\""));
        Limits::renew(&path, "other", &[("exec".into(), counts(&[("open", 2)]))]).expect("renewed");
        assert_eq!(Limits::read(&path, "other").expect("readable").entries.len(), 1);
    }
}
