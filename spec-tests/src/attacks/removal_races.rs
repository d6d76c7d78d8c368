//! Attempts to make `mounts remove` lose a mount, or take the wrong one, by what happens at the same time.

use super::removal::{change, mounts_of, named, none_at, places_of, running, tmpfs};
use crate::bed::Container;
use crate::observe::mount_at;
use crate::outcome::{Outcome, check, fail, same};
use crate::runtime::{Called, PATIENCE, Running};
use crate::{Bed, Spec, Test, test};
use serde_json::json;
use std::fs;

pub(super) const TESTS: &[Test] = &[
    test("S5 C11", "mounts remove takes nothing else while directories are exchanged again and again", race),
    test("C11", "mounts that are added and removed at the same time are all known", at_once),
    test("C11", "an added mount is known though another is added before it is attached", added_meanwhile),
    test("C11", "of two removals that choose the same mount one says that it is gone", removed_meanwhile),
    test(
        "C11 F1",
        "a mount of a mounts add that was killed at any moment is not there, or can be removed",
        killed,
    ),
];

fn at_once(bed: &Bed<'_>) -> Outcome {
    let container = running(bed, &Spec::new())?;
    let at_once = |verb: &str| -> Outcome<Vec<Called>> {
        let calls = (0..8).map(|number| {
            let file = bed.dir().join(format!("mounts{number}.json"));
            fs::write(&file, tmpfs(&format!("/added{}", number / 2)).to_string())?;
            bed.command(["mounts", verb, container.id(), &file.to_string_lossy()]).spawn()
        });
        let calls = calls.collect::<Outcome<Vec<_>>>()?;
        let done = calls.into_iter().map(|call| call.finish(PATIENCE));
        done.collect::<Outcome<Vec<_>>>()
    };
    at_once("add")?.into_iter().try_for_each(|called| called.ok().map(drop))?;
    // Of two that want the same mount, one may come too late; then the other mount of that place is still known.
    for (number, called) in at_once("remove")?.iter().enumerate() {
        if !called.status.success() {
            change(&container, "remove", &tmpfs(&format!("/added{}", number / 2)))?.ok()?;
        }
    }
    (0..4).try_for_each(|number| {
        let place = format!("/added{number}");
        none_at(&container, &place)?;
        change(&container, "remove", &tmpfs(&place))?.refused(&[&place])
    })
}

/// The first addition has recorded its mount, and waits with the attachment until the second is done.
fn added_meanwhile(bed: &Bed<'_>) -> Outcome {
    let container = running(bed, &Spec::new())?;
    let slow = delayed(&container, "add", "move_mount", 1)?;
    let record = bed.state_dir(container.id()).join("mounts.json");
    container.until("the record of the mount", || Ok(record.exists().then_some(())))?;
    change(&container, "add", &tmpfs("/meanwhile"))?.ok()?;
    check(mount_at(&mounts_of(&container)?, "/added").is_err(), || "the first was not delayed".into())?;
    slow.finish(PATIENCE)?.ok()?;
    for place in ["/added", "/meanwhile"] {
        change(&container, "remove", &tmpfs(place))?.ok()?;
        none_at(&container, place)?;
    }
    Ok(())
}

/// The first removal has chosen the latest mount, and waits with the unmounting until the second is done.
fn removed_meanwhile(bed: &Bed<'_>) -> Outcome {
    let container = running(bed, &Spec::new())?;
    for name in ["first", "second"] {
        change(&container, "add", &named("/added", name))?.ok()?;
    }
    // One call looks, the next one unmounts.
    let slow = delayed(&container, "remove", "umount2", 2)?;
    let trace = bed.dir().join("trace");
    let looked = || Ok(fs::read_to_string(&trace)?.contains("umount2(").then_some(()));
    container.until("the removal that has chosen its mount", looked)?;
    change(&container, "remove", &tmpfs("/added"))?.ok()?;
    slow.finish(PATIENCE)?.refused(&["/added"])?;
    same("second", places_of(&container, "second")?, Vec::<String>::new())?;
    same("first", places_of(&container, "first")?, vec!["/added".to_owned()])?;
    change(&container, "remove", &tmpfs("/added"))?.ok()?;
    none_at(&container, "/added")
}

/// A change of the mount at `/added` whose `count`th call of that name waits for five seconds: far longer than what
/// happens meanwhile takes.
fn delayed(container: &Container<'_, '_>, verb: &str, call: &str, count: u32) -> Outcome<Running> {
    let bed = container.bed;
    bed.host.needs_root_because("newuidmap has no privileges under strace")?;
    crate::tests::kernel::needs("strace")?;
    let file = bed.dir().join("slow.json");
    fs::write(&file, tmpfs("/added").to_string())?;
    let (file, output) = (file.to_string_lossy(), bed.dir().join("trace"));
    fs::write(&output, "")?;
    let (trace, inject) =
        (format!("trace={call}"), format!("inject={call}:delay_enter=5000000:when={count}"));
    let strace = ["strace", "-f", "-qq", "-o", &output.to_string_lossy(), "-e", &trace, "-e", &inject];
    bed.command(["mounts", verb, container.id(), &file]).under(&strace).spawn()
}

/// Half of the time, the path of the mount leads to a mount of the configuration.
fn race(bed: &Bed<'_>) -> Outcome {
    let container = running(bed, &Spec::new().mount("/b/x", "tmpfs", "guard", &["ro"]))?;
    let rootfs = container.bundle.rootfs.clone();
    let mut removed = 0;
    for round in 0..20 {
        // The path that it is added to is known; the swapping begins then.
        change(&container, "add", &named("/a/x", &format!("added{round}")))?.ok()?;
        let stop = std::sync::atomic::AtomicBool::new(false);
        let called = std::thread::scope(|scope| {
            scope.spawn(|| {
                // An even number of times, so that everything is in its place at the end.
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    for _ in 0..2 {
                        super::mounts::exchange_once(&rootfs.join("a"), &rootfs.join("b"));
                    }
                }
            });
            let called = change(&container, "remove", &tmpfs("/a/x"));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            called
        })?;
        same("guards", places_of(&container, "guard")?.len(), 1)?;
        let left = places_of(&container, &format!("added{round}"))?.len();
        same("mounts that are left", left, usize::from(!called.status.success()))?;
        removed += usize::from(called.status.success());
        if left == 1 {
            let place = places_of(&container, &format!("added{round}"))?.remove(0);
            change(&container, "remove", &tmpfs(&place))?.ok()?;
        }
    }
    println!("  found {removed} of 20 mounts that moved");
    Ok(())
}

/// Parent and child are killed at each call with which they attach, record, and notify each other.
fn killed(bed: &Bed<'_>) -> Outcome {
    bed.host.needs_root_because("newuidmap has no privileges under strace")?;
    crate::tests::kernel::needs("strace")?;
    let container = running(bed, &Spec::new())?;
    let file = bed.dir().join("list.json");
    let both = json!([
        {"destination": "/added/a", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/added/b", "type": "tmpfs", "source": "tmpfs"}
    ]);
    fs::write(&file, both.to_string())?;
    let file = file.to_string_lossy().into_owned();
    let (mut moments, mut stayed) = (0, 0);
    // strace counts each call by itself.
    'calls: for calls in ["/^move_mount$", "/^rename", "/^sendmsg$", "/^recvmsg$"] {
        for moment in 1..40 {
            let (trace, inject) =
                (format!("trace={calls}"), format!("inject={calls}:signal=KILL:when={moment}"));
            let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
            let call = bed.command(["mounts", "add", container.id(), &file]).under(&strace).call()?;
            let killed = !call.status.success();
            for place in ["/added/b", "/added/a"] {
                if mount_at(&mounts_of(&container)?, place).is_ok() {
                    stayed += usize::from(killed);
                    change(&container, "remove", &tmpfs(place))?.ok()?;
                }
                none_at(&container, place)?;
            }
            if !killed {
                continue 'calls;
            }
            moments += 1;
        }
        return fail(format!("it makes no end of calls {calls}"));
    }
    println!("  killed at {moments} moments; {stayed} mounts were there");
    check(moments > 8, || format!("killed at {moments} moments only"))
}
