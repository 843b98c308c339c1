//! Completions, manual pages and versions of both programs, and that shells and `man` take them.

use super::ends;
use crate::support::process::command;
use crate::support::tools;
use std::process::{Command, Stdio};

const PROGRAMS: [&str; 2] = [env!("CARGO_BIN_EXE_parlor"), env!("CARGO_BIN_EXE_parlor-server")];

fn says(program: &str, words: &[&str]) -> String {
    let mut line = command(program);
    line.args(words);
    let (code, said) = ends(line);
    assert_eq!(code, Some(0), "{words:?}: {said}");
    said
}

#[test]
fn both_programs_say_their_version_features_codec_library_and_exit_codes() {
    let version = concat!(" ", env!("CARGO_PKG_VERSION"));
    for (program, codec) in PROGRAMS.into_iter().zip(["libopus 1.", "none"]) {
        let said = says(program, &["--version"]);
        for part in [version, "features: ", "server", "codec library: ", codec] {
            assert!(said.contains(part), "no {part} in {said}");
        }
        assert_eq!(says(program, &["-V"]).lines().count(), 1);
        for words in [&["--help"][..], &["-h"], &["help"]] {
            let said = says(program, words);
            for part in ["Exit codes:", "  2 ", "  70 ", "completions"] {
                assert!(said.contains(part), "{words:?}: no {part} in {said}");
            }
        }
    }
}

#[test]
fn shells_take_the_completions() {
    for program in PROGRAMS {
        let name = program.rsplit('/').next().unwrap();
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            assert!(says(program, &["completions", shell]).contains(name), "{shell}");
        }
        // What bash itself offers behind a first letter.
        let script = format!(
            "eval \"$({program} completions bash)\"; COMP_WORDS=({name} --ver); COMP_CWORD=1; \
             _{name} {name} --ver {name} 2>/dev/null || _{} {name} --ver {name}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            name.replace('-', "__")
        );
        if tools::find("bash").is_some() {
            let output = Command::new("bash").args(["-c", &script]).output().unwrap();
            let offered = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(offered.contains("--version"), "{offered} {output:?}");
        }
    }
    let mut none = command(PROGRAMS[0]);
    none.args(["completions", "tcsh"]);
    let (code, said) = ends(none);
    assert_eq!((code, said.trim().lines().count()), (Some(2), 1), "{said}");
}

#[test]
fn man_takes_every_page() {
    let directory = tempfile::tempdir().unwrap();
    for program in PROGRAMS {
        assert!(says(program, &["man"]).starts_with(".ie"));
        says(program, &["man", "--out", directory.path().to_str().unwrap()]);
    }
    let pages: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(pages.len() > 30, "{pages:?}");
    let test = "man_takes_every_page";
    let absent: Vec<&str> = ["man"].into_iter().filter(|p| tools::find(p).is_none()).collect();
    if tools::skips(test, &absent, "PARLOR_TEST_REQUIRE_MAN") {
        return;
    }
    for page in pages {
        let mut man = Command::new("man");
        man.arg("--warnings").arg("-l").arg(&page).env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80");
        let output = man.stdin(Stdio::null()).output().unwrap();
        let warned = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && warned.is_empty(), "{page:?}: {warned}");
    }
}
