//! Loop devices: a file as a block device (loop(4)).

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::error::{Error, Result};

const CONTROL: &str = "/dev/loop-control";
// linux/loop.h
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

mod ioctl {
    #![allow(missing_docs)]
    nix::ioctl_none_bad!(loop_ctl_get_free, 0x4c82);
    nix::ioctl_write_ptr_bad!(loop_configure, 0x4c0a, super::Config);
}

/// How often to ask for a free device if others keep taking it first.
const TRIES: usize = 100;

/// `struct loop_info64`.
#[repr(C)]
#[derive(Default)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    /// The names and the encryption key: bytes, but only the length matters here.
    unused: [u64; 8 + 8 + 4],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
#[derive(Default)]
struct Config {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// A block device with the content of a file. The kernel frees it once neither this nor a mount has it open.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    _open: File,
}

impl LoopDevice {
    /// Makes a device from a file, or from another block device.
    ///
    /// # Errors
    ///
    /// `ErrorKind::NotFound` without the file or /dev/loop-control, `ErrorKind::Permission` without `CAP_SYS_ADMIN`,
    /// `ErrorKind::System` if the kernel has no device left.
    pub fn attach(file: &Path, read_only: bool) -> Result<Self> {
        let open = |path: &Path, write: bool| {
            OpenOptions::new()
                .read(true)
                .write(write)
                .open(path)
                .map_err(|error| Error::io(&error, format!("open {}", path.display())))
        };
        let backing = open(file, !read_only)?;
        let control = open(Path::new(CONTROL), true)?;
        let config = Config::of(&backing, read_only);
        for _ in 0..TRIES {
            // SAFETY: the request takes no argument.
            let number = unsafe { ioctl::loop_ctl_get_free(control.as_raw_fd()) }
                .map_err(|errno| Error::os(errno, "find a free loop device"))?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = open(&path, !read_only)?;
            // SAFETY: the kernel reads one such structure, and the descriptor in it is open.
            let configured = unsafe { ioctl::loop_configure(device.as_raw_fd(), &raw const config) };
            match configured {
                Ok(_) => return Ok(Self { path, _open: device }),
                // Another process has taken it.
                Err(Errno::EBUSY) => {}
                Err(errno) => {
                    return Err(Error::os(errno, format!("make {} of {}", path.display(), file.display())));
                }
            }
        }
        Err(Error::os(
            Errno::EBUSY,
            format!(
                "make a loop device of {}: other programs took the free device {TRIES} times",
                file.display()
            ),
        ))
    }

    /// The path of the device.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Config {
    fn of(backing: &File, read_only: bool) -> Self {
        let read_only = if read_only { LO_FLAGS_READ_ONLY } else { 0 };
        let info = LoopInfo { flags: LO_FLAGS_AUTOCLEAR | read_only, ..LoopInfo::default() };
        Self { fd: backing.as_raw_fd().cast_unsigned(), info, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn the_structures_are_the_kernels() {
        assert_eq!(size_of::<LoopInfo>(), 232);
        assert_eq!(size_of::<Config>(), 304);
    }

    #[test]
    fn a_device_has_the_content_of_its_file_and_is_given_back() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&[b'x'; 4096]).expect("space");
        let device = match LoopDevice::attach(file.path(), true) {
            Ok(device) => device,
            Err(error) => {
                eprintln!("skipped: {error}");
                return;
            }
        };
        let mut content = Vec::new();
        File::open(device.path()).and_then(|mut file| file.read_to_end(&mut content)).expect("its content");
        assert_eq!(content, [b'x'; 4096]);
        let name = device.path().file_name().expect("a name").to_owned();
        let backing = Path::new("/sys/block").join(name).join("loop/backing_file");
        let ours = |path: &Path| {
            std::fs::read_to_string(path).is_ok_and(|text| Path::new(text.trim_end()) == file.path())
        };
        assert!(ours(&backing));
        drop(device);
        assert!(!ours(&backing), "it was not given back");
    }

    #[test]
    fn an_absent_file_is_told_by_name() {
        let error = LoopDevice::attach(Path::new("/nonexistent/image"), true).expect_err("there is none");
        assert!(error.to_string().contains("/nonexistent/image"), "{error}");
    }
}
