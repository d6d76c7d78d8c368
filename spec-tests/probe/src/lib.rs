//! The probe: a static program that runs inside a container and reports what it sees, so that neither the suite nor the
//! demo needs an image. Its source is in `program/`.

/// The program, ready to be written into a rootfs.
pub const PROBE: &[u8] = include_bytes!(env!("WHARF_PROBE"));
