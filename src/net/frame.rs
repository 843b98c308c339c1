//! Frames of the control connection: a 4-byte big-endian length, then one MessagePack map.

use super::limits::{FRAME_BYTES_MAX, MESSAGE_DEPTH_MAX, MESSAGE_VALUES_MAX};
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
    /// More values than any message of a client has.
    #[error("a message of more than {MESSAGE_VALUES_MAX} values")]
    TooManyValues,
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

/// As [`decode`], for what a client says: many values, which cost much to read, are refused before they are.
///
/// # Errors
/// The bytes are no such message, nest too deep, or hold too many values.
pub fn decode_from_client<T: DeserializeOwned>(frame: &[u8]) -> Result<T, FrameError> {
    if !has_few_values(frame, MESSAGE_VALUES_MAX) {
        return Err(FrameError::TooManyValues);
    }
    decode(frame)
}

/// Whether the first MessagePack value of `bytes`, with all that is in it, is at most `most` values. What is
/// cut short or malformed has few: whoever reads it will find out.
fn has_few_values(mut bytes: &[u8], most: usize) -> bool {
    let (mut seen, mut open) = (0usize, 1usize);
    while open > 0 {
        // What is announced counts before it comes: it may not all be there.
        if seen.saturating_add(open) > most {
            return false;
        }
        let Some((length, within, rest)) = head(bytes) else { return true };
        seen += 1;
        open = open.saturating_sub(1).saturating_add(within);
        let Some(rest) = rest.get(length..) else { return true };
        bytes = rest;
    }
    true
}

/// The head of a MessagePack value: bytes that follow it, values that are in it, and what is behind it.
fn head(bytes: &[u8]) -> Option<(usize, usize, &[u8])> {
    let (marker, rest) = bytes.split_first()?;
    let sized = |width: usize| {
        let (length, rest) = rest.split_at_checked(width)?;
        let length = length.iter().fold(0usize, |sum, byte| (sum << 8) | usize::from(*byte));
        Some((length, rest))
    };
    let skip = |length: usize| Some((length, 0, rest));
    let blob = |width, more: usize| sized(width).map(|(length, rest)| (length + more, 0, rest));
    let list = |width, each: usize| {
        sized(width).map(|(count, rest)| (0, count.saturating_mul(each), rest))
    };
    match marker {
        0x80..=0x8f => Some((0, usize::from(marker & 0x0f) * 2, rest)),
        0x90..=0x9f => Some((0, usize::from(marker & 0x0f), rest)),
        0xa0..=0xbf => skip(usize::from(marker & 0x1f)),
        0xc4 | 0xd9 => blob(1, 0),
        0xc5 | 0xda => blob(2, 0),
        0xc6 | 0xdb => blob(4, 0),
        0xc7 => blob(1, 1),
        0xc8 => blob(2, 1),
        0xc9 => blob(4, 1),
        0xcc | 0xd0 => skip(1),
        0xcd | 0xd1 | 0xd4 => skip(2),
        0xd5 => skip(3),
        0xca | 0xce | 0xd2 => skip(4),
        0xd6 => skip(5),
        0xcb | 0xcf | 0xd3 => skip(8),
        0xd7 => skip(9),
        0xd8 => skip(17),
        0xdc => list(2, 1),
        0xdd => list(4, 1),
        0xde => list(2, 2),
        0xdf => list(4, 2),
        // Small numbers, nothing, yes and no; and 0xc1, which is none of it.
        _ => skip(0),
    }
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
    use crate::net::message::{ClientMessage, Envelope};

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

    #[test]
    fn a_client_s_message_of_many_values_is_refused_before_it_is_read() {
        let ping = |more: &[u8]| {
            let mut bytes = vec![0x82, 0xa4, b't', b'y', b'p', b'e', 0xa4];
            bytes.extend(b"ping");
            bytes.extend([0xa1, b'x']);
            bytes.extend(more);
            bytes
        };
        let list = |count: u16, of: &[u8]| {
            [&[0xdc][..], &count.to_be_bytes(), &of.repeat(usize::from(count))].concat()
        };
        let read = |bytes: &[u8]| decode_from_client::<Envelope<ClientMessage>>(bytes);
        for more in [&list(400, &[0x90])[..], &list(100, &[0xcd, 1, 2]), &[0xc5, 2, 0, 0][..3]] {
            assert!(!matches!(read(&ping(more)), Err(FrameError::TooManyValues)), "{more:?}");
        }
        for value in [&[0x90][..], &[0x80], &[0xc0], &[0x91, 0xa1, b'y'], &[0xd4, 0, 0]] {
            let many = list(600, value);
            assert!(matches!(read(&ping(&many)), Err(FrameError::TooManyValues)), "{value:?}");
        }
        // What is only announced counts as well, and costs no overflow.
        for announced in [[0xdd, 0xff, 0xff, 0xff, 0xff], [0xdf, 0xff, 0xff, 0xff, 0xff]] {
            assert!(matches!(read(&ping(&announced)), Err(FrameError::TooManyValues)));
        }
    }

    #[test]
    fn what_is_counted_is_what_there_is() {
        // Every kind of value, in one list.
        let mut random = 7u64;
        for _ in 0..500 {
            let mut bytes = Vec::new();
            let mut expected = 0;
            write_value(&mut bytes, &mut random, 3, &mut expected);
            assert!(has_few_values(&bytes, expected), "{bytes:x?}");
            assert!(!has_few_values(&bytes, expected - 1), "{bytes:x?}");
        }
    }

    /// Some value, by a small generator of one's own, and how many it is.
    fn write_value(out: &mut Vec<u8>, random: &mut u64, depth: u32, count: &mut usize) {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (choice, length) = (*random >> 33, (*random >> 40) as usize % 200);
        *count += 1;
        let blob = |marker: &[u8], more: usize| [marker, &vec![0x91; length + more]].concat();
        let short = length as u8;
        let leaf = match choice % 20 {
            0 => vec![0xc0],
            1 => vec![0xc3],
            2 => vec![short & 0x7f],
            3 => vec![0xe0 | short],
            4 => vec![0xcc, 0x91],
            5 => vec![0xd1, 0x91, 0x91],
            6 => [&[0xce][..], &[0x91; 4]].concat(),
            7 => [&[0xcb][..], &[0x91; 8]].concat(),
            8 => [vec![0xa0 | (short & 0x1f)], vec![0x91; length & 0x1f]].concat(),
            9 => blob(&[0xd9, short], 0),
            10 => blob(&[0xda, 0, short], 0),
            11 => blob(&[0xdb, 0, 0, 0, short], 0),
            12 => blob(&[0xc4, short], 0),
            13 => blob(&[0xc5, 1, short], 256),
            14 => blob(&[0xc6, 0, 0, 1, short], 256),
            15 => blob(&[0xc7, short], 1),
            16 => blob(&[0xc8, 1, short], 257),
            17 => blob(&[0xc9, 0, 0, 0, short], 1),
            kind => {
                let width = (choice / 20 % 5) as usize;
                let marker = 0xd4 + width as u8;
                match kind {
                    18 => [vec![marker], vec![0x91; (1 << width) + 1]].concat(),
                    _ => vec![0xd3, 1, 2, 3, 4, 5, 6, 7, 8],
                }
            }
        };
        if depth == 0 || choice / 100 % 3 > 0 {
            return out.extend(leaf);
        }
        let within = short % 6;
        let (head, values) = match choice / 300 % 6 {
            0 => (vec![0x90 | within], within),
            1 => (vec![0x80 | within], 2 * within),
            2 => (vec![0xdc, 0, within], within),
            3 => (vec![0xdd, 0, 0, 0, within], within),
            4 => (vec![0xde, 0, within], 2 * within),
            _ => (vec![0xdf, 0, 0, 0, within], 2 * within),
        };
        out.extend(head);
        (0..values).for_each(|_| write_value(out, random, depth - 1, count));
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
