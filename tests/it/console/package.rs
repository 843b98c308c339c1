//! The archive for friends: unpacked somewhere else, it is all that is needed.

use super::{SOON, event};
use crate::support::process::{Running, command};
use crate::support::state;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

#[test]
fn a_friend_unpacks_the_archive_and_comes_in_with_an_invite() {
    let home = tempfile::tempdir().unwrap();
    let release = home.path().join("target/dist");
    std::fs::create_dir_all(&release).unwrap();
    for program in [env!("CARGO_BIN_EXE_parlor"), env!("CARGO_BIN_EXE_parlor-server")] {
        symlink(program, release.join(Path::new(program).file_name().unwrap())).unwrap();
    }
    let mut package = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/package"));
    package.args(["--no-build", "--out"]).arg(home.path().join("dist"));
    let output = package.env("CARGO_TARGET_DIR", home.path().join("target")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    let archive = said.trim().to_owned();
    let there = home.path().join("friend");
    std::fs::create_dir_all(&there).unwrap();
    let tar = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&there).status().unwrap();
    assert!(tar.success());
    let name = Path::new(&archive).file_name().unwrap().to_string_lossy().into_owned();
    let root = there.join(name.strip_suffix(".tar.gz").unwrap());
    for file in [
        "README.md",
        "LICENSE",
        "INSTALL",
        "docs/hosting.md",
        "man/man1/parlor.1",
        "man/man1/parlor-server-invite.1",
        "completions/bash/parlor",
        "completions/zsh/_parlor-server",
        "completions/fish/parlor.fish",
    ] {
        let length = std::fs::metadata(root.join(file)).map(|about| about.len());
        assert!(length.as_ref().is_ok_and(|bytes| *bytes > 0), "{file}: {length:?}");
    }
    // Nothing of the place where it was built is left.
    std::fs::remove_dir_all(home.path().join("target")).unwrap();
    let program = |name: &str| command(root.join(name).to_str().unwrap());
    let mut server = program("parlor-server");
    server
        .args(["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0"])
        .env(state::SERVER, state::fresh());
    let mut server = Running::start("parlor-server", server);
    let invite = server.wait_for("an invite", SOON, |line| {
        let quoted = line.strip_prefix("to invite your friends: parlor '")?;
        Some(quoted.strip_suffix('\'')?.to_owned())
    });
    let mut friend = program("parlor");
    friend.args([&invite, "--json", "--input", "silence", "--output", "null"]);
    let mut friend = Running::start("friend", friend);
    event(&mut friend, "joined", &[("room", "general".into())], 1);
}
