//! How loud each member is played: everyone alike (levelling), and then as the user wants him (volume).
//!
//! Pure, and without allocation while the same members speak. Loudness is that of speech alone: pauses do
//! not count. What is about right is passed on bit for bit.

use crate::net::ids::MemberId;
use crate::net::limits::SPEAKERS_MAX;
use std::collections::BTreeMap;

/// Loudness that everyone is brought near to, in dBFS (mean of speech).
const GOAL_DB: f32 = -24.0;
/// What is so near to it is left alone, in dB.
const NEAR_DB: f32 = 3.0;
/// Most that levelling turns up or down, in dB.
const LEVELLING_MAX_DB: f32 = 12.0;
/// A block below this is a pause, in dBFS.
const GATE_DB: f32 = -55.0;
/// A block so much softer than his speech is a pause, too, in dB.
const GATE_BELOW_DB: f32 = 20.0;
/// Blocks of speech before anything is done: one second.
const FIRST_BLOCKS: u32 = 400;
/// Weight of a block of speech in his loudness: some 4 s.
const WEIGHT: f32 = 1.0 / 1600.0;
/// Levelling moves so much with each block of speech, in dB: 3 dB in a second.
const SLEW_DB: f32 = 3.0 / 400.0;
/// How fast a gain moves, for each sample: all the way in 5 ms.
const GAIN_STEP: f32 = 1.0 / 240.0;

/// What is asked for each member, 1 for as he is.
pub type Volumes = BTreeMap<MemberId, f32>;

/// Loudness of all members.
#[derive(Debug, Default)]
pub struct Loudness {
    members: BTreeMap<MemberId, Voice>,
    volumes: Volumes,
    /// Levelling is switched off.
    plain: bool,
}

/// One member.
#[derive(Debug, Clone, Copy)]
struct Voice {
    /// Mean square of his speech, and how many blocks of it there were.
    power: f32,
    blocks: u32,
    levelling_db: f32,
    /// In force at this moment.
    gain: f32,
}

impl Default for Voice {
    fn default() -> Self {
        Self { power: 0.0, blocks: 0, levelling_db: 0.0, gain: 1.0 }
    }
}

impl Loudness {
    /// The user wants them like this.
    pub fn set_volumes(&mut self, volumes: Volumes) {
        self.volumes = volumes;
    }

    /// Switches levelling on or off; on at the start.
    pub fn set_levelling(&mut self, on: bool) {
        self.plain = !on;
    }

    /// A member is gone: if he comes back, he is learned anew.
    pub fn forget(&mut self, id: MemberId) {
        self.members.remove(&id);
    }

    /// What levelling adds to a member now, in dB.
    #[must_use]
    pub fn levelling_db(&self, id: MemberId) -> f32 {
        let voice = self.members.get(&id).filter(|_| !self.plain);
        voice.map_or(0.0, |voice| voice.levelling_db)
    }

    /// A block of one who fades out: as loud as he was, whatever is wished meanwhile.
    pub fn fade(&mut self, id: MemberId, block: &mut [f32]) {
        if let Some(voice) = self.members.get_mut(&id) {
            voice.apply(voice.gain, block);
        }
    }

    /// A block of one member's voice: all of his streams together, since his gain moves once in a block.
    pub fn process(&mut self, id: MemberId, block: &mut [f32]) {
        let volume = self.volumes.get(&id).copied().unwrap_or(1.0);
        let power = block.iter().map(|s| s * s).sum::<f32>() / block.len().max(1) as f32;
        if power == 0.0 && volume == 1.0 && !self.members.contains_key(&id) {
            return;
        }
        if self.members.len() >= 2 * SPEAKERS_MAX && !self.members.contains_key(&id) {
            // Not to be levelled, but as loud as he is wanted.
            return block.iter_mut().for_each(|sample| *sample *= volume);
        }
        // Who is heard for the first time is as loud as he is wanted at once.
        let voice = self.members.entry(id).or_insert(Voice { gain: volume, ..Voice::default() });
        voice.learn(power);
        let levelled = if self.plain { 0.0 } else { voice.levelling_db };
        let wanted = match levelled == 0.0 {
            true => volume,
            false => volume * 10f32.powf(levelled / 20.0),
        };
        voice.apply(wanted, block);
    }
}

impl Voice {
    fn learn(&mut self, power: f32) {
        let floor = decibel(self.power) - GATE_BELOW_DB;
        let known = self.blocks >= FIRST_BLOCKS;
        if !power.is_finite() || decibel(power) < GATE_DB || known && decibel(power) < floor {
            return;
        }
        self.blocks = self.blocks.saturating_add(1);
        let weight = (1.0 / self.blocks as f32).max(WEIGHT);
        self.power += (power - self.power) * weight;
        if !known {
            return;
        }
        let off = GOAL_DB - decibel(self.power);
        let wanted = (off.abs() - NEAR_DB).max(0.0).copysign(off);
        let wanted = wanted.clamp(-LEVELLING_MAX_DB, LEVELLING_MAX_DB);
        let step = (wanted - self.levelling_db).clamp(-SLEW_DB, SLEW_DB);
        self.levelling_db += step;
    }

    fn apply(&mut self, wanted: f32, block: &mut [f32]) {
        if self.gain == 1.0 && wanted == 1.0 {
            return;
        }
        for sample in block {
            if self.gain != wanted {
                self.gain += (wanted - self.gain).clamp(-GAIN_STEP, GAIN_STEP);
            }
            *sample *= self.gain;
        }
    }
}

fn decibel(power: f32) -> f32 {
    10.0 * power.max(1e-12).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 120;

    /// Seconds of a tone of this loudness through a member's gain; the loudness of the last block.
    fn play(loudness: &mut Loudness, id: u64, db: f32, seconds: f32) -> f32 {
        let amplitude = 10f32.powf(db / 20.0) * std::f32::consts::SQRT_2;
        let mut last = 0.0;
        for k in 0..(seconds * 400.0) as usize {
            let mut block = [0.0; BLOCK];
            for (i, sample) in block.iter_mut().enumerate() {
                // A whole number of waves in each block.
                let t = (k * BLOCK + i) as f32 / 40.0;
                *sample = amplitude * (std::f32::consts::TAU * t.fract()).sin();
            }
            loudness.process(MemberId(id), &mut block);
            last = block.iter().map(|s| s * s).sum::<f32>() / BLOCK as f32;
        }
        decibel(last)
    }

    #[test]
    fn who_is_soft_and_who_is_loud_come_near_to_each_other() {
        let mut loudness = Loudness::default();
        let soft = play(&mut loudness, 1, -38.0, 10.0);
        let loud = play(&mut loudness, 2, -10.0, 10.0);
        assert!((soft - -27.0).abs() < 0.5, "{soft}");
        assert!((loud - -21.0).abs() < 0.5, "{loud}");
        let whisper = play(&mut loudness, 3, -50.0, 10.0);
        assert!((whisper - -38.0).abs() < 0.5, "no more than 12 dB: {whisper}");
    }

    #[test]
    fn what_is_about_right_passes_bit_for_bit() {
        let mut loudness = Loudness::default();
        for db in [-26.5, -21.5] {
            play(&mut loudness, 1, db, 5.0);
        }
        let mut block: [f32; BLOCK] = std::array::from_fn(|k| (k as f32 * 0.37).sin() * 0.09);
        let before = block;
        loudness.process(MemberId(1), &mut block);
        assert_eq!(block, before);
    }

    #[test]
    fn pauses_and_noise_in_them_are_not_turned_up() {
        let mut loudness = Loudness::default();
        play(&mut loudness, 1, -24.0, 5.0);
        let noise = play(&mut loudness, 1, -50.0, 30.0);
        assert!((noise - -50.0).abs() < 0.1, "{noise}");
    }

    #[test]
    fn a_volume_holds_without_a_click_and_levelling_can_be_switched_off() {
        let mut loudness = Loudness::default();
        loudness.set_levelling(false);
        assert!((play(&mut loudness, 1, -40.0, 5.0) - -40.0).abs() < 0.1);
        loudness.set_volumes([(MemberId(1), 0.5)].into());
        let mut block = [0.5; BLOCK];
        loudness.process(MemberId(1), &mut block);
        let steepest = block.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
        assert!(steepest <= 0.51 * GAIN_STEP, "{steepest}");
        assert!((play(&mut loudness, 1, -40.0, 1.0) - -46.0).abs() < 0.1);
        loudness.set_volumes([(MemberId(1), 0.0)].into());
        assert!(play(&mut loudness, 1, -20.0, 1.0) <= -119.0, "ignored");
    }

    #[test]
    fn who_was_ignored_fades_out_unheard_when_his_volume_is_forgotten() {
        let mut loudness = Loudness::default();
        loudness.set_volumes([(MemberId(1), 0.0)].into());
        let mut block = [0.5; BLOCK];
        loudness.process(MemberId(1), &mut block);
        loudness.set_volumes(Volumes::new());
        let mut block = [0.5; BLOCK];
        loudness.fade(MemberId(1), &mut block);
        assert_eq!(block, [0.0; BLOCK]);
    }

    #[test]
    fn who_is_ignored_from_the_start_is_not_heard_for_a_moment() {
        let mut loudness = Loudness::default();
        loudness.set_volumes([(MemberId(1), 0.0)].into());
        let mut block = [0.5; BLOCK];
        loudness.process(MemberId(1), &mut block);
        assert_eq!(block, [0.0; BLOCK]);
    }
}
