//! A client of the Container Runtime Interface (CRI, version 1): the calls that a kubelet makes for a pod's life.
//!
//! Only the fields that are used are declared, with the numbers of `runtime/v1/api.proto`.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use prost::Message;
use tokio::net::UnixStream;

/// Namespace modes.
pub(crate) const CONTAINER: i32 = 1;

/// `PodSandboxMetadata`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PodMetadata {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) uid: String,
    #[prost(string, tag = "3")]
    pub(crate) namespace: String,
}

/// `NamespaceOption`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Namespaces {
    #[prost(int32, tag = "2")]
    pub(crate) pid: i32,
}

/// `LinuxSandboxSecurityContext`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PodSecurity {
    #[prost(message, optional, tag = "1")]
    pub(crate) namespaces: Option<Namespaces>,
}

/// `LinuxPodSandboxConfig`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PodLinux {
    #[prost(string, tag = "1")]
    pub(crate) cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) security: Option<PodSecurity>,
}

/// `PodSandboxConfig`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PodConfig {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<PodMetadata>,
    #[prost(string, tag = "2")]
    pub(crate) hostname: String,
    #[prost(string, tag = "3")]
    pub(crate) log_directory: String,
    #[prost(btree_map = "string, string", tag = "6")]
    pub(crate) labels: BTreeMap<String, String>,
    #[prost(message, optional, tag = "8")]
    pub(crate) linux: Option<PodLinux>,
}

/// `RunPodSandboxRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RunPod {
    #[prost(message, optional, tag = "1")]
    pub(crate) config: Option<PodConfig>,
    #[prost(string, tag = "2")]
    pub(crate) handler: String,
}

/// Requests and answers whose only field, the first one, is an id.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Id {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
}

/// An answer that is not read.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Nothing {}

/// `VersionResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Version {
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(string, tag = "3")]
    pub(crate) version: String,
}

/// `ContainerMetadata`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContainerMetadata {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

/// `ImageSpec`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Image {
    #[prost(string, tag = "1")]
    pub(crate) image: String,
}

/// `Mount`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Mount {
    #[prost(string, tag = "1")]
    pub(crate) container_path: String,
    #[prost(string, tag = "2")]
    pub(crate) host_path: String,
}

/// `LinuxContainerResources`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Resources {
    #[prost(int64, tag = "3")]
    pub(crate) cpu_shares: i64,
    #[prost(int64, tag = "5")]
    pub(crate) oom_score_adj: i64,
}

/// `LinuxContainerSecurityContext`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContainerSecurity {
    #[prost(message, optional, tag = "3")]
    pub(crate) namespaces: Option<Namespaces>,
}

/// `LinuxContainerConfig`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContainerLinux {
    #[prost(message, optional, tag = "1")]
    pub(crate) resources: Option<Resources>,
    #[prost(message, optional, tag = "2")]
    pub(crate) security: Option<ContainerSecurity>,
}

/// `ContainerConfig`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    pub(crate) image: Option<Image>,
    #[prost(string, repeated, tag = "3")]
    pub(crate) command: Vec<String>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) mounts: Vec<Mount>,
    #[prost(string, tag = "11")]
    pub(crate) log_path: String,
    #[prost(message, optional, tag = "15")]
    pub(crate) linux: Option<ContainerLinux>,
}

/// `CreateContainerRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CreateContainer {
    #[prost(string, tag = "1")]
    pub(crate) pod: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    pub(crate) pod_config: Option<PodConfig>,
}

/// A connection to the runtime service.
#[derive(Clone)]
pub(crate) struct Client {
    send: SendRequest<Bytes>,
}

impl Client {
    /// Connects to the socket. The connection is served by a task of its own.
    pub(crate) async fn connect(socket: &Path) -> Result<Self, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", socket.display());
        let stream = UnixStream::connect(socket).await.map_err(|error| wrong(&error))?;
        let (send, connection) = h2::client::handshake(stream).await.map_err(|error| wrong(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                eprintln!("pod-figures: the connection to the runtime service: {error}");
            }
        });
        Ok(Self { send })
    }

    /// Calls a method.
    pub(crate) async fn call<A: Message + Default>(
        &self,
        method: &str,
        question: &impl Message,
    ) -> Result<A, String> {
        let answer = self.bytes(method, question).await.map_err(|error| format!("{method}: {error}"))?;
        A::decode(answer.as_slice()).map_err(|error| format!("{method}: {error}"))
    }

    async fn bytes(&self, method: &str, question: &impl Message) -> Result<Vec<u8>, String> {
        let text = |error: h2::Error| error.to_string();
        let request = http::Request::post(format!("http://localhost/runtime.v1.RuntimeService/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(|error| error.to_string())?;
        let mut send = self.send.clone().ready().await.map_err(text)?;
        let (answer, mut stream) = send.send_request(request, false).map_err(text)?;
        stream.send_data(frame(question), true).map_err(text)?;
        let (head, mut body) = answer.await.map_err(text)?.into_parts();
        let mut data = Vec::new();
        while let Some(part) = body.data().await {
            let part = part.map_err(text)?;
            body.flow_control().release_capacity(part.len()).map_err(text)?;
            data.extend_from_slice(&part);
        }
        // A call that fails at once has the status in the only headers.
        let end = body.trailers().await.map_err(text)?.unwrap_or(head.headers);
        let field =
            |name: &str| end.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        match field("grpc-status").as_deref() {
            Some("0") => unframed(&data).map(<[u8]>::to_vec),
            status => {
                let message = field("grpc-message").unwrap_or_default();
                Err(format!("status {}: {message}", status.unwrap_or("missing")))
            }
        }
    }
}

/// A message as gRPC sends it: not compressed, then the length.
fn frame(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let mut all = BytesMut::with_capacity(5 + body.len());
    all.put_u8(0);
    all.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    all.put_slice(&body);
    all.freeze()
}

fn unframed(mut data: &[u8]) -> Result<&[u8], String> {
    if data.len() < 5 {
        return Err(format!("{} bytes are no answer", data.len()));
    }
    let compressed = data.get_u8();
    let length = data.get_u32() as usize;
    match data.get(..length) {
        Some(body) if compressed == 0 => Ok(body),
        _ => Err(format!("an answer of {length} bytes is compressed or cut")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_framed() {
        let id = Id { id: "blue".into() };
        let bytes = frame(&id);
        assert_eq!(unframed(&bytes).and_then(|body| Id::decode(body).map_err(|e| e.to_string())), Ok(id));
        assert!(unframed(&bytes[..7]).is_err());
        assert!(unframed(&bytes[..3]).is_err());
    }
}
