//! The words of the first minute, and about versions and exit codes.

use std::path::Path;

/// What is said before the first question; with the address book, if there is one.
#[must_use]
pub fn welcome<'a>(book: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = book.map(String::as_str).collect();
    let mut text =
        "Parlor: voice chat. Enter takes what stands in [brackets], Ctrl-C leaves.".to_owned();
    if !names.is_empty() {
        text.push_str(&format!("\nYour servers: {}", names.join(", ")));
    }
    text
}

/// Who are you?
#[must_use]
pub fn name(usual: &str) -> String {
    format!("Your name [{usual}]:")
}

/// Where to?
#[must_use]
pub fn server(usual: &str, first: bool) -> String {
    match first {
        true => format!("Server, or an invite (parlor://...) [{usual}, this machine]:"),
        false => format!("Server or invite [{usual}]:"),
    }
}

/// Can you be heard?
#[must_use]
pub fn microphone(first: bool) -> &'static str {
    match first {
        true => "Test your microphone: speak, and hear yourself? Nobody else does. [Y/n]:",
        false => "Test your microphone? [y/N]:",
    }
}

/// Once more?
pub const AGAIN: &str = "Test it again? [y/N]:";

/// Whether an answer is yes; what is neither is `None`.
#[must_use]
pub fn yes(answer: &str, usual: bool) -> Option<bool> {
    match answer.to_lowercase().as_str() {
        "" => Some(usual),
        "y" | "yes" => Some(true),
        "n" | "no" => Some(false),
        _ => None,
    }
}

/// An answer that is neither.
pub const YES_OR_NO: &str = "! y for yes, n for no; Enter takes the capital one.";

/// An answer that will not do.
#[must_use]
pub fn again(why: &str) -> String {
    format!("! {why}")
}

/// The test listens.
#[must_use]
pub fn speak(ms: u32) -> String {
    format!("* Speak for {} seconds; then you hear how you sound.", ms / 1000)
}

/// No microphone, and on we go.
pub const WITHOUT: &str =
    "* Without a microphone you can hear and write; /test tries it again at any time.";

/// How to be asked no more.
#[must_use]
pub fn hint(config: Option<&Path>) -> String {
    match config {
        Some(path) => format!(
            "* To be asked no more, write name = \"...\" and server = \"...\" into {}.",
            path.display()
        ),
        None => "* To be asked no more, start it with --name NAME --server HOST.".to_owned(),
    }
}
