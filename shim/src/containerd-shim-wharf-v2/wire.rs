//! Frames of ttrpc: a ten-byte header, then a protobuf message. The messages are those of the crate `ttrpc`. Its server
//! is not used: it answers unknown services with a code that containerd does not take for "not implemented", and drops
//! a method halfway when its caller goes away.

use std::io;

use containerd_shim_protos::ttrpc::proto::{
    FLAG_NO_DATA, FLAG_REMOTE_CLOSED, MESSAGE_HEADER_LENGTH, MESSAGE_LENGTH_MAX, MESSAGE_TYPE_DATA,
    MESSAGE_TYPE_REQUEST, MESSAGE_TYPE_RESPONSE,
};
use containerd_shim_protos::ttrpc::{Code, MessageHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A received frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The call that it belongs to.
    pub(crate) stream: u32,
    /// Whether it is a request.
    pub(crate) is_request: bool,
    /// Whether it is a response.
    pub(crate) is_response: bool,
    /// Whether it is a part of a stream.
    pub(crate) is_data: bool,
    /// Whether its sender sends nothing more of the stream.
    pub(crate) is_last: bool,
    /// Whether there is no message, not even an empty one.
    pub(crate) is_bare: bool,
    /// The message; none if it was too long and was skipped.
    pub(crate) payload: Option<Vec<u8>>,
}

impl Frame {
    /// A part of a stream.
    pub(crate) fn data(stream: u32, payload: &[u8]) -> Self {
        let payload = Some(payload.to_vec());
        Self {
            stream,
            is_request: false,
            is_response: false,
            is_data: true,
            is_last: false,
            is_bare: false,
            payload,
        }
    }
}

/// Reads a frame; none at the end of the connection.
pub(crate) async fn read(reader: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Option<Frame>> {
    let mut header = [0; MESSAGE_HEADER_LENGTH];
    match reader.read_exact(&mut header).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let header = MessageHeader::from(&header);
    let length = header.length as usize;
    let payload = if length > MESSAGE_LENGTH_MAX {
        skip(reader, length).await?;
        None
    } else {
        let mut payload = vec![0; length];
        reader.read_exact(&mut payload).await?;
        Some(payload)
    };
    Ok(Some(Frame {
        stream: header.stream_id,
        is_request: header.type_ == MESSAGE_TYPE_REQUEST,
        is_response: header.type_ == MESSAGE_TYPE_RESPONSE,
        is_data: header.type_ == MESSAGE_TYPE_DATA,
        is_last: header.flags & FLAG_REMOTE_CLOSED != 0,
        is_bare: header.flags & FLAG_NO_DATA != 0,
        payload,
    }))
}

async fn skip(reader: &mut (impl AsyncReadExt + Unpin), mut length: usize) -> io::Result<()> {
    let mut page = [0; 512];
    while length > 0 {
        let part = length.min(page.len());
        reader.read_exact(&mut page[..part]).await?;
        length -= part;
    }
    Ok(())
}

/// Writes a request.
pub(crate) async fn write_request(
    writer: &mut (impl AsyncWriteExt + Unpin),
    stream: u32,
    payload: &[u8],
) -> io::Result<()> {
    write(writer, MessageHeader::new_request(stream, payload.len() as u32), payload).await
}

/// Writes a response.
pub(crate) async fn write_response(
    writer: &mut (impl AsyncWriteExt + Unpin),
    stream: u32,
    payload: &[u8],
) -> io::Result<()> {
    write(writer, MessageHeader::new_response(stream, payload.len() as u32), payload).await
}

/// Writes a part of a stream.
pub(crate) async fn write_data(
    writer: &mut (impl AsyncWriteExt + Unpin),
    stream: u32,
    payload: &[u8],
) -> io::Result<()> {
    write(writer, MessageHeader::new_data(stream, payload.len() as u32), payload).await
}

/// Writes the end of a stream.
pub(crate) async fn write_end(writer: &mut (impl AsyncWriteExt + Unpin), stream: u32) -> io::Result<()> {
    let mut header = MessageHeader::new_data(stream, 0);
    header.flags = FLAG_REMOTE_CLOSED | FLAG_NO_DATA;
    write(writer, header, &[]).await
}

/// In one piece, so that the peer gets a small frame as one packet.
async fn write(
    writer: &mut (impl AsyncWriteExt + Unpin),
    header: MessageHeader,
    payload: &[u8],
) -> io::Result<()> {
    let mut frame = Vec::from(header);
    frame.extend_from_slice(payload);
    writer.write_all(&frame).await
}

/// The status for a frame that is too long.
pub(crate) const TOO_LONG: Code = Code::RESOURCE_EXHAUSTED;

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn frames_survive_the_round_trip() {
        block_on(async {
            let mut bytes = Vec::new();
            write_request(&mut bytes, 7, b"question").await.unwrap();
            write_response(&mut bytes, 9, b"").await.unwrap();
            let mut reader = bytes.as_slice();
            let first = read(&mut reader).await.unwrap().unwrap();
            assert_eq!(
                (first.stream, first.is_request, first.payload),
                (7, true, Some(b"question".to_vec()))
            );
            let second = read(&mut reader).await.unwrap().unwrap();
            assert_eq!((second.stream, second.is_response, second.payload), (9, true, Some(Vec::new())));
            assert_eq!(read(&mut reader).await.unwrap(), None);
        });
    }

    #[test]
    fn a_frame_that_is_too_long_is_skipped_and_one_that_is_cut_off_is_an_error() {
        block_on(async {
            let long = vec![1; MESSAGE_LENGTH_MAX + 1];
            let mut bytes = Vec::new();
            write_request(&mut bytes, 1, &long).await.unwrap();
            write_request(&mut bytes, 3, b"x").await.unwrap();
            let mut reader = bytes.as_slice();
            let skipped = read(&mut reader).await.unwrap().unwrap();
            assert_eq!((skipped.stream, skipped.payload), (1, None));
            assert_eq!(read(&mut reader).await.unwrap().unwrap().stream, 3);
            let cut = &bytes[..100];
            assert!(read(&mut &*cut).await.is_err());
        });
    }
}
