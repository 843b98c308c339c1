//! What was measured, for people and for programs.

use crate::Args;
use crate::round::{Round, median};
use crate::run::{Figures, Overload, of};
use serde_json::{Value, json};
use std::fmt::Write;

fn at(sorted: &[f64], share: f64) -> Option<f64> {
    sorted.get((sorted.len().saturating_sub(1) as f64 * share) as usize).copied()
}

/// As one JSON object, with what was asked for.
pub fn to_json(args: &Args, figures: &Figures) -> Value {
    let floor = |value: &dyn Fn(&Round) -> Option<f64>| median(&figures.floor, value);
    let steps: Vec<Value> = figures.steps.iter().map(|(n, round)| step(*n, round)).collect();
    json!({
        "members": args.members, "speakers": args.speakers, "rooms": args.rooms,
        "payload": args.payload, "payload_max": args.payload_max, "pps": args.pps,
        "talk": format!("{:?}", args.talk).to_lowercase(), "aligned": args.aligned,
        "seconds": args.seconds, "repeat": args.repeat, "hold": args.hold,
        "forwarders": args.forwarders, "protection": figures.protection, "tls": !args.insecure,
        "forwarded_per_s": of(figures, |r| Some(r.forwarded_per_s)),
        "loss": of(figures, |r| Some(r.loss)),
        "cpu_s_per_million": of(figures, |r| r.cpu_s_per_million),
        "forwarders_cpu_s_per_million": of(figures, |r| r.forwarders_cpu_s_per_million),
        "p50_us": of(figures, |r| r.p50_us),
        "p99_us": of(figures, |r| r.p99_us),
        "bad": figures.rounds.iter().map(|r| r.bad).sum::<u64>(),
        "server_drops": figures.rounds.iter().filter_map(|r| r.server_drops).sum::<u64>(),
        "floor_cpu_s_per_million": floor(&|r| r.cpu_s_per_million),
        "floor_p50_us": floor(&|r| r.p50_us),
        "floor_p99_us": floor(&|r| r.p99_us),
        "floor_loss": floor(&|r| Some(r.loss)),
        "ratio": figures.ratio(),
        "rss_kib": figures.rss_kib,
        "idle_session_kib": figures.idle_session_kib,
        "idle_joins_per_s": figures.idle_joins_per_s,
        "joins_per_s": figures.joins_per_s,
        "ping_p50_ms": at(&figures.pings_ms, 0.5), "ping_p99_ms": at(&figures.pings_ms, 0.99),
        "max": figures.most.as_ref().map(|(n, round)| step(*n, round)),
        "steps": steps,
        "overload": figures.overload.as_ref().map(overload),
    })
}

fn step(speakers: u16, round: &Round) -> Value {
    let mut value = round.to_json();
    if let Some(object) = value.as_object_mut() {
        object.insert("speakers".to_owned(), speakers.into());
    }
    value
}

fn overload(overload: &Overload) -> Value {
    json!({
        "speakers": overload.speakers,
        "during": overload.during.to_json(),
        "ping_p50_ms": at(&overload.pings_ms, 0.5), "ping_p99_ms": at(&overload.pings_ms, 0.99),
        "ping_max_ms": overload.pings_ms.last(), "pings": overload.pings_ms.len(),
        "after": overload.after.to_json(),
    })
}

fn shown(value: Option<f64>, unit: &str) -> String {
    match value {
        Some(value) => format!("{value:.2} {unit}"),
        None => "not known here".to_owned(),
    }
}

/// For people.
pub fn to_text(args: &Args, figures: &Figures) -> String {
    let mut text = format!(
        "{} room(s) of {} members, {} speaking in each, {} packets/s of {} bytes, {} x {} s, {}\n",
        args.rooms,
        args.members,
        args.speakers,
        args.pps,
        args.payload,
        args.repeat,
        args.seconds,
        figures.protection
    );
    let mut line = |what: &str, value: String| {
        let _ = writeln!(text, "  {what:<18} {value}");
    };
    let per_million = "s per million forwarded";
    line("forwarded", shown(of(figures, |r| Some(r.forwarded_per_s)), "packets/s"));
    line("loss", shown(of(figures, |r| Some(r.loss * 100.0)), "%"));
    line("server CPU", shown(of(figures, |r| r.cpu_s_per_million), per_million));
    if !figures.floor.is_empty() {
        let floor = median(&figures.floor, |r| r.cpu_s_per_million);
        line("bare loop's CPU", shown(floor, per_million));
        line("ratio", shown(figures.ratio(), "times the bare loop's"));
    }
    line("latency p50", shown(of(figures, |r| r.p50_us), "us"));
    line("latency p99", shown(of(figures, |r| r.p99_us), "us"));
    if !figures.floor.is_empty() {
        line("bare loop's p99", shown(median(&figures.floor, |r| r.p99_us), "us"));
    }
    line("server memory", shown(figures.rss_kib, "KiB"));
    if let Some(idle) = figures.idle_session_kib {
        line("idle session", format!("{idle:.2} KiB each, over {} of them", args.idle));
        line("idle joins", shown(figures.idle_joins_per_s, "per second"));
    }
    line("joins", shown(Some(figures.joins_per_s), "per second"));
    if !figures.pings_ms.is_empty() {
        line("control ping p99", shown(at(&figures.pings_ms, 0.99), "ms"));
    }
    if let Some((speakers, most)) = &figures.most {
        line("most carried", format!("{:.0} packets/s, {speakers} speaking", most.forwarded_per_s));
        line("  its CPU", shown(most.cpu_s_per_million, per_million));
        line("  its latency p99", shown(most.p99_us, "us"));
    }
    if let Some(beyond) = &figures.overload {
        line("overload", format!("{} speaking in each room", beyond.speakers));
        line("  forwarded", format!("{:.0} packets/s", beyond.during.forwarded_per_s));
        line("  loss", shown(Some(beyond.during.loss * 100.0), "%"));
        let (least, most) = beyond.during.share;
        line(
            "  got through",
            format!("{:.0} to {:.0} % of a speaker", least * 100.0, most * 100.0),
        );
        line("  latency p99", shown(beyond.during.p99_us, "us"));
        line("  control ping p99", shown(at(&beyond.pings_ms, 0.99), "ms"));
        line("  loss afterwards", shown(Some(beyond.after.loss * 100.0), "%"));
    }
    text
}
