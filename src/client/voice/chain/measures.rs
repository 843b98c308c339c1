//! What the chain is worth, in figures: echo, double talk, noise, and what it does to a clean voice.

use super::rooms::{Random, Room, active_db, babble, db, fan, frames, level_db, noise, repeated, scaled, speech, sum, voice};
use super::*;

/// What comes out of a chain, and by how much it lags at the end, in samples.
fn through(chain: &mut Chain, near: &[f32], far: &[f32]) -> Vec<f32> {
    let mut out = Vec::with_capacity(near.len());
    for (near, far) in frames(near).iter().zip(frames(far)) {
        let mut frame = *near;
        chain.process(&mut frame, far);
        out.extend(frame);
    }
    out
}

fn only(settings: ChainSettings) -> Chain {
    Chain::new(settings)
}

#[test]
fn echo_is_forty_decibels_down() {
    for (delay_ms, ppm) in [(20.0, 0.0), (60.0, 50.0), (120.0, -100.0)] {
        let mut random = Random::new(11);
        let far = repeated(&speech(), 40 * 48_000);
        let room = Room { delay_ms, loss_db: 6.0, reverberation_ms: 250.0, ppm };
        let echo = room.echo(&far, &mut random);
        let near = sum(&echo, &noise(&mut random, far.len(), db(-75.0)));
        let out = through(&mut only(ChainSettings::default()), &near, &far);
        for (from, to) in [(0, 1), (1, 2), (2, 5), (5, 10), (10, 20), (20, 38)] {
            let cut = |x: &[f32]| active_db(&x[from * 48_000..to * 48_000]);
            let mean = |x: &[f32]| level_db(&x[from * 48_000..to * 48_000]);
            println!("delay {delay_ms} ppm {ppm} {from}-{to} s: echo {:.1} -> {:.1} (mean {:.1})", cut(&echo), cut(&out), mean(&out));
        }
    }
}
