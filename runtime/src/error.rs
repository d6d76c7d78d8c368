//! The crate's one error type: made where the failure happens, with everything an operator needs to act on it.

use std::borrow::Cow;
use std::fmt;

use nix::errno::Errno;
use nix::sys::signal::Signal;

/// The result of every operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, on which object, why, where in `config.json`, and what to do about it.
///
/// `Display` prints one sentence: the failed action with its operands, the kernel's reason, the JSON pointer of the
/// responsible property and a hint, as far as they are known. Callers match on [`Error::kind`]; the sentence keeps the
/// words that container managers look for in the output of runc.
pub struct Error(Box<Parts>);

struct Parts {
    kind: ErrorKind,
    what: String,
    errno: Option<Errno>,
    pointer: Option<String>,
    /// The document that the pointer refers to, if it is not config.json.
    document: Option<Box<str>>,
    hint: Option<Cow<'static, str>>,
}

/// The class of an [`Error`], for programs that react to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The container id has characters that are not allowed, or is too long.
    InvalidId,
    /// `config.json` (or a process or resources document) is malformed or contradicts itself.
    InvalidSpec,
    /// A container with this id exists already.
    Exists,
    /// No container with this id exists.
    NotFound,
    /// The container is not in a state that allows the operation.
    WrongState,
    /// The request is valid, but this kernel, machine or build cannot honour it.
    Unsupported,
    /// The kernel refused for lack of a privilege.
    Permission,
    /// The program named by `process.args` cannot be executed.
    Exec,
    /// A hook failed or ran out of time.
    Hook,
    /// Another operation holds the container's lock, or a bounded wait ran out.
    Timeout,
    /// The caller cancelled the operation.
    Cancelled,
    /// A state file cannot be parsed.
    Corrupt,
    /// Any other failed system call.
    System,
}

impl Error {
    /// An error that did not come from a system call.
    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            what: what.into(),
            errno: None,
            pointer: None,
            document: None,
            hint: None,
        }))
    }

    /// A value that no machine can honour; an empty pointer is that of the whole document.
    pub(crate) fn invalid(pointer: impl Into<String>, what: impl Into<String>) -> Self {
        let mut error = Self::new(ErrorKind::InvalidSpec, what);
        error.0.pointer = Some(pointer.into()).filter(|pointer| !pointer.is_empty());
        error
    }

    /// A value that this machine cannot honour.
    pub(crate) fn unsupported(pointer: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, what).at(pointer)
    }

    /// A failed system call: `what` names the action and its operands.
    pub(crate) fn os(errno: Errno, what: impl Into<String>) -> Self {
        let kind = match errno {
            Errno::EPERM | Errno::EACCES => ErrorKind::Permission,
            Errno::ENOSYS | Errno::EOPNOTSUPP => ErrorKind::Unsupported,
            _ => ErrorKind::System,
        };
        let needed =
            "wharf needs a system call of Linux 5.14 that the kernel, or a filter around it, does not allow";
        let hint = (errno == Errno::ENOSYS).then(|| needed.into());
        Self(Box::new(Parts {
            kind,
            what: what.into(),
            errno: Some(errno),
            pointer: None,
            document: None,
            hint,
        }))
    }

    /// A failed operation of the standard library.
    pub(crate) fn io(error: &std::io::Error, what: impl Into<String>) -> Self {
        match error.raw_os_error() {
            Some(raw) => Self::os(Errno::from_raw(raw), what),
            None => Self::new(ErrorKind::System, format!("{}: {error}", what.into())),
        }
    }

    /// Names the property of `config.json` that is responsible, as an RFC 6901 pointer.
    #[must_use]
    pub(crate) fn at(mut self, pointer: impl Into<String>) -> Self {
        self.0.pointer.get_or_insert(pointer.into());
        self
    }

    /// Says what the operator can do.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint.get_or_insert(hint.into());
        self
    }

    /// Says that the configuration came from a document other than `config.json`. That document holds what
    /// `config.json` has at `part` (`/process` for an exec), so pointers into that part refer to it.
    #[must_use]
    pub fn in_document(mut self, name: &str, part: &str) -> Self {
        if let Some(pointer) = &mut self.0.pointer {
            if let Some(rest) =
                pointer.strip_prefix(part).filter(|rest| rest.is_empty() || rest.starts_with('/'))
            {
                *pointer = rest.to_owned();
            }
            self.0.document.get_or_insert(name.into());
        }
        self
    }

    /// The error of an operation that its caller cancelled.
    pub(crate) fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "the caller cancelled the operation")
    }

    /// Adds to a failed wait why a child of this process may have no exit status.
    pub(crate) fn explain_no_child(self) -> Self {
        if self.errno() == Some(libc::ECHILD) {
            self.with_hint(
                "another part of this process took its exit status, or the process ignores SIGCHLD",
            )
        } else {
            self
        }
    }

    /// Puts the larger operation in front of the sentence.
    #[must_use]
    pub(crate) fn during(mut self, operation: impl fmt::Display) -> Self {
        self.0.what = format!("{operation}: {}", self.0.what);
        self
    }

    /// Replaces the class.
    #[must_use]
    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The action, the kernel's reason, the place if it is given, and the hint.
    pub(crate) fn sentence(&self, place: Option<&str>) -> String {
        let errno = self.0.errno.map(|errno| format!(": {}", errno_text(errno))).unwrap_or_default();
        let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
        let hint = self.0.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        format!("{}{errno}{place}{hint}", self.0.what)
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The errno of the system call that failed, if one did.
    pub fn errno(&self) -> Option<i32> {
        self.0.errno.map(|errno| errno as i32)
    }

    /// The RFC 6901 pointer of the responsible property in `config.json` (or in the other document that the values came
    /// from), for example `/mounts/3/options/1`.
    pub fn pointer(&self) -> Option<&str> {
        self.0.pointer.as_deref()
    }

    /// What the operator can do about it.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Callers match the message for a program that cannot run up to its end, and it says where by itself.
        let pointer = self.0.pointer.as_ref().filter(|_| self.0.kind != ErrorKind::Exec);
        let document = self.0.document.as_deref().unwrap_or("config.json");
        f.write_str(&self.sentence(pointer.map(|pointer| format!("{document} {pointer}")).as_deref()))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("what", &self.0.what)
            .field("errno", &self.0.errno)
            .field("pointer", &self.0.pointer)
            .field("hint", &self.0.hint)
            .finish()
    }
}

impl std::error::Error for Error {}

/// The text of an errno as runc (Go) prints it: lower case at the start. Podman and Docker search for these words to
/// decide between the exit codes 125, 126 and 127.
pub(crate) fn errno_text(errno: Errno) -> String {
    let text = match errno {
        Errno::EIO => "input/output error",
        other => other.desc(),
    };
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            format!("{}{}", first.to_ascii_lowercase(), &text[first.len_utf8()..])
        }
        _ => text.to_owned(),
    }
}

/// The text of a signal that ended a process, as Go prints it.
pub(crate) fn signal_text(signal: i32) -> String {
    let name = match Signal::try_from(signal) {
        Ok(Signal::SIGHUP) => "hangup",
        Ok(Signal::SIGINT) => "interrupt",
        Ok(Signal::SIGQUIT) => "quit",
        Ok(Signal::SIGILL) => "illegal instruction",
        Ok(Signal::SIGTRAP) => "trace/breakpoint trap",
        Ok(Signal::SIGABRT) => "aborted",
        Ok(Signal::SIGBUS) => "bus error",
        Ok(Signal::SIGFPE) => "floating point exception",
        Ok(Signal::SIGKILL) => "killed",
        Ok(Signal::SIGSEGV) => "segmentation fault",
        Ok(Signal::SIGPIPE) => "broken pipe",
        Ok(Signal::SIGALRM) => "alarm clock",
        Ok(Signal::SIGTERM) => "terminated",
        Ok(Signal::SIGXCPU) => "CPU time limit exceeded",
        Ok(Signal::SIGXFSZ) => "file size limit exceeded",
        Ok(Signal::SIGSYS) => "bad system call",
        _ => return format!("signal: {signal}"),
    };
    format!("signal: {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentence_has_every_part_once() {
        let error = Error::os(Errno::EINVAL, "mount tmpfs on /dev")
            .at("/mounts/1/options/3")
            .with_hint("tmpfs has no option \"sizee\"");
        assert_eq!(
            error.to_string(),
            "mount tmpfs on /dev: invalid argument (config.json /mounts/1/options/3); tmpfs has no option \"sizee\""
        );
        assert_eq!(error.kind(), ErrorKind::System);
    }

    #[test]
    fn a_pointer_leads_into_the_document_that_holds_the_property() {
        let error = |pointer: &str| Error::new(ErrorKind::InvalidSpec, "wrong").at(pointer);
        for (error, sentence) in [
            (error("/process/cwd").in_document("p.json", "/process"), "wrong (p.json /cwd)"),
            (error("/cwd").in_document("p.json", "/process"), "wrong (p.json /cwd)"),
            (error("/processes").in_document("p.json", "/process"), "wrong (p.json /processes)"),
            (Error::new(ErrorKind::Exec, "wrong").in_document("p.json", "/process"), "wrong"),
        ] {
            assert_eq!(error.to_string(), sentence);
        }
    }

    #[test]
    fn errno_words_are_those_that_managers_look_for() {
        assert_eq!(errno_text(Errno::ENOENT), "no such file or directory");
        assert_eq!(errno_text(Errno::EACCES), "permission denied");
        assert_eq!(errno_text(Errno::EPERM), "operation not permitted");
        assert_eq!(errno_text(Errno::ENOEXEC), "exec format error");
    }
}
