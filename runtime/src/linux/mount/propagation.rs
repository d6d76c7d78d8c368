//! Propagation types, by the words of mount options and of `rootfsPropagation`.

/// One mount, or the whole tree below it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    One,
    Tree,
}

/// A propagation type of `mount_namespaces(7)`, and how far it reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Propagation {
    pub(crate) typ: PropagationType,
    pub(crate) reach: Reach,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PropagationType {
    Private,
    Shared,
    Slave,
    Unbindable,
}

impl Propagation {
    /// The type that a word stands for, in `mounts[].options` and in `rootfsPropagation`.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        let (reach, name) = match word.strip_prefix('r') {
            Some(name) => (Reach::Tree, name),
            None => (Reach::One, word),
        };
        let typ = match name {
            "private" => PropagationType::Private,
            "shared" => PropagationType::Shared,
            "slave" => PropagationType::Slave,
            "unbindable" => PropagationType::Unbindable,
            _ => return None,
        };
        Some(Self { typ, reach })
    }
}
