//! The command line: sections 3.1 to 3.6 of the checklist, numbered C1 to C10 as in this file.
//!
//! C1 commands and help, C2 global options, C3 create and run, C4 exec, C5 state, list, ps and spec, C6 log,
//! C7 events, C8 update, C9 pause and resume, C10 sockets and terminals.

pub(super) mod call;
pub(super) mod changing;
pub(super) mod exec;
pub(super) mod memory_kills;
pub(super) mod telling;
