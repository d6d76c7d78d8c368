//! Features of network devices, as `ethtool -k` shows them (linux/ethtool.h).

use std::mem;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::{Result, check_unit};

const GET_STRINGS: u32 = 0x1b;
const GET_SET_INFO: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
/// The set of strings with the names of features.
const FEATURES: u32 = 4;
/// The bytes of a string, with its NULs (`ETH_GSTRING_LEN`).
const STRING: usize = 32;
/// How many features one block of an answer has, and its size in bytes: four words, the third of which says which are
/// on.
const PER_BLOCK: usize = 32;
const BLOCK: usize = 16;

/// Whether a device in the calling thread's network namespace has a feature, and has it on. None if the kernel knows no
/// such feature or device.
pub(crate) fn feature(device: &str, feature: &str) -> Option<bool> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).ok()?;
    let ask = |request: Vec<u8>| {
        let mut answer = request;
        ethtool(&socket, device, &mut answer).ok().map(|()| answer)
    };
    let word = |bytes: &[u8], at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let info = ask(
        [&GET_SET_INFO.to_ne_bytes()[..], &[0; 4], &(1_u64 << FEATURES).to_ne_bytes(), &[0; 4]].concat()
    )?;
    let count = word(&info, 16)? as usize;
    let strings =
        ask([&GET_STRINGS.to_ne_bytes()[..], &FEATURES.to_ne_bytes(), &[0; 4], &vec![0; count * STRING]]
            .concat())?;
    let is_it = |name: &[u8]| name.split(|byte| *byte == 0).next() == Some(feature.as_bytes());
    let index = strings.get(12..)?.chunks_exact(STRING).position(is_it)?;
    let blocks = count.div_ceil(PER_BLOCK);
    let size = u32::try_from(blocks).ok()?;
    let states =
        ask([&GET_FEATURES.to_ne_bytes()[..], &size.to_ne_bytes(), &vec![0; blocks * BLOCK]].concat())?;
    let active = word(&states, 8 + index / PER_BLOCK * BLOCK + 8)?;
    Some(active >> (index % PER_BLOCK) & 1 == 1)
}

/// `SIOCETHTOOL` of netdevice(7): the kernel writes its answer over the request.
fn ethtool(socket: &impl std::os::fd::AsFd, device: &str, request: &mut [u8]) -> Result<()> {
    let socket: BorrowedFd<'_> = socket.as_fd();
    // SAFETY: all zeroes is a value of this structure of numbers and pointers.
    let mut call: libc::ifreq = unsafe { mem::zeroed() };
    if device.len() >= call.ifr_name.len() {
        return Err(Errno::ENODEV);
    }
    for (place, byte) in call.ifr_name.iter_mut().zip(device.bytes()) {
        *place = byte as libc::c_char;
    }
    call.ifr_ifru.ifru_data = request.as_mut_ptr().cast();
    // SAFETY: the name ends with a NUL, and the data is a request with room for the answer: for as many features as the
    // kernel has, a number that does not change while it runs.
    check_unit(unsafe {
        libc::syscall(libc::SYS_ioctl, socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut call)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_found_by_name() {
        assert_eq!(feature("lo", "loopback"), Some(true));
        assert_eq!(feature("lo", "rx-fcs"), Some(false));
        assert_eq!(feature("lo", "nonsense"), None);
        assert_eq!(feature("none-such", "loopback"), None);
        assert_eq!(feature("a-name-that-is-too-long", "loopback"), None);
    }
}
