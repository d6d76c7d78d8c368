//! How the options of a file system reach the kernel: one by one through fsconfig(2) or, if only that can express them,
//! as one text through mount(2).

use super::entry::Entry;
use super::overlay;
use crate::linux::lsm;
use crate::linux::mount::options::{LONGEST_DATA, LONGEST_VALUE, superblock};

/// Flags that fsconfig(2) has no word for.
const ONLY_MOUNT_CALL: u64 = superblock::I_VERSION | superblock::SILENT;

impl Entry<'_> {
    /// Whether a value belongs to an overlay, which fsconfig(2) takes only in another form.
    pub(super) fn is_layered(&self, key: &str, value: &str) -> bool {
        self.fs() == "overlay" && overlay::names_directories(key) && value.len() > LONGEST_VALUE
    }

    /// Why neither mount(2) nor fsconfig(2) can take the options, if that is so.
    pub(crate) fn too_long(&self) -> Option<String> {
        let length = self.data(None).len();
        (!self.is_bind() && self.only_mount_call(true) && length > LONGEST_DATA).then(|| {
            format!(
                "the options for the file system are {length} bytes long; the kernel takes {LONGEST_DATA}"
            )
        })
    }

    /// Whether fsconfig(2) cannot express the options, not even (`layered`) with each directory of an overlay by
    /// itself.
    fn only_mount_call(&self, layered: bool) -> bool {
        let long = |text: &str| text.len() > LONGEST_VALUE;
        self.options.superblock.set & ONLY_MOUNT_CALL != 0
            || self.options.data.iter().any(|(key, value)| {
                long(key)
                    || value
                        .as_ref()
                        .is_some_and(|value| long(value) && !(layered && self.is_layered(key, value)))
            })
    }

    /// The options for mount(2), if only that can express them. An overlay with more than mount(2) takes gets its
    /// directories one by one, as far as the kernel supports that.
    pub(super) fn data_of_mount_call(&self, label: Option<&str>) -> Option<String> {
        let data = self.only_mount_call(false).then(|| self.data(label))?;
        (data.len() <= LONGEST_DATA || self.only_mount_call(true)).then_some(data)
    }

    fn data(&self, label: Option<&str>) -> String {
        let words = self.options.data.iter().map(|(key, value)| match value {
            None => key.clone(),
            // A context has commas.
            Some(value) if lsm::CONTEXTS.contains(&key.as_str()) => format!("{key}=\"{value}\""),
            Some(value) => format!("{key}={value}"),
        });
        let label = label.map(|label| format!("{}=\"{label}\"", lsm::CONTEXT));
        words.chain(label).collect::<Vec<_>>().join(",")
    }
}
