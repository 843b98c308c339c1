//! What is said: each packet tells whose it is, and the rest of it follows from that, so that nothing altered
//! can pass for speech.

/// Bytes before the filling.
const HEAD_BYTES: usize = 4 + 4 + 8 + 8 + 8;
/// All bytes.
const SPEECH_BYTES: usize = 80;

/// A packet's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speech {
    /// Who speaks.
    pub speaker: u32,
    /// In which of his sessions.
    pub epoch: u32,
    /// Which of his packets.
    pub number: u64,
    /// When it was sealed, in nanoseconds since 1970.
    pub at_ns: u64,
    /// Which roll call it answers; 0 for none.
    pub call: u64,
}

impl Speech {
    /// As bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SPEECH_BYTES);
        bytes.extend(self.speaker.to_be_bytes());
        bytes.extend(self.epoch.to_be_bytes());
        for word in [self.number, self.at_ns, self.call] {
            bytes.extend(word.to_be_bytes());
        }
        let filling = (HEAD_BYTES..SPEECH_BYTES).map(|at| self.filling(at));
        bytes.extend(filling);
        bytes
    }

    fn filling(&self, at: usize) -> u8 {
        let at = u64::try_from(at).unwrap_or(0);
        let mixed =
            (self.number ^ u64::from(self.speaker) << 32 ^ at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 56) as u8
    }

    /// From bytes; `None` for any that `to_bytes` does not make.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let half = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let word = |at: usize| Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let speech = Self {
            speaker: half(0)?,
            epoch: half(4)?,
            number: word(8)?,
            at_ns: word(16)?,
            call: word(24)?,
        };
        (speech.to_bytes() == bytes).then_some(speech)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_is_read_back_and_nothing_altered_passes_for_it() {
        let speech = Speech { speaker: 3, epoch: 1, number: 77, at_ns: 5, call: 0 };
        let bytes = speech.to_bytes();
        assert_eq!(Speech::parse(&bytes), Some(speech));
        for length in 0..bytes.len() {
            assert_eq!(Speech::parse(&bytes[..length]), None);
        }
        let mut bent = bytes;
        bent[HEAD_BYTES + 3] ^= 1;
        assert_eq!(Speech::parse(&bent), None);
    }
}
