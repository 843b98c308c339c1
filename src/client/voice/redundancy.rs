//! How much redundancy our voice needs, and what it may cost: from what reports say of loss, how packets are made.
//!
//! Pure. Whole copies of packets (RED, RFC 2198) repair best: a repaired frame is as good as one that came.
//! Where the bit rate is too low for them, in-band FEC (LBRR) stands in for single packets and DRED for bursts.
//! Redundancy comes with the first report of loss, and goes by steps when none has been reported for a while.

use super::opus::{Bandwidth, Settings};
use super::packetizer::LEVEL_EVERY;
use super::sending::{FrameLength, Sending};
use crate::net::codec::Codec;
use crate::net::limits::RTP_BYTES_MAX;
use crate::net::protect::RTP_OVERHEAD;
use crate::net::red::COPY_HEADER_BYTES;
use crate::net::rtp::{AUDIO_LEVEL_BYTES, HEADER_BYTES};
use std::cmp::Ordering;
use std::time::{Duration, Instant};

/// What our voice may take on the wire while the network is bad, against what it takes while it is good:
/// 117 kbit/s against 86 at the default bit rate.
const BUDGET: f32 = 1.36;
/// Least bit rate of a frame that is sent with its copies: below it other means do better.
const RED_BITRATE_MIN: u32 = 20_000;
/// The same where a frame has 20 ms and single packets get lost, which LBRR repairs for less.
const RED_BITRATE_MIN_LONG: u32 = 28_000;
/// From these bit rates on all frequencies are encoded, in frames of 10 and of 20 ms: below them speech is
/// the better for it when all bits go below 8 kHz, and decoders put back what is above.
const FULL_BAND: (u32, u32) = (56_000, 48_000);
/// Loss above this is worth redundancy: less than a packet in five seconds.
const LOSS_MIN: f32 = 0.003;
/// Loss from which one copy is too little, and below which it will do again.
const HEAVY: (f32, f32) = (0.08, 0.06);
/// Bursts from which a copy of the last packet is too near, in packets, and below which it will do again; ...
const LONG_BURST: (f32, f32) = (2.2, 1.8);
/// ... in any case, in ms.
const LONG_BURST_MS: f32 = 25.0;
/// How far back a copy goes, against the mean length of bursts, and at most.
const SPACING: f32 = 1.3;
const SPACING_MAX_MS: f32 = 80.0;
/// A spacing that differs by less is good enough.
const SPACING_SLACK_MS: f32 = 10.0;
/// How far back DRED goes, in ms.
const DRED_MS: u16 = 200;
/// Redundancy goes by a step when less would have done for this long.
pub const HOLD: Duration = Duration::from_secs(4);
/// A copy comes nearer when the nearer one would have done for this long: few bursts make a poor mean, and
/// whoever hears us waits for copies by where they were.
const HOLD_SPACING: Duration = Duration::from_secs(10);
/// Time over which the server's reports of the uplink's loss are taken together, in s.
const UPLINK_OVER_S: f32 = 1.5;

/// Which earlier payloads go with each packet: so many packets back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copies([u8; Copies::MAX]);

impl Copies {
    /// Most copies in one packet.
    pub const MAX: usize = 2;
    /// None.
    pub const NONE: Self = Self([0; Self::MAX]);

    /// One copy, so many packets back.
    #[must_use]
    pub fn one(back: u8) -> Self {
        Self([back, 0])
    }

    /// Copies of the last packet and of the one before.
    #[must_use]
    pub fn two() -> Self {
        Self([1, 2])
    }

    /// How far back each is, the farthest first.
    pub fn oldest_first(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().rev().filter(|back| *back > 0).map(usize::from)
    }

    /// How many there are.
    #[must_use]
    pub fn count(self) -> u32 {
        self.0.into_iter().map(|back| u32::from(back > 0)).sum()
    }
}

/// What reports say of our voice on its way.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Conditions {
    /// Share of our packets that the server missed since its last report, 0 to 1.
    pub uplink_loss: f32,
    /// Mean length of what it missed in a row, in ms; 0 if nothing or not known.
    pub uplink_burst_ms: f32,
    /// 90th percentile of what receivers miss of our packets, over some seconds.
    pub room_loss: f32,
    /// Mean length of what they miss in a row, in ms; 0 if nothing or not known.
    pub room_burst_ms: f32,
}

/// How packets are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Bits per second of the encoder.
    pub bitrate: u32,
    /// Highest frequencies.
    pub bandwidth: Bandwidth,
    /// Copies of earlier packets (RED).
    pub copies: Copies,
    /// In-band FEC (LBRR).
    pub fec: bool,
    /// Loss that the encoder should expect, in percent.
    pub loss_percent: u8,
    /// Deep redundancy, in ms; 0 for none.
    pub dred_ms: u16,
    /// Most bytes of an RTP packet, its header's extension apart.
    pub packet_bytes_max: usize,
}

impl Plan {
    /// The encoder's settings.
    #[must_use]
    pub fn settings(&self, sending: Sending) -> Settings {
        Settings {
            bitrate: self.bitrate,
            bandwidth: self.bandwidth,
            constant: sending.constant,
            dtx: sending.dtx,
            loss_percent: self.loss_percent,
            fec: self.fec,
            dred_ms: self.dred_ms,
            ..Settings::default()
        }
    }
}

/// What the network does to our packets.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Need {
    /// Nothing.
    Clean,
    /// It loses single packets.
    Some,
    /// It loses many.
    Heavy,
    /// It loses packets in a row: a copy must lie so far back, in ms.
    Bursts(f32),
}

impl Need {
    fn rank(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Some => 1,
            Self::Heavy | Self::Bursts(_) => 2,
        }
    }

    fn below(self) -> Self {
        match self {
            Self::Heavy | Self::Bursts(_) => Self::Some,
            Self::Some | Self::Clean => Self::Clean,
        }
    }
}

/// Chooses the redundancy.
#[derive(Debug)]
pub struct Redundancy {
    sending: Sending,
    need: Need,
    /// Loss of the uplink, and of the whole way, lately.
    uplink: f32,
    loss: f32,
    /// When what is in force was last needed, and when the last report came.
    needed: Option<Instant>,
    reported: Option<Instant>,
}

impl Redundancy {
    /// A network of which nothing bad is known.
    #[must_use]
    pub fn new(sending: Sending) -> Self {
        Self { sending, need: Need::Clean, uplink: 0.0, loss: 0.0, needed: None, reported: None }
    }

    /// The user chooses.
    pub fn choose(&mut self, sending: Sending) {
        self.sending = sending;
    }

    /// A report came at `now`. Only those that cover voice of ours count: a silent sender loses nothing.
    pub fn report(&mut self, conditions: Conditions, now: Instant) {
        let since = self.reported.map(|before| now.saturating_duration_since(before));
        self.reported = Some(now);
        let since = since.map_or(0.25, |since| since.as_secs_f32().clamp(0.05, 1.0));
        let weight = 1.0 - (-since / UPLINK_OVER_S).exp();
        self.uplink += (share(conditions.uplink_loss) - self.uplink) * weight;
        // Receivers see what was lost on the way up as well.
        self.loss = self.uplink.max(share(conditions.room_loss));
        let burst = |loss: f32, ms: f32| if loss > LOSS_MIN { ms } else { 0.0 };
        let burst_ms = burst(self.uplink, conditions.uplink_burst_ms)
            .max(burst(conditions.room_loss, conditions.room_burst_ms));
        self.follow(self.wanted(burst_ms), now);
    }

    /// What would do for this loss in such bursts.
    fn wanted(&self, burst_ms: f32) -> Need {
        let frame_ms = self.sending.frame_length().duration().as_secs_f32() * 1e3;
        let (long, still_long) = LONG_BURST;
        let bursts = matches!(self.need, Need::Bursts(_));
        let long = if bursts { still_long } else { long } * frame_ms;
        let long = if bursts { long } else { long.max(LONG_BURST_MS) };
        let (heavy, still_heavy) = HEAVY;
        let heavy = if self.need == Need::Heavy { still_heavy } else { heavy };
        if self.loss <= LOSS_MIN {
            Need::Clean
        } else if burst_ms >= long {
            Need::Bursts((burst_ms * SPACING).min(SPACING_MAX_MS))
        } else if self.loss >= heavy {
            Need::Heavy
        } else {
            Need::Some
        }
    }

    /// Takes more at once, less after a while and by steps.
    fn follow(&mut self, wanted: Need, now: Instant) {
        let needed = self.needed.unwrap_or(now);
        let waited = now.saturating_duration_since(needed);
        let nearer = waited >= HOLD_SPACING;
        let waited = waited >= HOLD;
        let next = match wanted.rank().cmp(&self.need.rank()) {
            Ordering::Greater => Some(wanted),
            Ordering::Less => waited.then(|| self.need.below()),
            Ordering::Equal => match (self.need, wanted) {
                (Need::Bursts(has), Need::Bursts(wants)) if wants < has - SPACING_SLACK_MS => {
                    nearer.then_some(wanted)
                }
                (Need::Bursts(has), Need::Bursts(wants)) if wants > has + SPACING_SLACK_MS => {
                    Some(wanted)
                }
                (Need::Bursts(_), Need::Heavy) => waited.then_some(wanted),
                (Need::Heavy, Need::Bursts(_)) => Some(wanted),
                _ => Some(self.need),
            },
        };
        if let Some(next) = next {
            self.need = next;
            self.needed = Some(now);
        }
    }

    /// How packets of this codec are made now.
    #[must_use]
    pub fn plan(&self, codec: Codec) -> Plan {
        let sending = Sending { codec, ..self.sending };
        match codec {
            Codec::Opus => self.opus(sending),
            Codec::Pcm | Codec::Unknown => Plan {
                bitrate: 0,
                bandwidth: Bandwidth::Wide,
                copies: self.copies(sending, Copies::MAX as u32),
                fec: false,
                loss_percent: 0,
                dred_ms: 0,
                packet_bytes_max: RTP_BYTES_MAX,
            },
        }
    }

    fn opus(&self, sending: Sending) -> Plan {
        let costs = Costs::of(sending);
        let red = |copies: Copies| {
            let bitrate = costs.bitrate(copies.count());
            costs.plan(bitrate, copies)
        };
        let expected = (self.loss * 100.0).ceil() as u8;
        let expected = expected.saturating_add(5).clamp(10, 25);
        let spare = costs.plan(costs.spare_bitrate(), Copies::NONE);
        let lbrr = Plan { fec: true, loss_percent: expected, bandwidth: Bandwidth::Wide, ..spare };
        let dred = Plan { dred_ms: DRED_MS, fec: false, ..lbrr };
        let least = match (self.need, sending.frame_length()) {
            (Need::Bursts(_), _) | (_, FrameLength::Ms10) => RED_BITRATE_MIN,
            (_, FrameLength::Ms20) => RED_BITRATE_MIN_LONG,
        };
        let most = (1..=Copies::MAX as u32).rev().find(|count| costs.bitrate(*count) >= least);
        match (self.need, most) {
            (Need::Clean, _) => costs.plan(costs.chosen(), Copies::NONE),
            (_, Some(most)) => red(self.copies(sending, most)),
            (Need::Bursts(_), None) => dred,
            (Need::Some | Need::Heavy, None) => lbrr,
        }
    }

    /// The copies that are needed, as far as so many can be had.
    fn copies(&self, sending: Sending, most: u32) -> Copies {
        match self.need {
            Need::Clean => Copies::NONE,
            Need::Bursts(ms) => {
                let frame_ms = sending.frame_length().duration().as_secs_f32() * 1e3;
                let farthest = (SPACING_MAX_MS / frame_ms).max(1.0);
                // At most 8.
                Copies::one((ms / frame_ms).ceil().clamp(1.0, farthest) as u8)
            }
            Need::Heavy if most > 1 => Copies::two(),
            Need::Heavy | Need::Some => Copies::one(1),
        }
    }
}

/// What packets may cost, in bytes.
struct Costs {
    sending: Sending,
    /// Of one frame while the network is good.
    frame: f32,
    /// Of a packet on the wire while it is bad.
    budget: f32,
}

impl Costs {
    fn of(sending: Sending) -> Self {
        let frame = sending.bitrate as f32 * Self::seconds(sending) / 8.0;
        Self { sending, frame, budget: (frame + Self::around()) * BUDGET }
    }

    fn seconds(sending: Sending) -> f32 {
        sending.frame_length().duration().as_secs_f32()
    }

    /// Header and tag.
    fn around() -> f32 {
        (HEADER_BYTES + RTP_OVERHEAD) as f32
    }

    /// A packet's part of the levels that now and then go with one: the bit rate pays for them.
    fn level() -> f32 {
        AUDIO_LEVEL_BYTES as f32 / LEVEL_EVERY as f32
    }

    /// Bit rate of whole bytes in a frame.
    fn of_frame(&self, bytes: f32) -> u32 {
        let bits = bytes.floor().max(1.0) * 8.0;
        ((bits / Self::seconds(self.sending)) as u32).max(*super::sending::BITRATES.start())
    }

    /// The bit rate from which the full band is coded.
    fn full_band(&self) -> u32 {
        let (short, long) = FULL_BAND;
        match self.sending.frame_length() {
            FrameLength::Ms10 => short,
            FrameLength::Ms20 => long,
        }
    }

    /// The bit rate while the network is good. Where it carries the full band no bit is given up for the levels: they
    /// come on top, which is 1.6 kbit/s in frames of 10 ms, and speech is nearer to what was said by 0.03 of PESQ-WB.
    fn chosen(&self) -> u32 {
        let pays = self.sending.bitrate < self.full_band();
        self.of_frame(self.frame - if pays { Self::level() } else { 0.0 })
    }

    /// The bit rate that leaves room for so many copies of the same size.
    fn bitrate(&self, copies: u32) -> u32 {
        let headers = COPY_HEADER_BYTES as f32 * copies as f32 + 1.0;
        let frames = self.budget - Self::around() - Self::level() - headers;
        self.of_frame(frames / (copies + 1) as f32).min(self.chosen())
    }

    /// The bit rate that takes all there may be.
    fn spare_bitrate(&self) -> u32 {
        self.of_frame(self.budget - Self::around() - Self::level())
    }

    fn plan(&self, bitrate: u32, copies: Copies) -> Plan {
        let full = self.full_band();
        let bytes_max = self.budget.floor() as usize;
        Plan {
            bitrate,
            bandwidth: if bitrate >= full { Bandwidth::Full } else { Bandwidth::Wide },
            copies,
            fec: false,
            loss_percent: 0,
            dred_ms: 0,
            packet_bytes_max: match self.sending.constant {
                true => bytes_max.saturating_sub(RTP_OVERHEAD),
                // Sizes differ; it is their mean that keeps to the budget.
                false => RTP_BYTES_MAX,
            },
        }
    }
}

/// A share that a peer has told, between 0 and 1.
fn share(told: f32) -> f32 {
    if told.is_finite() { told.clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests;
