//! A list of small operations, each tried once; the answers are a JSON array of {"op", "errno", "value"}.

use crate::json::{list, object, text, texts};
use crate::{report, sys};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

/// Runs the operations, which are separated by `--`.
pub fn run(words: &[&str]) -> String {
    list(words.split(|word| *word == "--").map(|op| {
        let (errno, value) = match operation(op) {
            Ok(value) => (0, value),
            Err(errno) => (errno, "null".into()),
        };
        object([("op".into(), text(&op.join(" "))), ("errno".into(), errno.to_string()), ("value".into(), value)])
    }))
}

/// errno of an unknown operation, so that a misspelt test cannot pass by accident.
const UNKNOWN: i32 = 9999;

fn operation(op: &[&str]) -> Result<String, i32> {
    match op {
        ["read", path] => fs::read(path).map(|b| text(&String::from_utf8_lossy(&b))).map_err(code),
        ["head", path, count] => head(path, number(count)?),
        ["write", path, data] => fs::write(path, data).map(null).map_err(code),
        ["overwrite", path, data] => {
            let file = fs::OpenOptions::new().write(true).open(path);
            file.and_then(|mut file| file.write_all(data.as_bytes())).map(null).map_err(code)
        }
        ["open", path] => fs::File::open(path).map(drop).map(null).map_err(code),
        ["open-write", path] => fs::OpenOptions::new().write(true).open(path).map(drop).map(null).map_err(code),
        ["mkdir", path] => fs::create_dir(path).map(null).map_err(code),
        ["rmdir", path] => fs::remove_dir(path).map(null).map_err(code),
        ["unlink", path] => fs::remove_file(path).map(null).map_err(code),
        ["symlink", to, path] => symlink(to, path).map(null).map_err(code),
        ["rename", from, to] => fs::rename(from, to).map(null).map_err(code),
        ["chmod", path, mode] => {
            let mode = u32::from_str_radix(mode, 8).map_err(|_| UNKNOWN)?;
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).map(null).map_err(code)
        }
        ["chown", path, uid, gid] => sys::change_owner(path, number(uid)?, number(gid)?).map(show),
        ["touch", path] => sys::touch(path).map(show),
        ["access-list", path, user] => sys::set_access_list(path, number(user)?).map(show),
        ["stat", path] => fs::symlink_metadata(path).map(|_| report::node(Path::new(path))).map_err(code),
        ["list", path] => names(path),
        ["mknod", path, "c", major, minor] => sys::make_node(path, 0o20666, number(major)?, number(minor)?).map(show),
        ["mknod", path, "b", major, minor] => sys::make_node(path, 0o60666, number(major)?, number(minor)?).map(show),
        ["mknod", path, "p"] => sys::make_node(path, 0o10666, 0, 0).map(show),
        ["mount", source, target, kind] => sys::do_mount(source, target, kind, 0).map(show),
        ["mount", source, target, kind, flags] => sys::do_mount(source, target, kind, number(flags)?).map(show),
        ["umount", target] => sys::do_umount(target).map(show),
        ["handle", path] => sys::handle_of(path).map(|handle| text(&handle)),
        ["open-handle", mount, handle] => sys::read_by_handle(mount, handle).map(|found| text(&found)),
        ["unshare", flags] => sys::new_namespace(number(flags)?).map(show),
        ["chroot", path] => sys::change_root(path).map(show),
        ["sethostname", name] => sys::rename_host(name).map(show),
        ["setuid", uid] => sys::become_user(number(uid)?).map(show),
        ["kill", pid, signal] => sys::send(number(pid)?, number(signal)?).map(show),
        ["socket", domain, kind] => sys::open_socket(number(domain)?, number(kind)?).map(show),
        ["syscall", call, args @ ..] => {
            let mut six = [0; 6];
            for (slot, arg) in six.iter_mut().zip(args) {
                *slot = number(arg)?;
            }
            sys::raw(number(call)?, six).map(show)
        }
        ["exec", program, args @ ..] => {
            let done = Command::new(program).args(args).output().map_err(code)?;
            Ok(object([
                ("code".into(), done.status.code().map_or("null".into(), |code| code.to_string())),
                ("stdout".into(), text(&String::from_utf8_lossy(&done.stdout))),
            ]))
        }
        ["datagram", path, data] => {
            let socket = UnixDatagram::unbound().map_err(code)?;
            socket.send_to(data.replace("\\n", "\n").as_bytes(), path).map(|_| "null".into()).map_err(code)
        }
        ["env", name] => std::env::var(name).map(|value| text(&value)).map_err(|_| 2),
        ["sleep", ms] => {
            std::thread::sleep(std::time::Duration::from_millis(number(ms)?));
            Ok("null".into())
        }
        ["mounts"] => Ok(report::mounts()),
        ["fds"] => Ok(report::fds()),
        _ => Err(UNKNOWN),
    }
}

fn head(path: &str, count: usize) -> Result<String, i32> {
    let mut bytes = vec![0; count];
    let mut file = fs::File::open(path).map_err(code)?;
    let got = file.read(&mut bytes).map_err(code)?;
    Ok(list(bytes[..got].iter().map(ToString::to_string)))
}

fn names(path: &str) -> Result<String, i32> {
    let mut names: Vec<String> =
        fs::read_dir(path).map_err(code)?.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(texts(names.iter().map(String::as_str)))
}

fn code(error: std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(UNKNOWN)
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T, i32> {
    word.parse().map_err(|_| UNKNOWN)
}

fn null((): ()) -> String {
    "null".into()
}

fn show(value: i64) -> String {
    value.to_string()
}
