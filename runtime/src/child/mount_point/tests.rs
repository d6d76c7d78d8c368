//! One table of images and paths, in real directories: what is found or made, and what is refused.

use std::fs;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MsFlags, mount};

use super::*;
use crate::sys::clone;

/// What an image has. The last two need privileges.
enum Has {
    Directory(&'static str),
    File(&'static str),
    Link(&'static str, &'static str),
    Tmpfs(&'static str),
    Proc(&'static str),
}

/// What comes of a request.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The mount point is there.
    At(String),
    Refused(Errno, Detail),
}

fn at(place: &str) -> End {
    End::At(place.to_owned())
}

fn refused(errno: Errno) -> End {
    End::Refused(errno, Detail::None)
}

const WRONG_KIND: End = End::Refused(Errno::ENOTDIR, Detail::WrongKind);
const LINK: End = End::Refused(Errno::ELOOP, Detail::WrongKind);
const ASTRAY: End = End::Refused(Errno::ELOOP, Detail::LinkOnTheWay);

/// A path, how it is asked for, and what comes of it.
type Case = (&'static str, Last, Links, End);

/// Images, each with requests.
fn table() -> Vec<(Vec<Has>, Vec<Case>)> {
    use self::Has::{Directory as Folder, File as Text, Link, Proc, Tmpfs};
    use super::Last::{Directory, File};
    use super::Links::{All, Inner};
    const NO: Links = Links::None;
    vec![
        (
            vec![Folder("etc"), Text("etc/hosts")],
            vec![
                ("/etc", Directory, All, at("/etc")),
                ("/etc/hosts", File, All, at("/etc/hosts")),
                ("/etc/new", File, All, at("/etc/new")),
                ("/var/lib/new", Directory, All, at("/var/lib/new")),
                ("/opt/new/file", File, All, at("/opt/new/file")),
                ("//etc/./new//", File, All, refused(Errno::ENOTDIR)),
                ("/etc/./sub//dir/", Directory, All, at("/etc/sub/dir")),
                ("/absent/../beside", Directory, All, at("/beside")),
                ("/../../above", Directory, All, at("/above")),
                ("relative/path", Directory, All, at("/relative/path")),
                ("/", Directory, All, at("/")),
                ("/etc/..", Directory, All, at("/")),
                ("/etc/hosts", Directory, All, WRONG_KIND),
                ("/etc", File, All, WRONG_KIND),
                ("/etc/hosts/below", Directory, All, refused(Errno::ENOTDIR)),
                ("/proc", Directory, NO, at("/proc")),
                ("/some/proc", Directory, NO, at("/some/proc")),
            ],
        ),
        (
            vec![
                Folder("etc"),
                Link("etc/resolv.conf", "../run/made/resolv.conf"),
                Link("absolute", "/away"),
                Link("up", "../../../../outside"),
                Link("chain", "absolute"),
                Link("loop", "loop"),
                Link("file", "etc/file"),
                Text("etc/file"),
                Link("proc", "/away"),
            ],
            vec![
                ("/etc/resolv.conf", File, All, at("/run/made/resolv.conf")),
                ("/absolute/y", Directory, All, at("/away/y")),
                ("/up/x", Directory, All, at("/outside/x")),
                ("/chain/z", File, All, at("/away/z")),
                ("/loop/a", Directory, All, refused(Errno::ELOOP)),
                ("/file", File, All, at("/etc/file")),
                ("/file/below", File, All, refused(Errno::ENOTDIR)),
                ("/file", File, Inner, at("/file")),
                ("/loop", File, Inner, at("/loop")),
                ("/file", Directory, Inner, WRONG_KIND),
                ("/chain/z", File, Inner, at("/away/z")),
                ("/chain/new", File, Inner, at("/away/new")),
                ("/proc", Directory, NO, LINK),
                ("/chain/proc", Directory, NO, LINK),
                ("/etc", Directory, NO, at("/etc")),
            ],
        ),
        (
            vec![
                Folder("etc"),
                Proc("proc"),
                Tmpfs("volume"),
                Link("root", "/"),
                Link("etc/root", ".."),
                Link("sysctls", "/proc/sys"),
                Link("magic", "/proc/self/root"),
                Link("beyond", "/proc/self/root/etc"),
                Link("unmade", "/proc/unmade"),
                Link("into", "volume/deep"),
            ],
            vec![
                ("/", Directory, All, at("/")),
                ("/root", Directory, All, ASTRAY),
                ("/etc/root", Directory, All, ASTRAY),
                ("/etc/root/etc", Directory, All, at("/etc")),
                ("/proc/sys", Directory, All, at("/proc/sys")),
                ("/proc/version", File, All, at("/proc/version")),
                ("/sysctls", Directory, All, ASTRAY),
                ("/sysctls/kernel/hostname", File, All, ASTRAY),
                ("/magic", Directory, All, refused(Errno::ELOOP)),
                ("/beyond", Directory, All, refused(Errno::ELOOP)),
                ("/unmade", Directory, All, refused(Errno::ENOENT)),
                ("/volume", Directory, All, at("/volume")),
                ("/volume/sub/dir", Directory, All, at("/volume/sub/dir")),
                ("/into", Directory, All, at("/volume/deep")),
            ],
        ),
    ]
}

#[test]
fn mount_points_are_where_the_table_says() {
    // Mounts are private to the thread.
    let test = || {
        let private = clone::unshare(libc::CLONE_NEWNS).is_ok_and(|()| {
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).is_ok()
        });
        for (image, requests) in table() {
            let mounts = image.iter().any(|has| matches!(has, Has::Proc(_) | Has::Tmpfs(_)));
            if mounts && !private {
                println!("skipped in part: mounting needs CAP_SYS_ADMIN");
                continue;
            }
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("root");
            fs::create_dir(&root).unwrap();
            if private {
                new_mount("tmpfs", &root);
            }
            for has in &image {
                put(&root, has);
            }
            for (path, last, links, expected) in requests {
                assert_eq!(request(&root, path, last, links), expected, "{path} {last:?} {links:?}");
            }
            let beside: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(beside, ["root"], "nothing is made outside");
            if private {
                nix::mount::umount2(&root, nix::mount::MntFlags::MNT_DETACH).unwrap();
            }
        }
    };
    std::thread::scope(|scope| scope.spawn(test).join()).unwrap();
}

#[test]
fn what_is_made_is_noted_and_what_was_there_is_not() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("there")).unwrap();
    let root = open(dir.path());
    let made: [Cell<(u64, u64)>; 4] = [const { Cell::new(NONE_MADE) }; 4];
    let points = MountPoints::new(root.as_raw_fd(), &made);
    for path in [c"/there", c"/there/one", c"/there/two/three"] {
        path::close(points.target(path, Last::Directory, Links::All).unwrap());
    }
    let names = ["there/one", "there/two", "there/two/three"];
    let expected = names.map(|name| {
        let stat = nix::sys::stat::stat(&dir.path().join(name)).unwrap();
        (stat.st_dev, stat.st_ino)
    });
    assert_eq!(made.each_ref().map(Cell::get)[..3], expected);
    assert_eq!(made[3].get(), NONE_MADE);
}

fn request(root: &Path, wanted: &str, last: Last, links: Links) -> End {
    let directory = open(root);
    let wanted = std::ffi::CString::new(wanted).unwrap();
    match MountPoints::new(directory.as_raw_fd(), &[]).target(&wanted, last, links) {
        Ok(fd) => {
            // SAFETY: the walk has just returned it; nothing else owns it.
            let found = unsafe { OwnedFd::from_raw_fd(fd) };
            let whole = fs::read_link(format!("/proc/thread-self/fd/{}", found.as_raw_fd())).unwrap();
            assert_eq!(is_directory(fd).unwrap(), last == Last::Directory);
            End::At(format!("/{}", whole.strip_prefix(root).unwrap().display()))
        }
        Err(failure) => End::Refused(Errno::from_raw(failure.errno), failure.detail),
    }
}

fn open(path: &Path) -> OwnedFd {
    nix::fcntl::open(path, nix::fcntl::OFlag::O_PATH, nix::sys::stat::Mode::empty()).unwrap()
}

fn put(root: &Path, has: &Has) {
    match has {
        Has::Directory(name) => fs::create_dir_all(root.join(name)).unwrap(),
        Has::File(name) => fs::write(root.join(name), "").unwrap(),
        Has::Link(name, target) => symlink(target, root.join(name)).unwrap(),
        Has::Tmpfs(name) => new_mount("tmpfs", &root.join(name)),
        Has::Proc(name) => new_mount("proc", &root.join(name)),
    }
}

fn new_mount(fs: &str, on: &Path) {
    fs::create_dir_all(on).unwrap();
    mount(Some(fs), on, Some(fs), MsFlags::empty(), None::<&str>).unwrap();
}
