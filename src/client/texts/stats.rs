//! `/stats` in words: one sentence first, then the figures.

use super::shown;
use crate::client::diagnosis::Diagnosis;
use crate::client::event::{Speaker, Stats};
use crate::client::voice::{ByWay, ChainFigures, SendingStats, StageState};
use crate::net::codec::Codec;

/// The lines of `/stats`.
#[must_use]
pub fn lines(stats: &Stats) -> Vec<String> {
    let path = match stats.path.as_str() {
        "udp" => "UDP",
        "stream" => "control connection (UDP is blocked)",
        _ => "none yet",
    };
    let trip = match stats.round_trip_ms {
        Some(ms) => format!("{ms:.0} ms"),
        None => "not measured".to_owned(),
    };
    let cpu = match stats.cpu {
        Some(share) => format!(", CPU {} of one core", percent(share)),
        None => String::new(),
    };
    let mut lines = vec![
        format!("* {}", diagnosis(&stats.diagnosis)),
        format!("    voice path: {path}, round trip {trip}{cpu}"),
        format!(
            "    packets: sent {} ({}), received {} ({}), dropped {}",
            stats.packets_sent,
            ways(stats.sent_by),
            stats.packets_received,
            ways(stats.received_by),
            stats.packets_dropped
        ),
        format!(
            "    loss: {} on your way up, {} on your way down, {} on the room's way down",
            percent(stats.uplink_loss),
            percent(stats.downlink_loss),
            percent(stats.room_loss)
        ),
        sending_line(&stats.sending),
        device_line(
            "microphone ",
            stats.input_level_db,
            &stats.input,
            stats.input_latency_ms,
            stats.input_overruns,
        ),
        device_line(
            "loudspeaker",
            stats.output_level_db,
            &stats.output,
            stats.output_latency_ms,
            stats.output_underruns,
        ),
    ];
    lines.extend(stats.chain.as_ref().map(chain_line));
    match stats.total() {
        Some(total) => lines.push(format!(
            "    all who were heard: lost {} of {} packets, concealed {}, repaired {}",
            total.lost,
            total.received + total.lost,
            percent(total.concealed),
            percent(total.repaired)
        )),
        None => lines.push("    nobody was heard yet".to_owned()),
    }
    lines.extend(stats.speakers.iter().map(speaker_line));
    lines
}

/// Which way packets went.
fn ways(by: ByWay) -> String {
    format!("{} by UDP, {} by the control connection", by.udp, by.stream)
}

/// What is wrong, or that all is well, in one sentence.
#[must_use]
pub fn diagnosis(diagnosis: &Diagnosis) -> String {
    match diagnosis {
        Diagnosis::NotConnected => {
            "There is no way for voice to the server yet: wait for the connection, or try parlor doctor --server HOST.".to_owned()
        }
        Diagnosis::NoLoudspeaker => {
            "You hear nothing because no loudspeaker is open: plug one in, or choose one (--list-devices shows them).".to_owned()
        }
        Diagnosis::NoMicrophone => {
            "Nobody can hear you because no microphone is open: plug one in, or choose one (--list-devices shows them).".to_owned()
        }
        Diagnosis::Busy { gaps, by_us: false } => format!(
            "Your computer is too busy: sound drops out {gaps} times a minute, so close what else runs."
        ),
        Diagnosis::Busy { gaps, by_us: true } => format!(
            "Your computer is too slow: sound drops out {gaps} times a minute, and Parlor itself keeps it busy."
        ),
        Diagnosis::UdpBlocked => {
            "UDP does not get through to the server, so voice takes the slower way inside the control connection: let the \
             server's UDP port through your firewall."
                .to_owned()
        }
        Diagnosis::UplinkLoss { loss } => format!(
            "Your network loses {} on the way to the server; what comes to you is fine.",
            whole(*loss)
        ),
        Diagnosis::DownlinkLoss { loss } => format!(
            "Your network loses {} of what the server sends you; your own voice arrives well.",
            whole(*loss)
        ),
        Diagnosis::BothLoss { up, down } => format!(
            "Your network loses packets both ways, {} up and {} down: a cable instead of Wi-Fi often mends that.",
            whole(*up),
            whole(*down)
        ),
        Diagnosis::SpeakerLoss { name, loss, others_fine } => {
            let start = if *others_fine { "Only the voice" } else { "The voice" };
            let name = shown(name);
            format!(
                "{start} of {name} arrives badly: the line from {name} to the server loses {}.",
                whole(*loss)
            )
        }
        Diagnosis::SpeakersLoss { names } => {
            let mut names: Vec<String> = names.iter().map(shown).collect();
            let last = names.pop().unwrap_or_default();
            format!(
                "The voices of {} and {last} arrive badly: their lines to the server lose packets, yours does not.",
                names.join(", ")
            )
        }
        Diagnosis::Jitter { jitter_ms, buffer_ms } => format!(
            "The network delivers voice unevenly ({jitter_ms:.0} ms), so it is held back by {buffer_ms:.0} ms to stay whole."
        ),
        Diagnosis::Far { round_trip_ms } => format!(
            "The server is far away, {round_trip_ms:.0} ms there and back: people will talk into each other's words."
        ),
        Diagnosis::RoomLoss { loss } => format!(
            "Others in the room miss {} of what the server sends them; your own line is fine.",
            whole(*loss)
        ),
        Diagnosis::MicrophoneSilent => {
            "The microphone gives nothing but silence: is it muted in the system, or by a switch of its own?".to_owned()
        }
        Diagnosis::Well { heard: true } => "As far as can be seen, all is well.".to_owned(),
        Diagnosis::Well { heard: false } => {
            "As far as can be seen, all is well; nobody has been heard yet.".to_owned()
        }
    }
}

/// What is done to the microphone's sound.
fn chain_line(chain: &ChainFigures) -> String {
    let state = |stage: &StageState| match (stage.enabled, stage.acting) {
        (false, _) => "off".to_owned(),
        (true, false) => "not needed now".to_owned(),
        (true, true) if stage.delay_ms > 0.0 => format!("at work (+{:.0} ms)", stage.delay_ms),
        (true, true) => "at work".to_owned(),
    };
    let gain = match chain.gain.acting {
        true => format!("{:+.0} dB", chain.gain_db),
        false => state(&chain.gain),
    };
    format!(
        "    microphone's sound: high-pass {}, echo {}, noise {} (floor {:.0} dB), gain {gain}",
        if chain.high_pass.enabled { "on" } else { "off" },
        state(&chain.echo),
        state(&chain.noise),
        chain.floor_db,
    )
}

/// How our voice is sent, and what is done against loss.
pub(super) fn sending_line(sending: &SendingStats) -> String {
    let codec = match (sending.codec, sending.fallback) {
        (Codec::Opus, _) => "Opus",
        (_, false) => "PCM",
        (_, true) => "PCM (somebody here cannot decode Opus)",
    };
    let rate = match sending.codec {
        Codec::Opus if sending.wide => format!(" {:.0} kbit/s up to 8 kHz,", sending.bitrate_kbps),
        Codec::Opus => format!(" {:.0} kbit/s,", sending.bitrate_kbps),
        _ => String::new(),
    };
    let mut against = Vec::new();
    match sending.copies_ms.as_slice() {
        [] => {}
        [one] => against.push(format!("each packet again {one} ms later")),
        [first, others @ ..] => {
            let others: Vec<String> = others.iter().map(|ms| format!("{ms} ms")).collect();
            against.push(format!("each packet again {first} and {} later", others.join(", ")));
        }
    }
    if sending.fec {
        against.push("in-band FEC".to_owned());
    }
    if sending.dred_ms > 0 {
        against.push(format!("DRED of {} ms", sending.dred_ms));
    }
    if against.is_empty() {
        against.push("nothing".to_owned());
    }
    format!(
        "    voice up: {codec},{rate} packets of {} ms, {:.0} kbit/s on the wire; against loss: {}",
        sending.frame_ms,
        sending.wire_kbps,
        against.join(", ")
    )
}

fn device_line(what: &str, level_db: f32, name: &str, latency_ms: f32, gaps: u64) -> String {
    let name = if name.is_empty() { "none".to_owned() } else { shown(name) };
    let latency = if latency_ms > 0.0 { format!(", {latency_ms:.0} ms") } else { String::new() };
    let gaps = if gaps == 0 { String::new() } else { format!(", gaps {gaps}") };
    format!("    {what} {} {name}{latency}{gaps}", meter(level_db))
}

fn speaker_line(speaker: &Speaker) -> String {
    let name = speaker.name.as_ref().map_or_else(|| "(gone)".to_owned(), shown);
    let mut loud = String::new();
    match speaker.volume {
        Some(volume) if volume.ignored => loud.push_str(" ignored,"),
        Some(volume) => loud.push_str(&format!(" volume {} %,", volume.percent)),
        None => {}
    }
    // What nobody can hear is not worth a word.
    if speaker.levelling_db.abs() >= 0.5 {
        loud.push_str(&format!(" levelled by {:+.0} dB,", speaker.levelling_db));
    }
    format!(
        "    {name}:{loud} packets {}, lost {} ({} lately), late {}, concealed {}, repaired {}, jitter {:.0} ms, \
         delay {:.0} ms (aims for {:.0}), mouth to ear about {:.0} ms (an estimate)",
        speaker.received,
        speaker.lost,
        percent(speaker.loss),
        speaker.late,
        percent(speaker.concealed),
        percent(speaker.repaired),
        speaker.jitter_ms,
        speaker.buffer_ms,
        speaker.target_ms,
        speaker.mouth_to_ear_ms
    )
}

fn percent(share: f32) -> String {
    format!("{:.1} %", share * 100.0)
}

fn whole(share: f32) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A level from -60 dBFS (empty) to 0 (full), twelve marks wide.
#[must_use]
pub fn meter(level_db: f32) -> String {
    const MARKS: usize = 12;
    // A level is never meant to be precise: the cast saturates, and NaN becomes zero.
    let full = ((level_db + 60.0) / 60.0 * MARKS as f32).round().clamp(0.0, MARKS as f32) as usize;
    let value = if level_db <= -119.0 { "  -inf".to_owned() } else { format!("{level_db:6.1}") };
    format!("[{}{}] {value} dB", "#".repeat(full), ".".repeat(MARKS.saturating_sub(full)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meter_is_empty_at_silence_and_full_at_full_scale() {
        assert_eq!(meter(-120.0), "[............]   -inf dB");
        assert_eq!(meter(-30.0), "[######......]  -30.0 dB");
        assert_eq!(meter(0.0), "[############]    0.0 dB");
        assert_eq!(meter(f32::NAN), "[............]    NaN dB");
    }
}
