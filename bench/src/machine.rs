//! The same program in a virtual machine: a comparison that newcomers ask for.
//!
//! The machine is that of `spec-tests/vm`, User-Mode Linux, a kernel that is an ordinary program. It does not need the
//! processor's virtualisation, and the figures do not include any, which would change how fast a kernel starts.

use super::bundle::Image;
use super::mounted::Mounted;
use super::report::FLOORS;
use super::stopwatch::{Cost, Stopwatch};
use super::table::{Table, Unit, median, ms};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;
use wharf_spec_tests::Outcome;
use wharf_spec_tests::outcome::fail;
use wharf_spec_tests::runtime::Invocation;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../spec-tests/vm");

/// What is started, with the text for the table.
const WAYS: [(&str, &str); 2] = [
    ("a kernel and nothing else", "kernel"),
    ("Debian with systemd, as `spec-tests/vm/machine.sh` boots it", "systemd"),
];

/// The kernel is a program; it gets the environment that it needs, and the bundles' file system as its root.
const BOOT: &str = r#"
cp -a "$1"/linux "$1"/lib "$1"/lib64 "$2"/
mkdir -p "$2"/proc "$2"/dev "$2"/run "$2"/tree
mount -t proc proc "$2"/proc
mount --bind "$3" "$2"/tree
mount -t tmpfs -o mode=1777,size=4G memory "$2"/dev
mkdir "$2"/dev/shm
for node in null zero random urandom; do
    : >"$2/dev/$node"
    mount --bind "/dev/$node" "$2/dev/$node"
done
"#;

/// Runs the program in virtual machines and returns the table, whose first line is the first contestant's `run A`.
///
/// # Errors
///
/// If the machine cannot be made or does not run the program.
pub fn measure(
    watch: &Stopwatch,
    image: &Image,
    dir: &Path,
    runs: usize,
    containers: &Table,
) -> Outcome<String> {
    let script = |name: &str| Path::new(SCRIPTS).join(name);
    let make = Invocation::new(&script("image.sh"), dir).patience(Duration::from_secs(900));
    make.call()?.ok()?;
    let cache = Invocation::new(&script("image.sh"), dir).args(["--print"]).call()?.ok()?;
    let home = dir.join("machine");
    fs::create_dir(&home)?;
    let _mounted = Mounted::tmpfs(&home)?;
    boot(&home, Path::new(cache.stdout.trim()), image, dir)?;
    let mut text = String::from(
        "The same `true` (user-mode Linux: a kernel as an ordinary program, without help of the processor):\n\n\
         | in | wall, ms | CPU, ms | peak RSS of its largest process, KiB |\n|---|--:|--:|--:|\n",
    );
    if let Some(name) = containers.names.iter().find(|name| !FLOORS.contains(&name.as_str()))
        && let Some(row) = containers.rows.iter().find(|row| row.title == "run A" && row.unit == Unit::Time)
        && let Some(samples) = row.samples.get(name)
    {
        text += &line(&format!("a container ({name}, run A)"), samples);
    }
    for (sentence, way) in WAYS {
        let runs = if way == "kernel" { runs.div_ceil(2) } else { runs.div_ceil(7) };
        let costs = (0..runs)
            .map(|_| {
                let call = match way {
                    "kernel" => watch.prepare(Path::new("unshare"), kernel_words(&home)),
                    _ => watch.prepare(&script("machine.sh"), ["--", "true"]),
                };
                Stopwatch::read(&call.patience(Duration::from_secs(180)).call()?)
            })
            .collect::<Outcome<Vec<_>>>()?;
        text += &line(&format!("a virtual machine: {sentence}"), &costs);
    }
    Ok(text)
}

fn line(name: &str, costs: &[Cost]) -> String {
    let mut line = String::new();
    let of = |get: fn(&Cost) -> f64| median(costs.iter().map(get)).unwrap_or_default();
    let (wall, cpu) = (ms(of(|cost| cost.wall)), ms(of(|cost| cost.cpu)));
    let _infallible = writeln!(line, "| {name} | {wall} | {cpu} | {:.0} |", of(|cost| cost.rss));
    line
}

/// Fills the directory that the kernel lives in.
fn boot(home: &Path, cache: &Path, image: &Image, dir: &Path) -> Outcome {
    let init = image.rootfs().join("init");
    fs::write(&init, "#!/bin/sh\n/bin/true && exec /bin/busybox poweroff -f\n")?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
    let uml = cache.join("uml");
    if !uml.join("linux").exists() {
        return fail(format!("no {}/linux", uml.display()));
    }
    let words = [
        "-ec".as_ref(),
        BOOT.as_ref(),
        "-".as_ref(),
        uml.as_os_str(),
        home.as_os_str(),
        image.rootfs().as_os_str(),
    ];
    Invocation::new(Path::new("/bin/sh"), dir).args(words).call()?.ok()?;
    Ok(())
}

fn kernel_words(home: &Path) -> Vec<String> {
    let home = home.display();
    let words = format!(
        "--pid --fork --kill-child chroot {home} /linux mem=64M root=none rootfstype=hostfs rootflags=/tree rw \
         init=/init quiet panic=-1 noreboot seccomp=auto con=null con0=null ssl=null uml_dir=/run umid=true"
    );
    words.split_whitespace().map(str::to_owned).collect()
}
