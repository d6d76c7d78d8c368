//! The command line that containerd gives a shim, in the style of Go's package `flag`.

use std::ffi::OsString;

/// The exit code for an invalid command line, as in Go programs.
pub(crate) const USAGE_ERROR: u8 = 2;

/// What the command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Args {
    /// containerd's namespace.
    pub(crate) namespace: String,
    /// The socket of containerd's own API, which distinguishes one containerd from another.
    pub(crate) address: String,
    /// The id of the container, or of the first one in a group.
    pub(crate) id: String,
    /// The bundle to clean up.
    pub(crate) bundle: String,
    /// Where to listen, instead of the group's usual path.
    pub(crate) socket: String,
    /// Whether to log everything.
    pub(crate) debug: bool,
    /// `-v`.
    pub(crate) version: bool,
    /// `-info`.
    pub(crate) info: bool,
    /// What to do: `start`, `delete`, or, if empty, serve.
    pub(crate) action: String,
}

enum Flag<'a> {
    Text(&'a mut String),
    Switch(&'a mut bool),
    /// Accepted because daemons pass it, and not used here.
    Ignored,
}

/// Parses a command line without the name of the program.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Args, String> {
    let mut args = Args::default();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let word = word.into_string().map_err(|word| format!("{} is not UTF-8", word.display()))?;
        let Some(flag) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            args.action = word;
            break;
        };
        let flag = flag.strip_prefix('-').unwrap_or(flag);
        if flag.is_empty() {
            // `--` ends the flags.
            args.action = words.next().and_then(|word| word.into_string().ok()).unwrap_or_default();
            break;
        }
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        match args.flag(name).ok_or_else(|| format!("flag provided but not defined: -{name}"))? {
            Flag::Switch(switch) => *switch = switch_value(name, value.as_deref())?,
            Flag::Text(text) => *text = text_value(name, value, &mut words)?,
            Flag::Ignored => drop(text_value(name, value, &mut words)?),
        }
    }
    Ok(args)
}

impl Args {
    fn flag(&mut self, name: &str) -> Option<Flag<'_>> {
        Some(match name {
            "namespace" => Flag::Text(&mut self.namespace),
            "address" => Flag::Text(&mut self.address),
            "id" => Flag::Text(&mut self.id),
            "bundle" => Flag::Text(&mut self.bundle),
            "socket" => Flag::Text(&mut self.socket),
            "debug" => Flag::Switch(&mut self.debug),
            "v" | "version" => Flag::Switch(&mut self.version),
            "info" => Flag::Switch(&mut self.info),
            "publish-binary" | "debug-socket" => Flag::Ignored,
            _ => return None,
        })
    }
}

fn text_value(
    name: &str,
    value: Option<String>,
    words: &mut impl Iterator<Item = OsString>,
) -> Result<String, String> {
    if let Some(value) = value {
        return Ok(value);
    }
    let word = words.next().ok_or_else(|| format!("flag needs an argument: -{name}"))?;
    word.into_string().map_err(|word| format!("the argument {} of -{name} is not UTF-8", word.display()))
}

fn switch_value(name: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(value) => Err(format!("invalid boolean value {value:?} for -{name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Args, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn what_containerd_passes() {
        let line = "-namespace k8s.io -address /run/containerd/containerd.sock -publish-binary /usr/bin/containerd -id web -debug start";
        let args = parsed(line).unwrap();
        assert_eq!((args.namespace.as_str(), args.id.as_str()), ("k8s.io", "web"));
        assert_eq!((args.action.as_str(), args.debug), ("start", true));
        let args = parsed("--namespace=default --id=a=b -bundle /b delete -x").unwrap();
        assert_eq!(
            (args.namespace.as_str(), args.id.as_str(), args.bundle.as_str()),
            ("default", "a=b", "/b")
        );
        assert_eq!(args.action, "delete");
    }

    #[test]
    fn switches_take_values_only_after_an_equals_sign() {
        assert!(!parsed("-debug=false start").unwrap().debug);
        assert_eq!(parsed("-debug false").unwrap().action, "false");
        assert!(parsed("-v").unwrap().version && parsed("--version").unwrap().version);
        assert!(parsed("-info").unwrap().info);
        assert!(parsed("-debug=maybe").is_err());
    }

    #[test]
    fn what_is_unknown_or_incomplete_is_refused() {
        assert_eq!(parsed("-nope start").unwrap_err(), "flag provided but not defined: -nope");
        assert_eq!(parsed("-id").unwrap_err(), "flag needs an argument: -id");
        assert_eq!(parsed("-- start").unwrap().action, "start");
        assert_eq!(parsed("").unwrap(), Args::default());
    }
}
