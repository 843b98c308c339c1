//! Frames of the control connection: a 4-byte big-endian length, then one MessagePack map.

use super::limits::{FRAME_BYTES_MAX, MESSAGE_DEPTH_MAX};
use bytes::{BufMut, Bytes, BytesMut};
use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use tokio::io::AsyncRead;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

/// Bytes of the length in front of each frame.
pub const LENGTH_BYTES: usize = 4;

/// A message that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The bytes are no message of this protocol.
    #[error("not a message: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
    /// The message cannot be written as MessagePack.
    #[error("cannot be written: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
    /// The message is larger than a frame.
    #[error("a message of {0} bytes does not fit into a frame")]
    TooLarge(usize),
}

/// Cuts a byte stream into frames and refuses those over 64 KiB before their bytes are read.
#[must_use]
pub fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .length_field_length(LENGTH_BYTES)
        .max_frame_length(FRAME_BYTES_MAX)
        .big_endian()
        .new_codec()
}

/// A whole frame, length included, ready to be written to any number of connections.
///
/// # Errors
/// The message does not fit into a frame.
pub fn encode<T: Serialize>(message: &T) -> Result<Bytes, FrameError> {
    let mut out = BytesMut::with_capacity(128);
    out.put_u32(0);
    let mut writer = (&mut out).writer();
    rmp_serde::encode::write_named(&mut writer, message)?;
    let length = out.len() - LENGTH_BYTES;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge(length));
    }
    let prefix = u32::try_from(length).map_err(|_| FrameError::TooLarge(length))?.to_be_bytes();
    for (to, from) in out.iter_mut().zip(prefix) {
        *to = from;
    }
    Ok(out.freeze())
}

/// Reads the message of one frame (without its length). Fields that are not known are passed over.
///
/// # Errors
/// The bytes are no such message, or nest deeper than any message does.
pub fn decode<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(frame);
    reader.set_max_depth(MESSAGE_DEPTH_MAX);
    Ok(T::deserialize(&mut reader)?)
}

/// The next frame of a connection; `None` when it has ended between two frames.
///
/// # Errors
/// The connection has failed or ended inside a frame, or (`InvalidData`) the frame is too large.
pub async fn next<R: AsyncRead + Unpin>(
    frames: &mut FramedRead<R, LengthDelimitedCodec>,
) -> Option<io::Result<BytesMut>> {
    poll_fn(|context| Pin::new(&mut *frames).poll_next(context)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_that_run_together_or_come_in_pieces_are_cut_right() {
        let mut bytes = Vec::new();
        for text in ["one", "two", ""] {
            bytes.extend(encode(&text).unwrap());
        }
        for piece in [1, 2, 5, bytes.len()] {
            let (mut near, far) = tokio::io::duplex(piece);
            let bytes = bytes.clone();
            tokio::spawn(async move {
                tokio::io::AsyncWriteExt::write_all(&mut near, &bytes).await.unwrap();
            });
            let mut frames = FramedRead::with_capacity(far, codec(), 1);
            for text in ["one", "two", ""] {
                let frame = next(&mut frames).await.unwrap().unwrap();
                assert_eq!(decode::<String>(&frame).unwrap(), text);
            }
            assert!(next(&mut frames).await.is_none());
        }
    }

    #[tokio::test]
    async fn a_frame_too_large_is_refused_before_it_is_read() {
        let length = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes();
        let mut frames = FramedRead::new(&length[..], codec());
        let error = next(&mut frames).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(encode(&"x".repeat(FRAME_BYTES_MAX + 1)).is_err());
    }
}
