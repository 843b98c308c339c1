//! The words about the command line itself: its sub-commands, versions, exit codes, the manual's chapters.

use crate::manual::Chapter;

/// What stands for a sub-command in the usage.
pub const COMMAND: &str = "COMMAND";
/// `parlor doctor`.
pub const DOCTOR: &str =
    "Look at microphone, loudspeaker and the way to the server, and say what to do";
/// `parlor doctor ptt`.
pub const DOCTOR_PTT: &str = "Say how to talk by key here, and how to do it better";
/// `parlor record`.
pub const RECORD: &str =
    "Record a room until Ctrl-C, without microphone or loudspeaker; everyone in it is told";

/// Each exit code, and what it means.
pub const EXIT_CODES: [(&str, &str); 5] = [
    ("0", "it has ended as asked"),
    ("1", "it could not be done: no server, not let in, sent away, something in the way (doctor)"),
    (
        "2",
        "something is wrong on the command line, in the file of settings, or in a file that they name",
    ),
    ("70", "a fault inside Parlor"),
    ("130", "left by Ctrl-C at the questions of the start"),
];

/// What stands below the flags.
#[must_use]
pub fn after_help() -> String {
    let mut text = String::from(
        "parlor NAME goes to the server that the file of settings calls so ([servers.NAME]), and parlor --server NAME to a host.
Every flag can be set there by its name; a switch is taken back with --bell=false. Without any, parlor asks where to go.

Exit codes:",
    );
    for (code, meaning) in EXIT_CODES {
        text.push_str(&format!("\n  {code:<4} {meaning}"));
    }
    text
}

/// What the program says of itself.
#[must_use]
pub fn version(version: &str, features: &str, codec: &str, os: &str, arch: &str) -> String {
    format!("{version}\nfeatures: {features}\ncodec library: {codec}\nsystem: {os} {arch}")
}

/// What the manual says beside the flags.
#[must_use]
pub fn chapters() -> Vec<Chapter> {
    vec![
        Chapter { title: "EXIT STATUS", entries: &EXIT_CODES },
        Chapter {
            title: "FILES",
            entries: &[
                (
                    "~/.config/parlor/config.toml",
                    "Settings and the address book. On macOS and Windows: where 'parlor config path' says.",
                ),
                (
                    "~/.local/state/parlor/",
                    "What Parlor itself remembers: this device's key, known servers, volumes, the last rooms (--state-dir).",
                ),
            ],
        },
        Chapter {
            title: "ENVIRONMENT",
            entries: &[
                ("PARLOR_CONFIG", "Another file of settings; empty for none."),
                ("PARLOR_STATE_DIR", "As --state-dir."),
                ("PARLOR_LOG", "As --log."),
                ("PARLOR_INVITE", "An invite, where no server is named."),
                (
                    "PARLOR_PASSWORD, PARLOR_SERVER_PASSWORD, PARLOR_ROOM_PASSWORD",
                    "Passwords, where no file is named on the command line.",
                ),
                ("NO_COLOR", "No colours, where no theme is chosen."),
            ],
        },
    ]
}
