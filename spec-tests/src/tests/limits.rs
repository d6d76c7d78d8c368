//! Rlimits: rows A59 to A62.

use crate::outcome::{Outcome, same};
use crate::{Bed, Spec, Test, test};
use serde_json::{Value, json};

pub(super) const TESTS: &[Test] = &[
    test("A59", "an unknown rlimit is refused", |bed| {
        bed.refuses(
            &limits(json!([{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}])),
            &["RLIMIT_NONSENSE", "rlimit"],
        )
    }),
    test("A59", "an rlimit without type is refused", |bed| {
        bed.refuses(&limits(json!([{"soft": 1, "hard": 1}])), &["rlimit"])
    }),
    test("A60", "a repeated rlimit is refused", |bed| {
        let twice = json!([{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}, {"type": "RLIMIT_CORE", "soft": 2, "hard": 2}]);
        bed.refuses(&limits(twice), &["rlimit", "RLIMIT_CORE"])
    }),
    test("A61", "a soft limit above the hard one is refused", |bed| {
        bed.refuses(
            &limits(json!([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}])),
            &["rlimit", "RLIMIT_CORE"],
        )
    }),
    test("A61 A62", "all sixteen rlimits are set exactly", all_sixteen),
    test("A61", "rlimits are set in a user namespace", |bed| {
        let wanted = json!([{"type": "RLIMIT_NOFILE", "soft": 300, "hard": 400}]);
        let seen = bed.report(&limits(wanted).user_namespace(100_000, 65_536))?;
        same("RLIMIT_NOFILE", &seen["rlimits"]["RLIMIT_NOFILE"], &json!(["300", "400"]))
    }),
    test("A61", "rlimits that are not configured are inherited", |bed| {
        let bundle = bed.bundle(&limits(json!([])))?;
        let call = bed.command(["run", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id]);
        let seen = call.after("ulimit -S -c 4; ulimit -S -n 777").call()?.ok()?.json()?;
        same("soft RLIMIT_NOFILE", &seen["rlimits"]["RLIMIT_NOFILE"][0], "777")?;
        same("soft RLIMIT_CORE", &seen["rlimits"]["RLIMIT_CORE"][0], "2048")
    }),
];

fn limits(list: Value) -> Spec {
    Spec::new().set("/process/rlimits", list)
}

fn all_sixteen(bed: &Bed<'_>) -> Outcome {
    const CASES: [(&str, u64, u64); 16] = [
        ("RLIMIT_CPU", 1000, 2000),
        ("RLIMIT_FSIZE", 1 << 30, 1 << 31),
        ("RLIMIT_DATA", 1 << 32, 1 << 33),
        ("RLIMIT_STACK", 4 << 20, 8 << 20),
        ("RLIMIT_CORE", 0, 4096),
        ("RLIMIT_RSS", 1 << 32, 1 << 33),
        ("RLIMIT_NPROC", 500, 600),
        ("RLIMIT_NOFILE", 512, 1024),
        ("RLIMIT_MEMLOCK", 4096, 65_536),
        ("RLIMIT_AS", 1 << 34, 1 << 35),
        ("RLIMIT_LOCKS", 10, 20),
        ("RLIMIT_SIGPENDING", 100, 200),
        ("RLIMIT_MSGQUEUE", 8192, 16_384),
        ("RLIMIT_NICE", 0, 0),
        ("RLIMIT_RTPRIO", 0, 0),
        ("RLIMIT_RTTIME", 1_000_000, 2_000_000),
    ];
    let list: Vec<Value> =
        CASES.iter().map(|(name, soft, hard)| json!({"type": name, "soft": soft, "hard": hard})).collect();
    // A message queue limit below what a mount of mqueue needs would be another matter.
    let seen = bed.report(&limits(json!(list)).no_mount("/dev/mqueue"))?;
    CASES.iter().try_for_each(|(name, soft, hard)| {
        same(name, &seen["rlimits"][name], &json!([soft.to_string(), hard.to_string()]))
    })
}
