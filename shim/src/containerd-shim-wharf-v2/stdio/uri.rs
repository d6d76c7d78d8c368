//! What the strings for the streams of a process mean.

use std::path::PathBuf;

/// The scheme of streams over the socket of a server.
const TTRPC: &str = "ttrpc+unix";

/// Where output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Each stream to its own fifo or file, or nowhere.
    Paths,
    /// Both streams to the end of one file.
    File(PathBuf),
    /// To a program that logs them.
    Logger(LoggerCommand),
    /// Each to its client, over the socket of the server.
    Remote,
}

/// A stream that a client carries over the socket of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteAddress {
    pub(crate) socket: PathBuf,
    pub(crate) id: String,
}

/// A program that logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoggerCommand {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    /// Whether it must confirm that it is ready (`binary-v2`); otherwise closing the descriptor is enough.
    pub(crate) must_confirm: bool,
}

/// Parses the string for standard output, which decides for both streams.
pub(crate) fn target(stdout: &str) -> Result<Target, String> {
    let Some((scheme, rest)) = stdout.split_once("://") else { return Ok(Target::Paths) };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    // None of these has a host.
    let path = PathBuf::from(decode(path, false)?);
    match scheme {
        "fifo" => Ok(Target::Paths),
        "file" if path.is_absolute() => Ok(Target::File(path)),
        "binary" | "binary-v2" if path.is_absolute() => Ok(Target::Logger(LoggerCommand {
            program: path,
            args: arguments(query)?,
            must_confirm: scheme == "binary-v2",
        })),
        "file" | "binary" | "binary-v2" => Err(format!("the path in {stdout:?} is not absolute")),
        TTRPC => Ok(Target::Remote),
        // containerd asks for what the shim has told it: ttrpc.
        other if other.starts_with("grpc+") => {
            Err(format!("unknown STDIO scheme {other}: the shim speaks ttrpc, not gRPC"))
        }
        other => Err(format!("unknown STDIO scheme {other}")),
    }
}

/// The address of one stream, if clients carry them; none if it leads nowhere.
pub(crate) fn remote(text: &str) -> Result<Option<RemoteAddress>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || format!("{text:?} is not of the form {TTRPC}://SOCKET?streaming_id=ID");
    let rest = text.strip_prefix(TTRPC).and_then(|rest| rest.strip_prefix("://")).ok_or_else(wrong)?;
    let (socket, query) = rest.split_once('?').ok_or_else(wrong)?;
    let id = query.split('&').find_map(|pair| pair.strip_prefix("streaming_id=")).ok_or_else(wrong)?;
    let id = decode(id, true)?;
    if id.is_empty() {
        return Err(wrong());
    }
    Ok(Some(RemoteAddress { socket: PathBuf::from(decode(socket, false)?), id }))
}

/// The path of one stream, if each has its own.
pub(crate) fn path(text: &str) -> Result<Option<PathBuf>, String> {
    match text.split_once("://") {
        None if text.is_empty() => Ok(None),
        None => Ok(Some(PathBuf::from(text))),
        Some(("fifo", path)) => decode(path, false).map(|path| Some(PathBuf::from(path))),
        Some((other, _)) => Err(format!("unknown STDIO scheme {other}")),
    }
}

/// A query as arguments: each name, followed by its value if that is not empty.
fn arguments(query: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        words.push(decode(name, true)?);
        if !value.is_empty() {
            words.push(decode(value, true)?);
        }
    }
    Ok(words)
}

/// Percent-decoding; in a query, a plus is a space.
fn decode(text: &str, query: bool) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                match (digit(), digit()) {
                    (Some(high), Some(low)) => (high << 4 | low) as u8,
                    _ => return Err(format!("invalid percent-encoding in {text:?}")),
                }
            }
            b'+' if query => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| format!("{text:?} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_of_stdout_decides() {
        for text in ["", "/run/x/stdout", "fifo:///run/x/stdout", "relative"] {
            assert_eq!(target(text), Ok(Target::Paths), "{text}");
        }
        assert_eq!(target("file:///var/log/a%20b.log"), Ok(Target::File("/var/log/a b.log".into())));
        let Ok(Target::Logger(logger)) = target("binary:///bin/log?id=a%3Db&verbose&x=1+2") else { panic!() };
        assert_eq!(logger.program, PathBuf::from("/bin/log"));
        assert_eq!(logger.args, ["id", "a=b", "verbose", "x", "1 2"]);
        assert!(!logger.must_confirm);
        assert!(matches!(target("binary-v2:///bin/log"), Ok(Target::Logger(logger)) if logger.must_confirm));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert_eq!(target("ttrpc+vsock://3:1"), Err("unknown STDIO scheme ttrpc+vsock".to_owned()));
        assert!(target("grpc+unix:///run/x?streaming_id=a").unwrap_err().contains("speaks ttrpc"));
        for text in
            ["ttrpc+unix:///run/x", "ttrpc+unix:///run/x?id=1", "ttrpc+unix:///run/x?streaming_id=", "/fifo"]
        {
            assert!(remote(text).is_err(), "{text}");
        }
        for text in ["file://relative", "binary://", "file:///%zz", "binary:///x?a=%4"] {
            assert!(target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn streams_over_the_socket_have_an_id() {
        assert_eq!(target("ttrpc+unix:///run/s/x?streaming_id=a-stdout"), Ok(Target::Remote));
        let remote = |text| remote(text).unwrap();
        assert_eq!(remote(""), None);
        let address = RemoteAddress { socket: "/run/s/x".into(), id: "a-stdin".to_owned() };
        assert_eq!(remote("ttrpc+unix:///run/s/x?a=b&streaming_id=a-stdin"), Some(address));
    }

    #[test]
    fn paths_of_single_streams() {
        assert_eq!(path(""), Ok(None));
        assert_eq!(path("/a?b"), Ok(Some("/a?b".into())));
        assert_eq!(path("fifo:///a%3Fb"), Ok(Some("/a?b".into())));
        assert!(path("file:///a").is_err());
    }
}
