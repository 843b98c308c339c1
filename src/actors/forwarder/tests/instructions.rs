//! How many instructions a forwarded copy costs, counted by callgrind: a guard against what makes it dearer, that no
//! other load on the machine can disturb. System calls are not in it.

use super::many::room_of;
use super::*;
use std::process::Command;

/// Members of the room.
const MEMBERS: u8 = 100;
/// Instructions for each copy, alone and five in a go: what was counted, and a fifth more. They are of this profile, which
/// optimizes little; they change with the compiler and with the cryptographic library.
const MOST: [(&str, u64); 2] = [("1", 2380), ("5", 2350)];
/// Where the inner run reads how many packets it takes in one go, and how often.
const PACKETS: &str = "PARLOR_COUNT_PACKETS";
const ROUNDS: &str = "PARLOR_COUNT_ROUNDS";

/// The work that is counted. Only under callgrind; by itself it does nothing.
#[test]
fn counted_work() {
    let number = |name| std::env::var(name).ok().and_then(|text: String| text.parse().ok());
    let (Some(packets), Some(rounds)) = (number(PACKETS), number(ROUNDS)) else { return };
    let (packets, rounds): (usize, usize) = (packets, rounds);
    let mut bench = Bench::new();
    bench.out.queue.set_segments_max(64);
    let mut clients = room_of(&mut bench, MEMBERS);
    for round in 0..rounds {
        bench.now += Duration::from_millis(20);
        for client in clients.iter_mut().take(packets) {
            let mut voice = client.voice(&[round as u8; 80]);
            let from = Origin::Udp(client.address);
            bench.core.handle_datagram(from, &mut voice, bench.now, &mut bench.out);
        }
        bench.core.forward(bench.now, &mut bench.out, |queue| queue.clear());
        bench.out.queue.clear();
        bench.out.notices.clear();
    }
}

/// Instructions of the whole process for so many rounds.
fn counted(packets: &str, rounds: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "actors::forwarder::tests::instructions::counted_work"])
        .args(["--test-threads", "1"])
        .env(PACKETS, packets)
        .env(ROUNDS, rounds.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let line = said.lines().find_map(|line| line.split_once("Collected : "));
    line.and_then(|(_, number)| number.trim().parse().ok()).unwrap_or_else(|| panic!("{said}"))
}

#[test]
fn a_copy_costs_no_more_instructions_than_it_did() {
    let there = Command::new("valgrind").arg("--version").output();
    if there.is_err() && std::env::var_os("PARLOR_TEST_REQUIRE_VALGRIND").is_none() {
        println!("NOT TESTED HERE: instructions of a forwarded copy (needs valgrind)");
        return;
    }
    let (few, many) = (20, 70);
    for (packets, most) in MOST {
        let copies = (many - few) * packets.parse::<u64>().unwrap() * u64::from(MEMBERS - 1);
        let each = (counted(packets, many) - counted(packets, few)) / copies;
        println!("{each} instructions for each copy, {packets} packets in a go");
        assert!(each <= most, "{each} instead of {most} at most, {packets} packets in a go");
    }
}
