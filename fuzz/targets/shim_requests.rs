//! Any bytes as what a daemon sends to the shim: frames of ttrpc with requests in them, and the words for streams, mounts
//! and options.
#![no_main]
#![allow(dead_code, unused_imports, reason = "the modules of the program, without its main function")]

use containerd_shim_protos::protobuf::Message as _;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::ttrpc::Request;

#[path = "../../shim/src/containerd-shim-wharf-v2/cli/mod.rs"]
mod cli;
#[path = "../../shim/src/containerd-shim-wharf-v2/events.rs"]
mod events;
#[path = "../../shim/src/containerd-shim-wharf-v2/logging.rs"]
mod logging;
#[path = "../../shim/src/containerd-shim-wharf-v2/methods/mod.rs"]
mod methods;
#[path = "../../shim/src/containerd-shim-wharf-v2/metrics/mod.rs"]
mod metrics;
#[path = "../../shim/src/containerd-shim-wharf-v2/options.rs"]
mod options;
#[path = "../../shim/src/containerd-shim-wharf-v2/pod/mod.rs"]
mod pod;
#[path = "../../shim/src/containerd-shim-wharf-v2/race.rs"]
mod race;
#[path = "../../shim/src/containerd-shim-wharf-v2/refusal.rs"]
mod refusal;
#[path = "../../shim/src/containerd-shim-wharf-v2/rootfs/mod.rs"]
mod rootfs;
#[path = "../../shim/src/containerd-shim-wharf-v2/sandbox/mod.rs"]
mod sandbox;
#[path = "../../shim/src/containerd-shim-wharf-v2/server/mod.rs"]
mod server;
#[path = "../../shim/src/containerd-shim-wharf-v2/stdio/mod.rs"]
mod stdio;
#[path = "../../shim/src/containerd-shim-wharf-v2/time.rs"]
mod time;
#[path = "../../shim/src/containerd-shim-wharf-v2/watch.rs"]
mod watch;
#[path = "../../shim/src/containerd-shim-wharf-v2/wire.rs"]
mod wire;
#[path = "../../shim/src/containerd-shim-wharf-v2/worker/mod.rs"]
mod worker;

/// The types of the options that a daemon sends.
const TYPES: [&str; 4] = [
    "containerd.runc.v1.Options",
    "runtimeoptions.v1.Options",
    "type.googleapis.com/runtime.v1.PodSandboxConfig",
    "types.containerd.io/opencontainers/runtime-spec/1/Process",
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    frames(bytes);
    let Some((kind, value)) = bytes.split_first() else { return };
    let any = |type_url: &str| Any { type_url: type_url.to_owned(), value: value.to_vec(), ..Any::default() };
    let any = any(TYPES[usize::from(*kind) % TYPES.len()]);
    if !value.contains(&b'/') {
        // Otherwise a file of options could be opened, and be any device.
        let _ = options::Options::decode(&any);
    }
    if let Ok(config) = sandbox::config::PodConfig::decode(&any) {
        let _ = config.sharing();
    }
    let text = String::from_utf8_lossy(value);
    if let Ok(stdio::uri::Target::Logger(command)) = stdio::uri::target(&text) {
        assert!(command.program.is_absolute(), "a logger that is looked up somewhere");
    }
    let _ = stdio::uri::path(&text);
    if let Ok(Some(remote)) = stdio::uri::remote(&text) {
        assert!(!remote.id.is_empty(), "a stream without an id");
    }
    let words: Vec<String> = text.lines().map(str::to_owned).collect();
    let _ = rootfs::parse(&words);
    let _ = cli::args::parse(text.split('\0').map(Into::into));
});

/// Each frame ends where the next one begins, and a request or a part of a stream in it is decoded.
fn frames(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("an event loop");
    runtime.block_on(async {
        let mut reader = bytes;
        let inbox = server::streaming::Inbox::default();
        while let Ok(Some(frame)) = wire::read(&mut reader).await {
            inbox.take(&frame);
            if let Some(payload) = frame.payload.filter(|_| frame.is_request) {
                let _ = Request::parse_from_bytes(&payload);
            }
        }
    });
}
