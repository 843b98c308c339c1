//! What redundancy follows from which reports, and a closed loop with a network that loses packets.

use super::*;
use crate::net::clock;
use crate::net::ids::PacketIndex;
use crate::net::losses::{LossMeter, Losses};
use proptest::prelude::*;

const REPORT: Duration = Duration::from_millis(250);

fn room(loss: f32, burst_ms: f32) -> Conditions {
    Conditions { room_loss: loss, room_burst_ms: burst_ms, ..Conditions::default() }
}

fn at(bitrate: u32) -> Sending {
    Sending { bitrate, ..Sending::default() }
}

/// After four seconds of these reports.
fn under(sending: Sending, conditions: Conditions) -> Plan {
    let mut redundancy = Redundancy::new(sending);
    let start = clock::now();
    for k in 0..16 {
        redundancy.report(conditions, start + REPORT * k);
    }
    redundancy.plan(sending.codec)
}

/// Bytes of a datagram of this plan, with an average part of the levels.
fn wire(plan: &Plan, sending: Sending) -> f32 {
    let frame = plan.bitrate * sending.frame_length().tens() / 800;
    let copies = plan.copies.count();
    let red = if copies > 0 { 1 + 4 * copies } else { 0 };
    (28 + red + (copies + 1) * frame) as f32 + 1.6
}

fn kbits(plan: &Plan, sending: Sending) -> f32 {
    wire(plan, sending) * 8.0 / (10.0 * sending.frame_length().tens() as f32)
}

#[test]
fn a_good_network_gets_all_of_the_bit_rate_in_full_band_and_nothing_twice() {
    let plan = under(Sending::default(), Conditions::default());
    assert_eq!((plan.copies, plan.fec, plan.dred_ms), (Copies::NONE, false, 0));
    assert_eq!((plan.bitrate, plan.bandwidth), (64_000, Bandwidth::Full));
    assert!(kbits(&plan, Sending::default()) < 88.0);
}

#[test]
fn single_losses_get_a_copy_of_the_last_packet() {
    let plan = under(Sending::default(), room(0.05, 10.0));
    assert_eq!((plan.copies, plan.bandwidth), (Copies::one(1), Bandwidth::Wide));
    assert!(plan.bitrate >= 44_000, "{plan:?}");
    assert!(kbits(&plan, Sending::default()) <= 117.6, "{plan:?}");
}

#[test]
fn many_losses_get_two_copies() {
    let plan = under(Sending::default(), room(0.15, 12.0));
    assert_eq!(plan.copies, Copies::two());
    assert!(plan.bitrate >= 28_000, "{plan:?}");
    assert!(kbits(&plan, Sending::default()) <= 117.6, "{plan:?}");
}

#[test]
fn bursts_get_a_copy_from_beyond_them_and_not_farther_than_80_ms() {
    let back = |burst_ms| under(Sending::default(), room(0.1, burst_ms)).copies;
    assert_eq!(back(30.0), Copies::one(4));
    assert_eq!(back(60.0), Copies::one(8));
    assert_eq!(back(200.0), Copies::one(8));
    let long = Sending { frame: Some(FrameLength::Ms20), ..Sending::default() };
    assert_eq!(under(long, room(0.1, 60.0)).copies, Copies::one(4));
}

#[test]
fn a_copy_goes_farther_back_at_once_and_comes_nearer_after_a_while() {
    let mut redundancy = Redundancy::new(Sending::default());
    let start = clock::now();
    let mut back = |reports: u32, burst_ms| {
        redundancy.report(room(0.1, burst_ms), start + REPORT * reports);
        redundancy.plan(Codec::Opus).copies
    };
    assert_eq!(back(0, 30.0), Copies::one(4));
    assert_eq!(back(1, 60.0), Copies::one(8));
    for k in 2..40 {
        assert_eq!(back(k, 30.0), Copies::one(8), "{k}");
    }
    assert_eq!(back(42, 30.0), Copies::one(4));
}

#[test]
fn what_is_lost_on_the_way_up_counts_as_well() {
    let lossy = Conditions { uplink_loss: 0.05, uplink_burst_ms: 10.0, ..Conditions::default() };
    assert_eq!(under(Sending::default(), lossy).copies, Copies::one(1));
}

#[test]
fn low_bit_rates_get_fec_for_single_packets_and_copies_or_dred_for_bursts() {
    let plan = under(at(32_000), room(0.05, 20.0));
    assert!(plan.fec && plan.copies == Copies::NONE && plan.loss_percent >= 10, "{plan:?}");
    let plan = under(at(32_000), room(0.1, 60.0));
    assert!(!plan.fec && plan.copies == Copies::one(4), "{plan:?}");
    let plan = under(at(12_000), room(0.1, 60.0));
    assert!(plan.dred_ms > 0 && plan.copies == Copies::NONE && plan.loss_percent > 0, "{plan:?}");
}

#[test]
fn thirty_two_kbit_stay_within_45_on_the_wire() {
    let plan = under(at(32_000), Conditions::default());
    assert!(kbits(&plan, at(32_000)) <= 43.3, "{plan:?}");
    assert_eq!(plan.bandwidth, Bandwidth::Wide);
}

#[test]
fn pcm_gets_copies_too() {
    let copies = |conditions| under(Sending::pcm(), conditions).copies;
    assert_eq!(copies(Conditions::default()), Copies::NONE);
    assert_eq!(copies(room(0.05, 10.0)), Copies::one(1));
    assert_eq!(copies(room(0.15, 12.0)), Copies::two());
    assert_eq!(copies(room(0.1, 60.0)), Copies::one(8));
}

#[test]
fn the_first_report_of_loss_acts_at_once() {
    let mut redundancy = Redundancy::new(Sending::default());
    let start = clock::now();
    redundancy.report(Conditions::default(), start);
    // One packet of 25.
    let one = Conditions { uplink_loss: 0.04, ..Conditions::default() };
    redundancy.report(one, start + REPORT);
    assert_eq!(redundancy.plan(Codec::Opus).copies, Copies::one(1));
}

#[test]
fn what_a_bad_peer_tells_is_taken_for_no_more_than_all() {
    for loss in [f32::NAN, f32::INFINITY, -1.0, 1e9] {
        let plan = under(Sending::default(), room(loss, f32::NAN));
        assert!(plan.bitrate > 20_000, "{plan:?}");
    }
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let loss = || prop_oneof![Just(0.0f32), 0.0f32..0.3, 0.0f32..=1.0];
    let burst = || prop_oneof![Just(0.0f32), 0.0f32..255.0];
    (loss(), burst(), loss(), burst()).prop_map(|(uplink_loss, up, room_loss, down)| Conditions {
        uplink_loss,
        uplink_burst_ms: up,
        room_loss,
        room_burst_ms: down,
    })
}

proptest! {
    #[test]
    fn no_packet_ever_costs_more_than_the_budget(
        bitrate in 6_000u32..=256_000,
        long in any::<bool>(),
        reports in prop::collection::vec(conditions(), 1..60),
    ) {
        let frame = if long { FrameLength::Ms20 } else { FrameLength::Ms10 };
        let sending = Sending { bitrate, frame: Some(frame), ..Sending::default() };
        let frame = (bitrate * frame.tens()) as f32 / 800.0;
        // The lowest rate that there is may be more than the levels leave.
        let most = ((frame + 28.0) * BUDGET).max(15.0 + 28.0 + 1.6);
        let mut redundancy = Redundancy::new(sending);
        let start = clock::now();
        for (k, report) in reports.into_iter().enumerate() {
            redundancy.report(report, start + REPORT * k as u32);
            let plan = redundancy.plan(Codec::Opus);
            prop_assert!(wire(&plan, sending) <= most + 0.01, "{:?}: {} of {}", plan, wire(&plan, sending), most);
            prop_assert!(plan.bitrate <= bitrate || plan.copies == Copies::NONE);
            prop_assert!(plan.copies.oldest_first().all(|back| back <= 8));
        }
    }

    #[test]
    fn redundancy_goes_slowly_and_is_all_gone_when_nothing_is_lost(
        reports in prop::collection::vec(conditions(), 1..80),
    ) {
        let sending = Sending::default();
        let mut redundancy = Redundancy::new(sending);
        let start = clock::now();
        let mut less = None;
        let mut rank = 0;
        for (k, report) in reports.iter().enumerate() {
            let now = start + REPORT * k as u32;
            redundancy.report(*report, now);
            let next = redundancy.need.rank();
            if next < rank {
                prop_assert_eq!(rank - next, 1);
                prop_assert!(less.is_none_or(|before| now - before >= HOLD));
                less = Some(now);
            }
            rank = next;
        }
        // Three seconds and a half of memory, and two steps.
        let rest = start + REPORT * reports.len() as u32;
        for k in 0..80 {
            redundancy.report(Conditions::default(), rest + REPORT * k);
        }
        prop_assert_eq!(redundancy.plan(Codec::Opus), Redundancy::new(sending).plan(Codec::Opus));
    }
}

/// A way that loses packets of 10 ms, one receiver behind it, and the reports between.
struct Loop {
    start: Instant,
    redundancy: Redundancy,
    meter: LossMeter,
    random: u64,
    bad: bool,
    /// Of each packet: whether it came, and which earlier ones were in it.
    packets: Vec<(bool, Copies)>,
    bytes: f32,
}

impl Loop {
    fn new(seed: u64) -> Self {
        Self {
            start: clock::now(),
            redundancy: Redundancy::new(Sending::default()),
            meter: LossMeter::default(),
            random: seed * 7919 + 12_345,
            bad: false,
            packets: Vec::new(),
            bytes: 0.0,
        }
    }

    fn unit(&mut self) -> f32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Talks for so many seconds while this share is lost, in bursts of this mean length.
    fn talk(&mut self, seconds: u32, loss: f32, burst_packets: f32) {
        for _ in 0..seconds * 100 {
            let leave = if self.bad { 1.0 / burst_packets } else { 0.0 };
            let enter = loss / (1.0 - loss) / burst_packets;
            let unit = self.unit();
            self.bad = if self.bad { unit >= leave } else { unit < enter };
            let plan = self.redundancy.plan(Codec::Opus);
            self.bytes += wire(&plan, Sending::default());
            let k = self.packets.len();
            if !self.bad {
                self.meter.note(PacketIndex(k as u64), 480 * k as u32, 48_000);
            }
            self.packets.push((!self.bad, plan.copies));
            if k % 25 == 24 {
                let (share, burst) = self.meter.look().map_or((0, 0), Losses::bytes);
                let heard = room(f32::from(share) / 256.0, f32::from(burst));
                self.redundancy.report(heard, self.start + REPORT * (k / 25) as u32);
            }
        }
    }

    /// Share of the packets from the `from`th second on that did not come and were in none that did.
    fn unrepaired(&self, from: usize) -> f32 {
        let repaired = |k: usize| {
            (1..=8).any(|back| {
                let later = self.packets.get(k + back);
                later.is_some_and(|(came, with)| *came && with.oldest_first().any(|b| b == back))
            })
        };
        let of = from * 100..self.packets.len() - 8;
        let gone = of.clone().filter(|k| !self.packets[*k].0 && !repaired(*k));
        gone.count() as f32 / of.len() as f32
    }

    fn kbits(&self) -> f32 {
        self.bytes * 8.0 / (10.0 * self.packets.len() as f32)
    }
}

#[test]
fn in_a_closed_loop_most_of_what_is_lost_is_repaired() {
    // Loss, burst in packets, and what may stay unrepaired.
    for (loss, burst, most) in [(0.05, 1.0, 0.006), (0.15, 1.2, 0.012), (0.1, 6.0, 0.035)] {
        for seed in 1..=3 {
            let mut network = Loop::new(seed);
            network.talk(30, loss, burst);
            let left = network.unrepaired(3);
            println!(
                "{loss} in {burst}, seed {seed}: {left:.4} left, {:.1} kbit/s",
                network.kbits()
            );
            assert!(left < most, "{loss} in bursts of {burst}, seed {seed}: {left}");
            assert!(network.kbits() < 118.0, "{}", network.kbits());
        }
    }
}

#[test]
fn in_a_closed_loop_copies_come_within_a_second_of_the_first_loss_and_go_when_it_is_over() {
    let mut network = Loop::new(9);
    network.talk(5, 0.0, 1.0);
    assert!(network.packets.iter().all(|(_, copies)| *copies == Copies::NONE));
    network.talk(10, 0.1, 1.0);
    let lost = network.packets.iter().position(|(came, _)| !came).unwrap();
    let copied = network.packets.iter().position(|(_, copies)| *copies != Copies::NONE).unwrap();
    assert!(copied - lost < 60, "{lost} {copied}");
    network.talk(20, 0.0, 1.0);
    let (_, last) = network.packets.last().unwrap();
    assert_eq!(*last, Copies::NONE);
}

#[test]
fn in_a_closed_loop_little_loss_does_not_make_it_flap() {
    for seed in 1..=3 {
        let mut network = Loop::new(seed);
        network.talk(60, 0.05, 1.0);
        let settled = &network.packets[300..];
        let changes = settled.windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
        assert!(changes <= 8, "{changes} changes in a minute");
    }
}
