//! Messages of a child for fuzz targets.

use std::hint::black_box;

use oci_spec::runtime::Spec;

use super::failure::{describe, describe_late, warning};
use crate::child::message::Message;
use crate::program::Program;

/// A packet, as the failure of an operation of the program, and as one after the start.
pub(crate) fn message(bytes: &[u8], program: &Program, spec: &Spec) {
    let Some(message) = Message::decode(bytes) else { return };
    assert_eq!(message.encode(), *bytes, "a message changed");
    black_box(describe(program, message, None).to_string());
    black_box(warning(program, message));
    black_box(describe_late(spec, message, None).to_string());
}
