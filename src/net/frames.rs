//! The frames that a voice packet carries: its own, and where it is redundant audio (RFC 2198) copies of
//! earlier ones.
//!
//! Nothing is allocated; what is malformed is passed over or refused, and never makes trouble later.

use super::codec::{PT_RED, PayloadType, duration};
use super::red;

/// One frame of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is encoded as: never redundant audio.
    pub payload_type: PayloadType,
    /// How long before the packet's time stamp it begins, in units of the RTP clock; 0 for the packet's own.
    pub offset: u32,
    /// What it lasts, in units of the RTP clock; 0 only for the packet's own: it ends a talkspurt.
    pub duration: u32,
    /// The frame.
    pub data: &'a [u8],
}

/// A payload that nobody can play on its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a payload that is malformed or of a type that its stream cannot have")]
pub struct BadPayload;

/// The frames of a payload on a stream of this RTP clock: copies as their sender put them, the packet's
/// own last. Copies that cannot be played are left out.
///
/// # Errors
/// The packet's own frame cannot be played: its type is unknown or of another clock, or its bytes are malformed.
pub fn frames(
    payload_type: PayloadType,
    clock_hz: u32,
    payload: &[u8],
) -> Result<impl Iterator<Item = Frame<'_>> + Clone, BadPayload> {
    let fits = move |payload_type: PayloadType| payload_type.clock_hz() == Some(clock_hz);
    let (own, blocks) = if payload_type == PT_RED {
        let blocks = red::parse(payload).map_err(|_| BadPayload)?;
        let own = blocks.clone().last().ok_or(BadPayload)?;
        ((own.payload_type, own.data), Some(blocks))
    } else {
        ((payload_type, payload), None)
    };
    let (payload_type, data) = own;
    let lasts = duration(payload_type, data).filter(|_| fits(payload_type)).ok_or(BadPayload)?;
    let copies = blocks.into_iter().flatten().filter_map(move |block| {
        let lasts = duration(block.payload_type, block.data)?;
        (block.offset > 0 && lasts > 0 && fits(block.payload_type)).then_some(Frame {
            payload_type: block.payload_type,
            offset: block.offset,
            duration: lasts,
            data: block.data,
        })
    });
    Ok(copies.chain([Frame { payload_type, offset: 0, duration: lasts, data }]))
}

#[cfg(test)]
mod tests {
    use super::super::codec::{L16_RATE, OPUS_RATE, PT_L16, PT_OPUS};
    use super::super::red::Block;
    use super::*;

    const OPUS_10: [u8; 3] = [8 << 3, 1, 2];

    fn block(payload_type: PayloadType, offset: u32, data: &[u8]) -> Block<'_> {
        Block { payload_type, offset, data }
    }

    fn redundant(copies: &[Block<'_>], own: Block<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        red::write(copies, own, &mut out).unwrap();
        out
    }

    fn offsets(clock_hz: u32, payload: &[u8]) -> Option<Vec<(u32, u32)>> {
        let frames = frames(PT_RED, clock_hz, payload).ok()?;
        Some(frames.map(|frame| (frame.offset, frame.duration)).collect())
    }

    #[test]
    fn a_plain_payload_is_one_frame_on_its_own_clock_alone() {
        let one: Vec<_> = frames(PT_L16, L16_RATE, &[0; 320]).unwrap().collect();
        assert_eq!((one.len(), one[0].duration, one[0].offset), (1, 160, 0));
        assert!(frames(PT_L16, OPUS_RATE, &[0; 320]).is_err());
        assert!(frames(PT_OPUS, L16_RATE, &OPUS_10).is_err());
        assert!(frames(PayloadType(0), L16_RATE, &[0; 320]).is_err());
    }

    #[test]
    fn copies_come_before_the_packet_s_own_frame() {
        let copies = [block(PT_OPUS, 960, &OPUS_10), block(PT_OPUS, 480, &OPUS_10)];
        let payload = redundant(&copies, block(PT_OPUS, 0, &OPUS_10));
        assert_eq!(offsets(OPUS_RATE, &payload), Some(vec![(960, 480), (480, 480), (0, 480)]));
        assert_eq!(offsets(L16_RATE, &payload), None);
    }

    #[test]
    fn copies_that_cannot_be_played_are_left_out_and_an_own_frame_that_cannot_refuses_all() {
        let copies = [
            block(PT_RED, 960, &OPUS_10),
            block(PT_OPUS, 0, &OPUS_10),
            block(PT_OPUS, 480, &[]),
            block(PT_L16, 480, &[0; 4]),
            block(PT_OPUS, 1440, &OPUS_10),
        ];
        let payload = redundant(&copies, block(PT_OPUS, 0, &[]));
        assert_eq!(offsets(OPUS_RATE, &payload), Some(vec![(1440, 480), (0, 0)]));
        for own in [block(PT_RED, 0, &OPUS_10), block(PT_OPUS, 0, &[0xff, 0])] {
            assert_eq!(offsets(OPUS_RATE, &redundant(&copies, own)), None);
        }
    }
}
