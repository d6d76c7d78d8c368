//! Hostname, domain name, sysctl: rows A78, A79, A179 to A181.

use super::namespaces::with_owner;
use crate::outcome::{Outcome, same};
use crate::{Bed, Spec, Test, test};
use serde_json::json;

pub(super) const TESTS: &[Test] = &[
    test("A78", "hostname is visible inside", |bed| {
        same("hostname", &bed.report(&Spec::new().set("/hostname", "a-name"))?["hostname"], "a-name")
    }),
    test("A78", "hostname without a uts namespace is refused", |bed| {
        bed.refuses(&Spec::new().no_namespace("uts"), &["hostname", "uts"])
    }),
    test("A78", "hostname is set in a joined uts namespace", |bed| {
        let first = bed.waiting(&Spec::new().set("/hostname", "first"))?;
        let pid = first.pid()?.as_raw_pid();
        let spec = with_owner(bed, Spec::new().set("/hostname", "second"), pid);
        let seen = bed.report(&spec.namespace("uts", Some(&format!("/proc/{pid}/ns/uts"))))?;
        same("hostname", &seen["hostname"], "second")
    }),
    test("A78", "a hostname that is too long is refused", |bed| {
        bed.refuses(&Spec::new().set("/hostname", "x".repeat(65)), &["hostname"])
    }),
    test("A79", "domainname is visible inside", |bed| {
        same(
            "domainname",
            &bed.report(&Spec::new().set("/domainname", "example.org"))?["domainname"],
            "example.org",
        )
    }),
    test("A79", "domainname without a uts namespace is refused", |bed| {
        bed.refuses(
            &Spec::new().no_namespace("uts").without("/hostname").set("/domainname", "x"),
            &["domainname", "uts"],
        )
    }),
    test("A179", "sysctls of namespaces are set", |bed| {
        let sysctls = json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "777", "fs.mqueue.msg_max": "11", "kernel.msgmax": "4444"});
        let answers = bed.tries(
            &Spec::new().set("/linux/sysctl", sysctls),
            &[
                &["read", "/proc/sys/net/ipv4/ip_forward"],
                &["read", "/proc/sys/kernel/shmmni"],
                &["read", "/proc/sys/fs/mqueue/msg_max"],
                &["read", "/proc/sys/kernel/msgmax"],
            ],
        )?;
        for (answer, wanted) in answers.iter().zip(["1\n", "777\n", "11\n", "4444\n"]) {
            same(&answer.op, answer.worked()?, wanted)?;
        }
        Ok(())
    }),
    test("A179", "a sysctl of the whole host is refused", |bed| {
        bed.refuses(
            &Spec::new().set("/linux/sysctl", json!({"vm.swappiness": "60"})),
            &["vm.swappiness", "sysctl"],
        )
    }),
    test("A179", "a sysctl of a namespace that is not private is refused", |bed| {
        bed.refuses(
            &Spec::new()
                .no_namespace("ipc")
                .no_mount("/dev/mqueue")
                .set("/linux/sysctl", json!({"kernel.shmmni": "777"})),
            &["kernel.shmmni", "ipc"],
        )
    }),
    test("A179", "kernel.hostname together with hostname of another value is refused", |bed| {
        bed.refuses(&Spec::new().set("/linux/sysctl", json!({"kernel.hostname": "other"})), &["hostname"])
    }),
    test("A179", "a sysctl that does not exist is refused", |bed| {
        bed.refuses(
            &Spec::new().set("/linux/sysctl", json!({"net.ipv4.nonsense": "1"})),
            &["net.ipv4.nonsense", "net/ipv4/nonsense"],
        )
    }),
    test("A179", "user namespaces have sysctls of their own", |bed| {
        bed.host.needs_path("/proc/sys/user/max_user_namespaces")?;
        let spec = Spec::new()
            .user_namespace(100_000, 65_536)
            .set("/linux/sysctl", json!({"user.max_user_namespaces": "5"}));
        let answers = bed.tries(&spec, &[&["read", "/proc/sys/user/max_user_namespaces"]])?;
        same("sysctl", answers[0].worked()?, "5\n")
    }),
    test("A179", "a sysctl does not change the host", |bed| {
        let before = std::fs::read_to_string("/proc/sys/kernel/shmmni")?;
        bed.report(&Spec::new().set("/linux/sysctl", json!({"kernel.shmmni": "777"})))?;
        same("shmmni of the host", std::fs::read_to_string("/proc/sys/kernel/shmmni")?, before)
    }),
    test("A180", "net sysctls without a network namespace are refused", |bed| {
        bed.refuses(
            &Spec::new().no_namespace("network").set("/linux/sysctl", forwarding()?),
            &["net.ipv4.ip_forward", "network"],
        )
    }),
    test("A180", "net sysctls in the runtime's own network namespace joined by path are refused", |bed| {
        let spec = Spec::new().namespace("network", Some(&format!("/proc/{}/ns/net", std::process::id())));
        bed.refuses(&spec.set("/linux/sysctl", forwarding()?), &["net.ipv4.ip_forward", "network"])
    }),
    test("A181", "a sysctl with slashes is set", |bed| sysctl_by_name(bed, "net/ipv4/ip_forward")),
    test("A181", "a dot after the first slash is part of the name", |bed| {
        // lo has no dot; a name with one that does not exist must be refused under that very name.
        let spec = Spec::new().set("/linux/sysctl", json!({"net/ipv4/conf/eth0.100/forwarding": "1"}));
        bed.refuses(&spec, &["eth0.100/forwarding"])
    }),
    test("A181", "a slash after the first dot stands for a dot in the name", |bed| {
        let spec = Spec::new().set("/linux/sysctl", json!({"net.ipv4.conf.eth0/100.forwarding": "1"}));
        bed.refuses(&spec, &["eth0.100/forwarding", "eth0/100.forwarding"])
    }),
    test("A181", "dots that lead out of /proc/sys are refused", |bed| {
        bed.refuses(
            &Spec::new().set("/linux/sysctl", json!({"net/../../sysrq-trigger": "h"})),
            &["net/../../sysrq-trigger", "sysctl"],
        )
    }),
];

fn sysctl_by_name(bed: &Bed<'_>, name: &str) -> Outcome {
    let answers = bed.tries(
        &Spec::new().set("/linux/sysctl", json!({name: "1"})),
        &[&["read", "/proc/sys/net/ipv4/ip_forward"]],
    )?;
    same("sysctl", answers[0].worked()?, "1\n")
}

/// The value that the host already has: a runtime that writes it by mistake changes nothing.
fn forwarding() -> Outcome<serde_json::Value> {
    let value = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward")?;
    Ok(json!({"net.ipv4.ip_forward": value.trim()}))
}
