//! `update`: changes the limits of a running container.

use std::time::Duration;

use oci_spec::runtime::{LinuxIntelRdt, LinuxResources};
use serde_json::{Map, Value};

use crate::cli::options::ID;
use crate::cli::{Call, Context, Count, Given, Opt, Verb};
use crate::failure::Failure;
use crate::value::duration;
use crate::value::input;
use crate::value::size;

/// Its line in the table.
pub(crate) const VERB: Verb = Verb::new(
    "update",
    ID,
    Count::Exactly(1),
    "change the resource limits of a container",
    run,
)
.details("Limits without an option keep their value. Sizes take the suffixes k, m, g, t and p.")
.options(&[
    Opt::value("resources", "FILE", "JSON file with a resources object, or - for standard input").short('r'),
    Opt::value("blkio-weight", "WEIGHT", "relative weight of block I/O, 10 to 1000"),
    Opt::value("cpu-period", "USEC", "period of the CPU limit"),
    Opt::value("cpu-quota", "USEC", "CPU time allowed in a period"),
    Opt::value("cpu-burst", "USEC", "unused CPU time that may accumulate"),
    Opt::value("cpu-share", "SHARES", "relative weight of CPU time"),
    Opt::value("cpu-rt-period", "USEC", "period of the real-time CPU limit"),
    Opt::value("cpu-rt-runtime", "USEC", "real-time CPU time allowed in a period"),
    Opt::value("cpu-idle", "N", "1: run only when no other process wants the CPU"),
    Opt::value("cpuset-cpus", "LIST", "CPUs to use"),
    Opt::value("cpuset-mems", "LIST", "memory nodes to use"),
    Opt::value("memory", "SIZE", "memory limit"),
    Opt::value("memory-reservation", "SIZE", "soft limit: memory that is reclaimed last"),
    Opt::value("memory-swap", "SIZE", "limit of memory and swap together; -1 for no limit"),
    Opt::switch("check-before-update", "refuse a memory limit below the current usage"),
    Opt::value(
        "reclaim",
        "DURATION",
        "reclaim memory for at most this long, and lower the memory limit only if usage falls below it",
    ),
    Opt::value("pids-limit", "N", "maximum number of processes; -1 for no limit"),
    Opt::value("l3-cache-schema", "SCHEMA", "shares of the L3 cache (Intel RDT), such as L3:0=7f0;1=1f"),
    Opt::value("mem-bw-schema", "SCHEMA", "memory bandwidth (Intel RDT), such as MB:0=20;1=70"),
    Opt::value("kernel-memory", "SIZE", "obsolete; has no effect").hidden(),
    Opt::value("kernel-memory-tcp", "SIZE", "obsolete; has no effect").hidden(),
]);

/// Only the named limits change.
fn run(context: &Context, call: &Call) -> Result<u8, Failure> {
    let resources = resources(call)?;
    let rdt = intel_rdt(&call.options)?;
    let patience = patience(&call.options)?;
    let container = context.open(&call.id()?)?;
    // First, since most machines refuse this one.
    if let Some(rdt) = rdt {
        container.update_intel_rdt(&rdt)?;
    }
    let file = call.options.text("resources")?.filter(|file| !file.is_empty());
    let updated = match patience {
        Some(patience) => container.update_within(&resources, patience),
        None => container.update(&resources),
    };
    updated.map_err(|error| match file {
        Some(file) => error.in_document(file, "/linux/resources"),
        None => error,
    })?;
    Ok(0)
}

/// How long to spend on reclaiming memory.
fn patience(given: &Given) -> Result<Option<Duration>, Failure> {
    let Some(text) = given.text("reclaim")? else { return Ok(None) };
    match duration::parse(text) {
        Some(patience) => Ok(Some(patience)),
        None => {
            Err(Failure::new(format!("invalid duration {text:?} for --reclaim: use one like 500ms or 10s")))
        }
    }
}

/// What to write to the `schemata` of the container's class of service.
fn intel_rdt(given: &Given) -> Result<Option<LinuxIntelRdt>, Failure> {
    let text = |name| Ok::<_, Failure>(given.text(name)?.filter(|text| !text.is_empty()));
    let (l3, memory) = (text("l3-cache-schema")?, text("mem-bw-schema")?);
    if l3.is_none() && memory.is_none() {
        return Ok(None);
    }
    let mut rdt = LinuxIntelRdt::default();
    rdt.set_l3_cache_schema(l3.map(str::to_owned));
    rdt.set_mem_bw_schema(memory.map(str::to_owned));
    Ok(Some(rdt))
}

/// Options that are not part of a resources object: they are passed along with one.
const OUTSIDE: [&str; 4] = ["kernel-memory", "l3-cache-schema", "mem-bw-schema", "reclaim"];

fn resources(call: &Call) -> Result<LinuxResources, Failure> {
    let given = &call.options;
    if given.has("kernel-memory") || given.has("kernel-memory-tcp") {
        log::warn!("limits of kernel memory have no effect: Linux 5.4 deprecated and 6.1 removed them");
    }
    let document = match given.text("resources")? {
        Some(file) => {
            if let Some(other) = given
                .names()
                .find(|name| *name != "resources" && !OUTSIDE.iter().any(|outside| name.starts_with(outside)))
            {
                let message =
                    format!("--resources cannot be combined with --{other}: put every limit into the file");
                return Err(Failure::usage(Some(call.verb), message));
            }
            let read = wharf::document::read_resources;
            return input::document("resources", file, "/linux/resources", read);
        }
        None => document(given)?,
    };
    serde_json::from_value(document).map_err(|error| Failure::new(format!("invalid resources: {error}")))
}

/// The resources object of the specification that the options stand for.
fn document(given: &Given) -> Result<Value, Failure> {
    let mut document = Map::new();
    let mut put = |section: &str, key: &str, value: Option<Value>| {
        if let Some(value) = value {
            let section = document.entry(section).or_insert_with(|| Map::new().into());
            section[key] = value;
        }
    };
    let unsigned = |name| Ok::<_, Failure>(given.number::<u64>(name)?.map(Value::from));
    let signed = |name| Ok::<_, Failure>(given.number::<i64>(name)?.map(Value::from));
    let text = |name| Ok::<_, Failure>(given.text(name)?.map(Value::from));
    let size = |name| {
        given.text(name)?.map(|value| size::parse(name, value)).transpose().map(|size| size.map(Value::from))
    };

    put("blockIO", "weight", given.number::<u16>("blkio-weight")?.map(Value::from));
    put("cpu", "period", unsigned("cpu-period")?);
    put("cpu", "quota", signed("cpu-quota")?);
    put("cpu", "burst", unsigned("cpu-burst")?);
    put("cpu", "shares", unsigned("cpu-share")?);
    put("cpu", "realtimePeriod", unsigned("cpu-rt-period")?);
    put("cpu", "realtimeRuntime", signed("cpu-rt-runtime")?);
    put("cpu", "idle", signed("cpu-idle")?);
    put("cpu", "cpus", text("cpuset-cpus")?);
    put("cpu", "mems", text("cpuset-mems")?);
    put("memory", "limit", size("memory")?);
    put("memory", "reservation", size("memory-reservation")?);
    put("memory", "swap", size("memory-swap")?);
    put("memory", "checkBeforeUpdate", given.flag("check-before-update").then(|| true.into()));
    // An option of 0 means no processes, while 0 in a document leaves the limit alone. A limit of 1 allows no new
    // process either.
    let pids = given.number::<i64>("pids-limit")?;
    put("pids", "limit", pids.map(|limit| if limit == 0 { 1 } else { limit }.into()));
    Ok(document.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Request, parse};
    use crate::verb::VERBS;
    use serde_json::json;

    fn read_back(words: &str) -> Result<Value, String> {
        let words = words.split(' ').map(std::ffi::OsString::from);
        let Ok(Request::Verb(_, call)) = parse(VERBS, words).request else { panic!() };
        let resources = resources(&call).map_err(|failure| failure.message().to_owned())?;
        Ok(serde_json::to_value(resources).unwrap())
    }

    #[test]
    fn every_option_reaches_its_property() {
        assert_eq!(
            read_back(
                "wharf update --blkio-weight 10 --cpu-period 1 --cpu-quota -1 --cpu-burst 3 --cpu-share 4 \
                 --cpu-rt-period 5 --cpu-rt-runtime 6 --cpu-idle 1 --cpuset-cpus 0-1 --cpuset-mems 0 --memory 32m \
                 --memory-reservation 16m --memory-swap -1 --pids-limit 9 web"
            )
            .unwrap(),
            json!({
                "blockIO": {"weight": 10},
                "cpu": {"period": 1, "quota": -1, "burst": 3, "shares": 4, "realtimePeriod": 5, "realtimeRuntime": 6,
                    "idle": 1, "cpus": "0-1", "mems": "0"},
                "memory": {"limit": 33_554_432, "reservation": 16_777_216, "swap": -1},
                "pids": {"limit": 9}
            })
        );
    }

    #[test]
    fn an_option_that_is_not_given_sets_nothing() {
        assert_eq!(read_back("wharf update web").unwrap(), json!({}));
        assert_eq!(read_back("wharf update --pids-limit 0 web").unwrap(), json!({"pids": {"limit": 1}}));
        assert_eq!(read_back("wharf update --kernel-memory 5 web").unwrap(), json!({}));
        assert_eq!(read_back("wharf update --reclaim 5s web").unwrap(), json!({}));
        assert_eq!(
            read_back("wharf update --check-before-update web").unwrap(),
            json!({"memory": {"checkBeforeUpdate": true}})
        );
    }

    #[test]
    fn bad_values_and_combinations_are_refused() {
        for words in [
            "--memory x",
            "--cpu-period -1",
            "--blkio-weight 65536",
            "--pids-limit 1.5",
            "--resources /f --memory 1m",
            "--resources /nonexistent",
        ] {
            assert!(read_back(&format!("wharf update {words} web")).is_err(), "{words}");
        }
    }

    #[test]
    fn schemata_of_intel_rdt_are_not_resources() {
        let rdt = |words: &str| {
            let words = format!("wharf update {words} web");
            let Ok(Request::Verb(_, call)) =
                parse(VERBS, words.split(' ').map(std::ffi::OsString::from)).request
            else {
                panic!()
            };
            let rdt = intel_rdt(&call.options).map_err(|failure| failure.message().to_owned()).unwrap();
            rdt.map(|rdt| serde_json::to_value(rdt).unwrap())
        };
        assert_eq!(rdt("--memory 1m"), None);
        assert_eq!(rdt("--l3-cache-schema= --memory 1m"), None);
        assert_eq!(
            rdt("--l3-cache-schema L3:0=f;1=f --mem-bw-schema MB:0=20"),
            Some(json!({"l3CacheSchema": "L3:0=f;1=f", "memBwSchema": "MB:0=20"}))
        );
        assert_eq!(read_back("wharf update --mem-bw-schema MB:0=20 web").unwrap(), json!({}));
    }

    #[test]
    fn a_file_is_read_as_the_specification_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.json");
        std::fs::write(&path, r#"{"memory": {"limit": 1048576}, "unknown": 1}"#).unwrap();
        let words = format!("wharf update --resources {} web", path.display());
        assert_eq!(read_back(&words).unwrap(), json!({"memory": {"limit": 1_048_576}}));
        std::fs::write(&path, "{").unwrap();
        assert!(read_back(&words).unwrap_err().contains("r.json"));
    }
}
