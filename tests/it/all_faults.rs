//! The short soak: a real server, a crowd, and every fault that `parlor-load --soak` knows, for two minutes.
//!
//! Tests begin in the order of their names, and this one is the longest: its name lets it begin first, beside all others.

use std::process::Command;

#[test]
fn two_minutes_of_random_faults_end_with_memory_flat_and_every_list_right() {
    let seed = std::env::var("PARLOR_SEED").unwrap_or_else(|_| "7".to_owned());
    println!("PARLOR_SEED={seed}");
    let soak = Command::new(env!("CARGO_BIN_EXE_parlor-load"))
        .args(["--soak", "2m", "--members", "24", "--seed", &seed])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&soak.stdout);
    let complained = String::from_utf8_lossy(&soak.stderr);
    println!("{said}\n{complained}");
    assert!(soak.status.success(), "{}: see above", soak.status);
    // It was no empty run, and it has judged what it could.
    assert!(said.contains("OK: memory flat, every list right"));
    #[cfg(target_os = "linux")]
    assert!(said.contains("would have been seen"), "memory was not judged");
}
