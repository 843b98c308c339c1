//! Redundant audio (RFC 2198): a packet that carries earlier frames again beside its own.
//!
//! A payload is a header for each block, the copies oldest first as their sender chose, the frame
//! of the packet itself last; then the blocks in the same order. A copy's header says how long
//! before the packet's time stamp it began; the last header is one byte.

use super::codec::PayloadType;
use super::limits::RED_COPIES_MAX;

/// The largest time before a packet that a copy can have, in units of the RTP clock: 14 bits.
pub const OFFSET_MAX: u32 = (1 << 14) - 1;
/// The longest copy, in bytes: 10 bits.
pub const COPY_BYTES_MAX: usize = (1 << 10) - 1;
/// Bytes of a copy's header; that of the packet's own frame has one.
pub const COPY_HEADER_BYTES: usize = 4;

/// One frame in a redundant payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// What it is encoded as.
    pub payload_type: PayloadType,
    /// How long before the packet's time stamp it begins, in units of the RTP clock; 0 for the packet's own.
    pub offset: u32,
    /// The frame.
    pub data: &'a [u8],
}

/// Why bytes are no redundant payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedError {
    /// It ends inside a header or a block.
    #[error("a redundant payload that ends too early")]
    Truncated,
    /// It has more blocks than anybody needs.
    #[error("a redundant payload with too many blocks")]
    TooMany,
    /// A block that has no place in a header: too old or too long.
    #[error("a copy that is too old or too long for a redundant payload")]
    TooLarge,
}

/// The blocks of a redundant payload, in the order in which they stand there: the packet's own frame is the last.
///
/// # Errors
/// The payload is cut off, or has more than [`RED_COPIES_MAX`] copies. Nothing is allocated.
pub fn parse(payload: &[u8]) -> Result<impl Iterator<Item = Block<'_>> + Clone, RedError> {
    let (mut rest, mut copies, mut lengths) = (payload, 0usize, 0usize);
    let own = loop {
        match rest {
            [first, tail @ ..] if first & 0x80 == 0 => {
                rest = tail;
                break PayloadType(first & 0x7f);
            }
            [_, _, high, low, tail @ ..] => {
                lengths += usize::from(u16::from_be_bytes([high & 0x03, *low]));
                copies += 1;
                rest = tail;
            }
            _ => return Err(RedError::Truncated),
        }
        if copies > RED_COPIES_MAX {
            return Err(RedError::TooMany);
        }
    };
    let data = rest;
    let (_, last) = data.split_at_checked(lengths).ok_or(RedError::Truncated)?;
    let (headers, _) = payload.as_chunks::<COPY_HEADER_BYTES>();
    let mut blocks = data;
    let copies = headers.iter().take(copies).map(move |[kind, time, high, low]| {
        let offset = u32::from(u16::from_be_bytes([*time, *high])) >> 2;
        let length = usize::from(u16::from_be_bytes([high & 0x03, *low]));
        // Always there: the sum of all lengths was.
        let (data, rest) = blocks.split_at_checked(length).unwrap_or_default();
        blocks = rest;
        Block { payload_type: PayloadType(kind & 0x7f), offset, data }
    });
    Ok(copies.chain([Block { payload_type: own, offset: 0, data: last }]))
}

/// Writes a redundant payload to the end of `out`: the copies in this order, then the packet's own frame.
///
/// # Errors
/// A copy is too old or too long, or there are too many; nothing is written then.
pub fn write(copies: &[Block<'_>], own: Block<'_>, out: &mut Vec<u8>) -> Result<(), RedError> {
    if copies.len() > RED_COPIES_MAX {
        return Err(RedError::TooMany);
    }
    let fits = |copy: &Block<'_>| copy.offset <= OFFSET_MAX && copy.data.len() <= COPY_BYTES_MAX;
    if !copies.iter().all(fits) {
        return Err(RedError::TooLarge);
    }
    for copy in copies {
        let word = copy.offset << 10 | u32::try_from(copy.data.len()).unwrap_or(0);
        let [_, a, b, c] = word.to_be_bytes();
        out.extend([copy.payload_type.0 | 0x80, a, b, c]);
    }
    out.push(own.payload_type.0 & 0x7f);
    for block in copies.iter().chain([&own]) {
        out.extend_from_slice(block.data);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::codec::{PT_L16, PT_OPUS};
    use super::*;
    use proptest::prelude::*;

    fn block(payload_type: PayloadType, offset: u32, data: &[u8]) -> Block<'_> {
        Block { payload_type, offset, data }
    }

    #[test]
    fn the_layout_is_that_of_the_rfc() {
        let mut out = Vec::new();
        let copies = [block(PT_OPUS, 960, &[1, 2, 3]), block(PT_OPUS, 480, &[4])];
        write(&copies, block(PT_OPUS, 0, &[5, 6]), &mut out).unwrap();
        // F=1, type 111; 14 bits of 960; 10 bits of 3.
        assert_eq!(out[..4], [0xef, 0x0f, 0x00, 0x03]);
        assert_eq!(out[4..8], [0xef, 0x07, 0x80, 0x01]);
        assert_eq!(out[8..], [0x6f, 1, 2, 3, 4, 5, 6]);
        let back: Vec<_> = parse(&out).unwrap().collect();
        assert_eq!(back, [copies[0], copies[1], block(PT_OPUS, 0, &[5, 6])]);
    }

    #[test]
    fn a_frame_alone_costs_one_byte() {
        let mut out = Vec::new();
        write(&[], block(PT_L16, 0, &[9; 20]), &mut out).unwrap();
        assert_eq!(out.len(), 21);
        assert_eq!(parse(&out).unwrap().collect::<Vec<_>>(), [block(PT_L16, 0, &[9; 20])]);
    }

    #[test]
    fn what_is_cut_off_or_too_much_is_refused() {
        let mut out = Vec::new();
        write(&[block(PT_OPUS, 480, &[1; 40])], block(PT_OPUS, 0, &[2]), &mut out).unwrap();
        for length in 0..45 {
            assert!(parse(&out[..length]).is_err(), "{length}");
        }
        // An own frame that is empty is none that is cut off.
        assert!(parse(&out[..45]).is_ok());
        assert!(parse(&[]).is_err());
        let many = [0x80; 4 * (RED_COPIES_MAX + 1)];
        assert_eq!(parse(&[&many[..], &[0]].concat()).err(), Some(RedError::TooMany));
        let own = block(PT_OPUS, 0, &[]);
        let long = [0; COPY_BYTES_MAX + 1];
        for copy in [block(PT_OPUS, OFFSET_MAX + 1, &[]), block(PT_OPUS, 0, &long)] {
            out.clear();
            assert_eq!(write(&[copy], own, &mut out), Err(RedError::TooLarge));
            assert!(out.is_empty());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            copies in prop::collection::vec((0u8..128, 0..=OFFSET_MAX, prop::collection::vec(any::<u8>(), 0..100)), 0..=RED_COPIES_MAX),
            own in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let copies: Vec<_> =
                copies.iter().map(|(t, o, d)| block(PayloadType(*t), *o, d)).collect();
            let own = block(PT_OPUS, 0, &own);
            let mut out = Vec::new();
            write(&copies, own, &mut out).unwrap();
            let back: Vec<_> = parse(&out).unwrap().collect();
            prop_assert_eq!(&back[..copies.len()], &copies[..]);
            prop_assert_eq!(back.last(), Some(&own));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(blocks) = parse(&bytes) {
                let blocks: Vec<_> = blocks.collect();
                let total: usize = blocks.iter().map(|b| b.data.len()).sum();
                let headers = COPY_HEADER_BYTES * (blocks.len() - 1) + 1;
                prop_assert_eq!(total + headers, bytes.len());
            }
        }
    }
}
