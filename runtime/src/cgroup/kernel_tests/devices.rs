//! Device rules in force.

use super::*;

#[test]
fn device_rules_are_in_force() {
    each(|layout| {
        let json = r#"{"resources":{"devices":[{"allow":false,"access":"rwm"},
            {"allow":true,"type":"c","major":1,"minor":5,"access":"r"},
            {"allow":false,"type":"c","major":1,"minor":7,"access":"w"}]}}"#;
        let mut made = Made::new(json, layout).unwrap();
        // Each line is one attempt of a shell inside; the exit status has one bit per success.
        let script = "read x; s=0
            : >/dev/null && s=$((s+1))
            (: </dev/zero) 2>/dev/null && s=$((s+2))
            (: >/dev/full) 2>/dev/null && s=$((s+4))
            (: </dev/full) 2>/dev/null && s=$((s+8))
            (: </dev/kmsg) 2>/dev/null && s=$((s+16))
            exit $s";
        let mut child = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
        enter(&made.cgroup, child.id() as i32);
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let code = child.wait().unwrap().code().unwrap();
        assert_eq!(code & !16, 1 + 2 + 8, "null and zero can be opened, full only for reading");
        assert_eq!(code & 16, 0, "a device that no rule allows stays closed");
        made.sleep();
    });
}

#[test]
fn everything_is_allowed_on_request() {
    each(|layout| {
        let json = r#"{"resources":{"devices":[{"allow":true,"access":"rwm"}]}}"#;
        let made = Made::new(json, layout).unwrap();
        let Some(dir) = made.cgroup.v1_dir("devices") else { return };
        assert_eq!(std::fs::read_to_string(dir.join("devices.list")).unwrap().trim(), "a *:* rwm");
    });
}

#[test]
fn a_second_program_takes_the_place_of_the_first() {
    each(|layout| {
        if layout.place("devices", "-").is_some() || layout.v2.is_none() {
            return;
        }
        let path = name();
        let json = |allow: bool| {
            format!(
                r#"{{"cgroupsPath":"/{path}","resources":{{"devices":[
                {{"allow":{allow},"type":"c","major":1,"minor":11,"access":"r"}}]}}}}"#
            )
        };
        let made = Made::new(&json(true), layout).unwrap();
        let dir = file::open_dir(&made.cgroup.v2_dir().unwrap()).unwrap();
        assert_eq!(crate::sys::bpf::device_programs(dir.as_fd()).unwrap().len(), 1);
        plan(&json(false), layout).unwrap().apply().unwrap();
        assert_eq!(crate::sys::bpf::device_programs(dir.as_fd()).unwrap().len(), 1);
    });
}
