//! What is wrong with the sound, or that all is well: one finding from all the figures. Pure.
//!
//! Of several things that are wrong the one that is to be mended first is told: without a connection
//! loss means nothing, and whose computer is too busy hears gaps on the best of lines.

use super::event::Stats;
use crate::net::name::UserName;
use serde::Serialize;

/// Loss from here on is worth a word.
const LOSS: f32 = 0.015;
/// One voice arrives badly if it loses so much more than our own line explains.
const LOSS_OF_ONE: f32 = 0.025;
/// Jitter from here on is worth a word, in ms.
const JITTER_MS: f32 = 30.0;
/// A round trip from here on is felt in talk, in ms.
const FAR_MS: f32 = 250.0;
/// Sound that drops out so often in a minute is heard.
const GAPS: u32 = 2;
/// A share of one core from which on the processor is told as the reason.
const CPU: f32 = 0.8;
/// A microphone below this gives nothing at all, in dBFS.
const SILENT_DB: f32 = -100.0;
/// Packets from a speaker before anything is said of his line.
const PACKETS_MIN: u64 = 100;

/// The one thing to know.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Diagnosis {
    /// There is no way of voice yet.
    NotConnected,
    /// No loudspeaker is open.
    NoLoudspeaker,
    /// No microphone is open.
    NoMicrophone,
    /// Sound drops out here: times in the last minute.
    Busy {
        /// How often in the last minute.
        gaps: u32,
        /// This process itself keeps the processor busy.
        by_us: bool,
    },
    /// Voice goes through the control connection.
    UdpBlocked,
    /// We lose packets on the way up, and the way down is good.
    UplinkLoss {
        /// Share, 0 to 1.
        loss: f32,
    },
    /// We lose packets on the way down, and the way up is good.
    DownlinkLoss {
        /// Share, 0 to 1.
        loss: f32,
    },
    /// We lose packets both ways.
    BothLoss {
        /// Share on the way up, 0 to 1.
        up: f32,
        /// Share on the way down, 0 to 1.
        down: f32,
    },
    /// One speaker's line to the server loses packets.
    SpeakerLoss {
        /// Who.
        name: UserName,
        /// Share, 0 to 1.
        loss: f32,
        /// Others are heard, and well.
        others_fine: bool,
    },
    /// Several speakers' lines lose packets, ours does not.
    SpeakersLoss {
        /// Who, the worst first.
        names: Vec<UserName>,
    },
    /// Packets come, but unevenly.
    Jitter {
        /// Interarrival jitter in ms.
        jitter_ms: f32,
        /// How long voice is held back for it, in ms.
        buffer_ms: f32,
    },
    /// The server is far away.
    Far {
        /// There and back, in ms.
        round_trip_ms: f32,
    },
    /// Others in the room hear badly what arrives well at the server.
    RoomLoss {
        /// Share that the worst tenth of them misses, 0 to 1.
        loss: f32,
    },
    /// The microphone gives digital silence.
    MicrophoneSilent,
    /// Nothing is wrong.
    Well {
        /// Somebody was heard: it is not only that nothing has happened yet.
        heard: bool,
    },
}

/// What the figures come to.
#[must_use]
pub fn diagnose(stats: &Stats) -> Diagnosis {
    here(stats).or_else(|| our_line(stats)).or_else(|| their_lines(stats)).unwrap_or_else(|| {
        let silent = stats.input_is_device && stats.input_level_db <= SILENT_DB;
        match silent {
            true => Diagnosis::MicrophoneSilent,
            false => Diagnosis::Well { heard: stats.speakers.iter().any(|s| s.received > 0) },
        }
    })
}

/// Faults of this computer and of the connection as such.
fn here(stats: &Stats) -> Option<Diagnosis> {
    if stats.path == "none" {
        return Some(Diagnosis::NotConnected);
    }
    if stats.output.is_empty() {
        return Some(Diagnosis::NoLoudspeaker);
    }
    if stats.input.is_empty() {
        return Some(Diagnosis::NoMicrophone);
    }
    if stats.gaps_per_minute >= GAPS {
        let by_us = stats.cpu.is_some_and(|share| share >= CPU);
        return Some(Diagnosis::Busy { gaps: stats.gaps_per_minute, by_us });
    }
    (stats.path == "stream").then_some(Diagnosis::UdpBlocked)
}

/// Loss between us and the server.
fn our_line(stats: &Stats) -> Option<Diagnosis> {
    let (up, down) = (stats.uplink_loss, our_downlink(stats));
    match (up >= LOSS, down >= LOSS) {
        (true, true) => Some(Diagnosis::BothLoss { up, down }),
        (true, false) => Some(Diagnosis::UplinkLoss { loss: up }),
        (false, true) => Some(Diagnosis::DownlinkLoss { loss: down }),
        (false, false) => None,
    }
}

/// What our own way down loses: what every voice loses, and the server's own packets as well.
///
/// Either alone may mislead. The server says little, so that chance weighs much; and where one voice is
/// heard, its loss may be its own.
fn our_downlink(stats: &Stats) -> f32 {
    let voices = stats.speakers.iter().filter(|s| s.received >= PACKETS_MIN);
    let losses: Vec<f32> = voices.map(|speaker| speaker.loss).collect();
    let least = losses.iter().copied().fold(f32::INFINITY, f32::min);
    match losses.len() {
        0 => stats.downlink_loss,
        1 if stats.downlink_loss < LOSS => 0.0,
        _ => least,
    }
}

/// What is wrong beyond the server, or with the way as such.
fn their_lines(stats: &Stats) -> Option<Diagnosis> {
    let heard: Vec<_> = stats.speakers.iter().filter(|s| s.received >= PACKETS_MIN).collect();
    let mut bad: Vec<_> = heard.iter().filter(|speaker| speaker.loss >= LOSS_OF_ONE).collect();
    bad.sort_by(|a, b| b.loss.total_cmp(&a.loss));
    let named = |name: &Option<UserName>| name.clone();
    match bad.as_slice() {
        [] => {}
        [one] => {
            let others_fine = heard.len() > 1;
            if let Some(name) = named(&one.name) {
                return Some(Diagnosis::SpeakerLoss { name, loss: one.loss, others_fine });
            }
        }
        several => {
            let names = several.iter().filter_map(|speaker| named(&speaker.name)).collect();
            return Some(Diagnosis::SpeakersLoss { names });
        }
    }
    let uneven = heard.iter().max_by(|a, b| a.jitter_ms.total_cmp(&b.jitter_ms));
    if let Some(speaker) = uneven.filter(|speaker| speaker.jitter_ms >= JITTER_MS) {
        let (jitter_ms, buffer_ms) = (speaker.jitter_ms, speaker.buffer_ms);
        return Some(Diagnosis::Jitter { jitter_ms, buffer_ms });
    }
    if let Some(round_trip_ms) = stats.round_trip_ms.filter(|ms| *ms >= FAR_MS) {
        return Some(Diagnosis::Far { round_trip_ms });
    }
    let loss = stats.room_loss;
    (loss >= LOSS).then_some(Diagnosis::RoomLoss { loss })
}

#[cfg(test)]
mod tests;
