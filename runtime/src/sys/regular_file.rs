//! Reads a regular file with as few calls as possible.

use std::fs::File;
use std::io::{self, Read as _};

/// Reads at most `most` bytes. `size` is the expected size; a file that grows in the meantime is read to its end.
///
/// A regular file returns fewer bytes than were asked for only at its end (read(2)), so asking for one more than
/// expected saves the call that would find nothing.
pub(crate) fn read(file: &File, size: u64, most: u64) -> io::Result<Vec<u8>> {
    let expected = usize::try_from(size.min(most)).unwrap_or(0);
    let mut bytes = vec![0; expected + 1];
    let filled = loop {
        match (&mut &*file).take(most).read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    bytes.truncate(filled);
    if filled > expected {
        file.take(most - filled as u64).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn all_is_read_whatever_the_size_was_said_to_be() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let content: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
        file.write_all(&content).expect("write");
        for said in [0, 1, 4096, 99_999, 100_000, 100_001, u64::MAX] {
            let file = file.reopen().expect("open");
            assert!(read(&file, said, 1 << 20).expect("read") == content, "{said}");
        }
    }

    #[test]
    fn no_more_than_the_most_is_read() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"0123456789").expect("write");
        for (said, most) in [(10, 4), (0, 4), (3, 4), (10, 9), (10, 10), (10, 11), (0, 0)] {
            let file = file.reopen().expect("open");
            let expected = &b"0123456789"[..(most as usize).min(10)];
            assert_eq!(read(&file, said, most).expect("read"), expected, "{said} {most}");
        }
    }
}
