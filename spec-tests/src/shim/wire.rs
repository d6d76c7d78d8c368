//! Frames of ttrpc: a ten-byte header, then a protobuf message.
//!
//! Written here rather than taken from the ttrpc crate, so that both ends of a shim's conversation are independent of
//! the library that the shim itself may be built on.

use std::io::{self, Read, Write};

/// A request frame.
pub const REQUEST: u8 = 1;
/// A response frame.
pub const RESPONSE: u8 = 2;
/// The largest body that either side may send.
pub const LIMIT: usize = 4 << 20;

const HEADER: usize = 10;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Odd for streams that a client opened.
    pub stream: u32,
    /// [`REQUEST`] or [`RESPONSE`].
    pub kind: u8,
    /// Bits for streaming calls; 0 for plain ones.
    pub flags: u8,
    /// The message.
    pub body: Vec<u8>,
}

impl Frame {
    /// A request on a stream.
    pub fn request(stream: u32, body: Vec<u8>) -> Self {
        Self { stream, kind: REQUEST, flags: 0, body }
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.body.len());
        bytes.extend(u32::try_from(self.body.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend([self.kind, self.flags]);
        bytes.extend(&self.body);
        bytes
    }

    /// Writes the frame in one call.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.encode())
    }

    /// Reads the next frame; none at a clean end of the stream.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER];
        let got = from.read(&mut header)?;
        if got == 0 {
            return Ok(None);
        }
        from.read_exact(&mut header[got..])?;
        let word =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let length = word(0) as usize;
        if length > LIMIT {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        Ok(Some(Self { stream: word(4), kind: header[8], flags: header[9], body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let frame = Frame { stream: 0x0102_0304, kind: RESPONSE, flags: 2, body: b"abc".to_vec() };
        let bytes = frame.encode();
        assert_eq!(bytes, [0, 0, 0, 3, 1, 2, 3, 4, 2, 2, b'a', b'b', b'c']);
        assert_eq!(Frame::read(&mut bytes.as_slice()).unwrap(), Some(frame));
    }

    #[test]
    fn the_end_of_the_stream_is_no_error_between_frames_only() {
        assert_eq!(Frame::read(&mut [].as_slice()).unwrap(), None);
        assert!(Frame::read(&mut [0, 0, 0, 3, 0].as_slice()).is_err());
    }

    #[test]
    fn an_oversized_frame_is_refused_before_its_body_is_read() {
        let header = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 2, 0];
        assert_eq!(Frame::read(&mut header.as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
