//! `-info`: what this shim is and what it can do.

use std::io::{self, Read as _};

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message as _, MessageField};
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};

use crate::cli::bootstrap::MOST_INPUT;
use crate::options::Options;

const NAME: &str = "io.containerd.wharf.v2";
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const COMMIT: Option<&str> = option_env!("WHARF_COMMIT");

/// Answers `-info`: a `containerd.types.RuntimeInfo`. Standard input has the options that would come with a task.
pub(crate) fn run() -> Result<Vec<u8>, String> {
    let mut input = Vec::new();
    io::stdin()
        .lock()
        .take(MOST_INPUT)
        .read_to_end(&mut input)
        .map_err(|error| format!("read the options from standard input: {error}"))?;
    let options = Any::parse_from_bytes(&input).map_err(|error| format!("read the options: {error}"))?;
    Options::decode(&options).and_then(|options| options.check()).map_err(|refusal| refusal.message)?;
    let mut version = RuntimeVersion::new();
    VERSION.clone_into(&mut version.version);
    COMMIT.unwrap_or_default().clone_into(&mut version.revision);
    let mut features = Any::new();
    FEATURES.clone_into(&mut features.type_url);
    features.value = serde_json::to_vec(&wharf::features()).map_err(|error| error.to_string())?;
    let mut info = RuntimeInfo::new();
    NAME.clone_into(&mut info.name);
    info.version = MessageField::some(version);
    if !options.type_url.is_empty() {
        info.options = MessageField::some(options);
    }
    info.features = MessageField::some(features);
    info.write_to_bytes().map_err(|error| error.to_string())
}

/// Answers `-v`.
pub(crate) fn version(program: &str) -> String {
    format!("{program}:\n  Version:  {VERSION}\n  Revision: {}\n\n", COMMIT.unwrap_or("unknown"))
}
