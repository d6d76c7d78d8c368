//! The directories of an overlay, one by one.
//!
//! mount(2) takes all lower directories in one option, separated by colons; a page holds some forty of an image store.
//! fsconfig(2) takes one at a time (Linux 6.8), and also by descriptor (Linux 6.13).

/// Whether an option names directories.
pub(super) fn names_directories(key: &str) -> bool {
    matches!(key, "lowerdir" | "upperdir" | "workdir" | "lowerdir+" | "datadir+")
}

/// Splits an option into options of one directory each, without the backslashes that mount(2) needs. Directories after
/// `::` hold only data.
pub(super) fn directories(key: &str, value: &str) -> Vec<(&'static str, String)> {
    match key {
        "upperdir" => return vec![("upperdir", unescaped(value))],
        "workdir" => return vec![("workdir", unescaped(value))],
        // These have always been one directory each, and have no escapes.
        "datadir+" => return vec![("datadir+", value.to_owned())],
        "lowerdir+" => return vec![("lowerdir+", value.to_owned())],
        _ => {}
    }
    let mut all = Vec::new();
    let (mut key, mut directory, mut escaped) = ("lowerdir+", String::new(), false);
    let mut rest = value.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            ':' if !escaped => {
                all.push((key, std::mem::take(&mut directory)));
                if rest.next_if_eq(&':').is_some() {
                    key = "datadir+";
                }
            }
            c => directory.push(c),
        }
        escaped = false;
    }
    all.push((key, directory));
    all
}

fn unescaped(value: &str) -> String {
    let mut escaped = false;
    value
        .chars()
        .filter(|c| {
            escaped = *c == '\\' && !escaped;
            !escaped
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(value: &str) -> Vec<(&'static str, String)> {
        directories("lowerdir", value)
    }

    #[test]
    fn layers_come_in_their_order() {
        let lower = |all: &[&str]| all.iter().map(|one| ("lowerdir+", (*one).to_owned())).collect::<Vec<_>>();
        assert_eq!(split("/a"), lower(&["/a"]));
        assert_eq!(split("/a:/b:/c"), lower(&["/a", "/b", "/c"]));
        assert_eq!(split(r"/a\:b:/c\\:/d\,e"), lower(&["/a:b", r"/c\", "/d,e"]));
        // The kernel refuses an empty one.
        assert_eq!(split("/a:"), lower(&["/a", ""]));
    }

    #[test]
    fn data_layers_come_last() {
        let all = split("/a:/b::/c::/d");
        let keys: Vec<_> = all.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["lowerdir+", "lowerdir+", "datadir+", "datadir+"]);
    }

    #[test]
    fn the_upper_directory_loses_its_backslashes() {
        assert_eq!(directories("upperdir", r"/a\:b\\c"), [("upperdir", r"/a:b\c".to_owned())]);
    }
}
