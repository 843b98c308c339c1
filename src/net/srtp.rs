//! SRTP and SRTCP with AEAD_AES_128_GCM (RFC 3711, RFC 7714): session keys, sealing, opening.
//!
//! Knows one direction of one session and no state: which index a packet has, and whether it was
//! seen before, is the replay window's to say. A nonce is made of SSRC and index, so whoever seals
//! must never use an (SSRC, index) twice under one key. Nothing here allocates but the key setup.
//!
//! ```text
//! SRTP    header, CSRCs, extension | encrypted payload | tag (16)
//! SRTCP   first 8 bytes | encrypted rest | tag (16) | E=1, index (31 bits)
//! ```
//!
//! There is no MKI, and the key derivation rate is 0: one set of session keys for all packets.

use super::ids::PacketIndex;
use super::protect::{DirectionKey, KeyError, OpenError, SealError, TAG_BYTES};
use super::rtp;
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use zeroize::{Zeroize, Zeroizing};

const KEY_BYTES: usize = 16;
const SALT_BYTES: usize = 12;
/// The salt that the key derivation takes: shorter ones are filled up with zeros on the right.
const DERIVATION_SALT_BYTES: usize = 14;
/// Bytes of an SRTCP packet that are not encrypted: header and SSRC of its first packet.
const RTCP_CLEAR_BYTES: usize = 8;
/// Bytes of the E flag and the SRTCP index.
const RTCP_INDEX_BYTES: usize = 4;
/// The E flag: this SRTCP packet is encrypted.
const ENCRYPTED: u32 = 1 << 31;

/// What is derived from a master key, by label (RFC 3711, 4.3.1 and 4.3.2).
#[derive(Clone, Copy)]
enum Label {
    RtpKey = 0,
    RtpSalt = 2,
    RtcpKey = 3,
    RtcpSalt = 5,
}

/// The session keys of one direction, for RTP and for RTCP. Wiped when dropped.
pub struct SrtpKeys {
    rtp: SessionKey,
    rtcp: SessionKey,
}

/// An encryption key, expanded, and its salt. The library wipes the key's memory when it frees it.
struct SessionKey {
    key: LessSafeKey,
    salt: [u8; SALT_BYTES],
}

impl std::fmt::Debug for SrtpKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SrtpKeys")
    }
}

impl Drop for SessionKey {
    fn drop(&mut self) {
        self.salt.zeroize();
    }
}

impl SrtpKeys {
    /// Derives the session keys: the first 16 bytes are the master key, the last 12 its salt.
    ///
    /// # Errors
    /// The library cannot set a key up: no memory.
    pub fn derive(master: &DirectionKey) -> Result<Self, KeyError> {
        let (key, rest) = master.expose().split_first_chunk().ok_or(KeyError::Setup)?;
        let mut salt = Zeroizing::new([0; DERIVATION_SALT_BYTES]);
        salt.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        Ok(Self {
            rtp: SessionKey::derive(key, &salt, Label::RtpKey, Label::RtpSalt)?,
            rtcp: SessionKey::derive(key, &salt, Label::RtcpKey, Label::RtcpSalt)?,
        })
    }

    /// Opens an SRTP packet in place (RFC 7714, 8.2): the RTP packet, at the front of `datagram`.
    ///
    /// # Errors
    /// Too short, not authentic, or of an index that no packet can have. The bytes are spoilt then.
    pub fn open_rtp<'a>(
        &self,
        datagram: &'a mut [u8],
        index: PacketIndex,
    ) -> Result<&'a mut [u8], OpenError> {
        let length = datagram.len().checked_sub(TAG_BYTES).ok_or(OpenError::Truncated)?;
        let clear = rtp::header_bytes(datagram).filter(|bytes| *bytes <= length);
        let clear = clear.ok_or(OpenError::Truncated)?;
        let nonce = self.rtp.rtp_nonce(datagram, index).ok_or(OpenError::Truncated)?;
        let (header, body) = datagram.split_at_mut_checked(clear).ok_or(OpenError::Truncated)?;
        let opened = self.rtp.key.open_in_place(nonce, Aad::from(&*header), body);
        opened.map_err(|_| OpenError::Unauthentic)?;
        datagram.get_mut(..length).ok_or(OpenError::Truncated)
    }

    /// Opens an SRTCP packet in place (RFC 7714, 9.2): the RTCP packet, at the front of `datagram`, and its index.
    ///
    /// # Errors
    /// Too short, not encrypted (E=0), or not authentic. The bytes are spoilt then.
    pub fn open_rtcp<'a>(
        &self,
        datagram: &'a mut [u8],
    ) -> Result<(&'a mut [u8], PacketIndex), OpenError> {
        let (packet, word) =
            datagram.split_last_chunk_mut::<RTCP_INDEX_BYTES>().ok_or(OpenError::Truncated)?;
        let flagged = u32::from_be_bytes(*word);
        let length = packet.len().checked_sub(TAG_BYTES).ok_or(OpenError::Truncated)?;
        if length < RTCP_CLEAR_BYTES {
            return Err(OpenError::Truncated);
        }
        if flagged & ENCRYPTED == 0 {
            return Err(OpenError::Unauthentic);
        }
        let index = PacketIndex(u64::from(flagged & !ENCRYPTED));
        let (header, body) =
            packet.split_first_chunk_mut::<RTCP_CLEAR_BYTES>().ok_or(OpenError::Truncated)?;
        let (nonce, aad) = self.rtcp.rtcp_nonce(header, flagged);
        let opened = self.rtcp.key.open_in_place(nonce, Aad::from(aad), body);
        opened.map_err(|_| OpenError::Unauthentic)?;
        let packet = packet.get_mut(..length).ok_or(OpenError::Truncated)?;
        Ok((packet, index))
    }

    /// Appends an RTP packet to `out`, sealed (RFC 7714, 8.2). On an error `out` is as it was.
    ///
    /// # Errors
    /// No RTP packet, not that index's packet, or an index beyond the last.
    pub fn seal_rtp(
        &self,
        packet: &[u8],
        index: PacketIndex,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        if index > PacketIndex::RTP_MAX {
            return Err(SealError::Exhausted);
        }
        // The nonce is made of the index: one that is not the packet's own could come twice.
        if rtp::peek_seq(packet) != Some(index.seq()) {
            return Err(SealError::Packet);
        }
        let clear = rtp::header_bytes(packet).ok_or(SealError::Packet)?;
        let nonce = self.rtp.rtp_nonce(packet, index).ok_or(SealError::Packet)?;
        let (header, payload) = packet.split_at_checked(clear).ok_or(SealError::Packet)?;
        out.extend_from_slice(header);
        self.rtp.seal(nonce, header, payload, out, clear)
    }

    /// Appends an RTCP packet to `out`, sealed (RFC 7714, 9.2). On an error `out` is as it was.
    ///
    /// # Errors
    /// No RTCP packet, or an index beyond the last.
    pub fn seal_rtcp(
        &self,
        packet: &[u8],
        index: PacketIndex,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let last = index <= PacketIndex::RTCP_MAX;
        let word = u32::try_from(index.0).ok().filter(|_| last).ok_or(SealError::Exhausted)?;
        let (header, rest) =
            packet.split_first_chunk::<RTCP_CLEAR_BYTES>().ok_or(SealError::Packet)?;
        let flagged = word | ENCRYPTED;
        let (nonce, aad) = self.rtcp.rtcp_nonce(header, flagged);
        out.extend_from_slice(header);
        self.rtcp.seal(nonce, &aad, rest, out, RTCP_CLEAR_BYTES)?;
        out.extend_from_slice(&flagged.to_be_bytes());
        Ok(())
    }
}

impl SessionKey {
    fn derive(
        master: &[u8; KEY_BYTES],
        salt: &[u8; DERIVATION_SALT_BYTES],
        key_label: Label,
        salt_label: Label,
    ) -> Result<Self, KeyError> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        derive(master, salt, key_label as u8, key.as_mut_slice())?;
        let mut session_salt = [0; SALT_BYTES];
        derive(master, salt, salt_label as u8, &mut session_salt)?;
        Self::new(&key, session_salt)
    }

    fn new(key: &[u8; KEY_BYTES], salt: [u8; SALT_BYTES]) -> Result<Self, KeyError> {
        let key = UnboundKey::new(&AES_128_GCM, key).map_err(|_| KeyError::Setup)?;
        Ok(Self { key: LessSafeKey::new(key), salt })
    }

    /// `00 00 | SSRC | ROC | SEQ` XOR salt (RFC 7714, 8.1). None beyond the last index.
    fn rtp_nonce(&self, packet: &[u8], index: PacketIndex) -> Option<Nonce> {
        let ssrc = rtp::ssrc_at_8(packet)?;
        let [0, 0, r0, r1, r2, r3, s0, s1] = index.0.to_be_bytes() else { return None };
        let [a, b, c, d] = ssrc.0.to_be_bytes();
        Some(self.nonce([0, 0, a, b, c, d, r0, r1, r2, r3, s0, s1]))
    }

    /// `00 00 | SSRC | 00 00 | index` XOR salt (RFC 7714, 9.1), and what is authenticated beside the
    /// encrypted part: the first 8 bytes and the index with its flag.
    fn rtcp_nonce(
        &self,
        header: &[u8; RTCP_CLEAR_BYTES],
        flagged: u32,
    ) -> (Nonce, [u8; RTCP_CLEAR_BYTES + RTCP_INDEX_BYTES]) {
        let [h0, h1, h2, h3, a, b, c, d] = *header;
        let [i0, i1, i2, i3] = (flagged & !ENCRYPTED).to_be_bytes();
        let [f0, f1, f2, f3] = flagged.to_be_bytes();
        let nonce = self.nonce([0, 0, a, b, c, d, 0, 0, i0, i1, i2, i3]);
        (nonce, [h0, h1, h2, h3, a, b, c, d, f0, f1, f2, f3])
    }

    fn nonce(&self, mut bytes: [u8; SALT_BYTES]) -> Nonce {
        bytes.iter_mut().zip(self.salt).for_each(|(byte, salt)| *byte ^= salt);
        Nonce::assume_unique_for_key(bytes)
    }

    /// Appends `payload`, encrypted, and the tag to `out`, at whose end `clear` bytes of this packet
    /// stand already; takes those away again if it fails.
    fn seal(
        &self,
        nonce: Nonce,
        aad: &[u8],
        payload: &[u8],
        out: &mut Vec<u8>,
        clear: usize,
    ) -> Result<(), SealError> {
        let begin = out.len();
        out.extend_from_slice(payload);
        let body = out.get_mut(begin..).unwrap_or_default();
        match self.key.seal_in_place_separate_tag(nonce, Aad::from(aad), body) {
            Ok(tag) => {
                out.extend_from_slice(tag.as_ref());
                Ok(())
            }
            Err(_) => {
                out.truncate(begin.saturating_sub(clear));
                Err(SealError::Packet)
            }
        }
    }
}

/// The AES-CM pseudo-random function of the key derivation (RFC 3711, 4.3.1 and 4.3.3), with a key
/// derivation rate of 0: AES in counter mode over zeros, begun at `salt XOR (label | 0...)`.
fn derive(
    master: &[u8; KEY_BYTES],
    salt: &[u8; DERIVATION_SALT_BYTES],
    label: u8,
    out: &mut [u8],
) -> Result<(), KeyError> {
    let [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13] = *salt;
    // The label stands above the 48 bits of the packet index, which a rate of 0 leaves at zero.
    let start = [s0, s1, s2, s3, s4, s5, s6, s7 ^ label, s8, s9, s10, s11, s12, s13, 0, 0];
    out.fill(0);
    let key = UnboundCipherKey::new(&AES_128, master).map_err(|_| KeyError::Setup)?;
    let stream = EncryptingKey::ctr(key).map_err(|_| KeyError::Setup)?;
    let context = EncryptionContext::Iv128(FixedLength::from(start));
    stream.less_safe_encrypt(out, context).map_err(|_| KeyError::Setup)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::secret::Secret;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
        assert_eq!(digits.len(), text.chars().filter(|c| !c.is_whitespace()).count());
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    fn array<const N: usize>(text: &str) -> [u8; N] {
        hex(text).try_into().unwrap()
    }

    /// The session key and salt of RFC 7714, sections 16 and 17, for RTP and RTCP alike.
    fn rfc7714() -> SrtpKeys {
        let key = array("000102030405060708090a0b0c0d0e0f");
        let salt = array("517569642070726f2071756f");
        SrtpKeys {
            rtp: SessionKey::new(&key, salt).unwrap(),
            rtcp: SessionKey::new(&key, salt).unwrap(),
        }
    }

    // RFC 7714, 16: SSRC 5501a0b2, ROC 0, sequence number f17b.
    const RTP: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
                       69736120 696e2070 61727465 73207472 6573";
    const RTP_INDEX: PacketIndex = PacketIndex(0xf17b);
    // RFC 7714, 16.1.1.
    const SRTP: &str = "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5
                        0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439
                        0cce";
    // RFC 7714, 17.1 (the packet that its sections encrypt; the preamble prints another).
    const RTCP: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
                        deadbeef deadbeef deadbeef deadbeef deadbeef";
    const RTCP_INDEX: PacketIndex = PacketIndex(0x5d4);
    const SRTCP: &str = "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d
                         c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872
                         45d9eade 800005d4";
    // RFC 7714, 17.3: authentic, but not encrypted.
    const SRTCP_TAGGED: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930
                                4c756e61 deadbeef deadbeef deadbeef deadbeef deadbeef 841dd968
                                3dd78ec9 2ae58790 125f62b3 000005d4";

    #[test]
    fn keys_derive_as_in_rfc_3711_appendix_b_3() {
        let master = array("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = array("0EC675AD498AFEEBB6960B3AABE6");
        let derived = |label, length| {
            let mut out = vec![0x55; length];
            derive(&master, &salt, label, &mut out).unwrap();
            out
        };
        assert_eq!(derived(0, 16), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(derived(2, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));
        let authentication = "CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE
            E049646C43D9327AD175578EF7227098 6371C10C9A369AC2F94A8C5FBCDDDC25
            6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2";
        assert_eq!(derived(1, 94), hex(authentication));
    }

    #[test]
    fn rtp_is_sealed_and_opened_as_in_rfc_7714_section_16_1() {
        let mut sealed = b"before".to_vec();
        rfc7714().seal_rtp(&hex(RTP), RTP_INDEX, &mut sealed).unwrap();
        assert_eq!(&sealed[6..], hex(SRTP));
        let mut datagram = hex(SRTP);
        assert_eq!(rfc7714().open_rtp(&mut datagram, RTP_INDEX).unwrap(), hex(RTP));
    }

    #[test]
    fn rtcp_is_sealed_and_opened_as_in_rfc_7714_section_17_1() {
        let mut sealed = b"before".to_vec();
        rfc7714().seal_rtcp(&hex(RTCP), RTCP_INDEX, &mut sealed).unwrap();
        assert_eq!(&sealed[6..], hex(SRTCP));
        let mut datagram = hex(SRTCP);
        let (packet, index) = rfc7714().open_rtcp(&mut datagram).unwrap();
        assert_eq!((&*packet, index), (&*hex(RTCP), RTCP_INDEX));
    }

    #[test]
    fn rtcp_that_is_authentic_but_not_encrypted_is_refused() {
        let mut datagram = hex(SRTCP_TAGGED);
        assert_eq!(rfc7714().open_rtcp(&mut datagram), Err(OpenError::Unauthentic));
    }

    #[test]
    fn every_changed_bit_and_every_truncation_is_refused() {
        let keys = rfc7714();
        for (good, rtcp) in [(hex(SRTP), false), (hex(SRTCP), true)] {
            let open = |mut bytes: Vec<u8>| match rtcp {
                true => keys.open_rtcp(&mut bytes).is_ok(),
                false => keys.open_rtp(&mut bytes, RTP_INDEX).is_ok(),
            };
            assert!(open(good.clone()));
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(!open(bad), "bit {bit} of {}", if rtcp { "SRTCP" } else { "SRTP" });
            }
            for length in 0..good.len() {
                assert!(!open(good[..length].to_vec()));
            }
        }
    }

    #[test]
    fn csrcs_and_extensions_are_authentic_but_readable_and_the_rest_is_not() {
        // Two CSRCs, a header extension of one word, a payload.
        let packet = hex("92600001 00000002 00000003 aaaaaaaa bbbbbbbb bede0001 10ff0000 766f6963");
        let mut sealed = Vec::new();
        rfc7714().seal_rtp(&packet, PacketIndex(1), &mut sealed).unwrap();
        assert_eq!(sealed[..28], packet[..28]);
        assert_ne!(sealed[28..32], packet[28..32]);
        for byte in 0..28 {
            let mut bad = sealed.clone();
            bad[byte] ^= 1;
            assert!(rfc7714().open_rtp(&mut bad, PacketIndex(1)).is_err());
        }
        assert_eq!(rfc7714().open_rtp(&mut sealed, PacketIndex(1)).unwrap(), packet);
    }

    #[test]
    fn the_roll_over_counter_is_part_of_what_is_authenticated() {
        let keys = SrtpKeys::derive(&Secret::new([3; 28])).unwrap();
        let index = PacketIndex::new(7, RTP_INDEX.seq());
        let mut sealed = Vec::new();
        keys.seal_rtp(&hex(RTP), index, &mut sealed).unwrap();
        for roc in [0, 6, 8] {
            let other = PacketIndex::new(roc, RTP_INDEX.seq());
            assert!(keys.open_rtp(&mut sealed.clone(), other).is_err());
        }
        assert!(keys.open_rtp(&mut sealed, index).is_ok());
    }

    #[test]
    fn no_index_beyond_the_last_is_sealed_or_opened() {
        let keys = rfc7714();
        let mut out = Vec::new();
        let last = PacketIndex::new(u32::MAX, 0xffff);
        let mut packet = hex(RTP);
        packet[2..4].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(keys.seal_rtp(&packet, last, &mut out), Ok(()));
        assert!(keys.open_rtp(&mut out, last).is_ok());
        let beyond = PacketIndex(last.0 + 0x1_0000);
        out.clear();
        assert_eq!(keys.seal_rtp(&packet, beyond, &mut out), Err(SealError::Exhausted));
        assert!(keys.open_rtp(&mut hex(SRTP), PacketIndex(RTP_INDEX.0 + (1 << 48))).is_err());
        assert_eq!(keys.seal_rtcp(&hex(RTCP), PacketIndex((1 << 31) - 1), &mut out), Ok(()));
        out.clear();
        let beyond = PacketIndex(1 << 31);
        assert_eq!(keys.seal_rtcp(&hex(RTCP), beyond, &mut out), Err(SealError::Exhausted));
        assert!(out.is_empty());
    }

    #[test]
    fn a_packet_is_sealed_only_under_its_own_sequence_number() {
        let mut out = Vec::new();
        let other = PacketIndex(RTP_INDEX.0 + 1);
        assert_eq!(rfc7714().seal_rtp(&hex(RTP), other, &mut out), Err(SealError::Packet));
        assert!(out.is_empty());
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", rfc7714()), "SrtpKeys");
    }
}
