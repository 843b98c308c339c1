//! The whole command line of the client as help, completions and manual show it, and what is said of the program
//! itself: its version, its exit codes.
//!
//! It is read in parts (`remote`, `config::show`, `options`), since a first word decides which part counts.

use super::config::show;
use super::options::Options;
use super::texts::cli as words;
use super::{remote, voice};
use crate::manual::{self, Chapter};
use clap::{Command, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// The words of a command line about the command line.
#[derive(Debug, Parser)]
#[command(name = "parlor", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    word: Word,
}

#[derive(Debug, Subcommand)]
enum Word {
    /// Print what a shell completes command lines with
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page: parlor man | man -l -
    Man {
        /// Write it, and those of the sub-commands, into this directory
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// All of it.
#[must_use]
pub fn whole() -> Command {
    let talking = |name: &'static str, about: &'static str| {
        let none = None::<&'static str>;
        Options::command().name(name).about(about).version(none).long_version(none)
    };
    let doctor = talking("doctor", words::DOCTOR).subcommand(talking("ptt", words::DOCTOR_PTT));
    let config = show::command().mut_subcommand("show", |show| {
        let about = show.get_about().cloned().unwrap_or_default();
        talking("show", "").about(about)
    });
    Options::command()
        .subcommand(doctor)
        .subcommand(talking("record", words::RECORD))
        .subcommand(config)
        .subcommands(remote::commands())
        .subcommands(Arguments::command().get_subcommands().cloned())
        .subcommand_value_name(words::COMMAND)
        .after_help(words::after_help())
}

/// Help or version of a command line that asks for one of them; `None` for every other.
#[must_use]
pub fn help(arguments: &[OsString]) -> Option<clap::Error> {
    let error = whole().try_get_matches_from(arguments).err()?;
    (!error.use_stderr()).then_some(error)
}

/// What `--version` says: the version, what is built in, and the codec's library.
#[must_use]
pub fn version() -> String {
    let mut features = vec!["client"];
    if cfg!(feature = "server") {
        features.push("server");
    }
    words::version(
        env!("CARGO_PKG_VERSION"),
        &features.join(", "),
        &voice::codec_library(),
        std::env::consts::OS,
        std::env::consts::ARCH,
    )
}

/// What the manual says beside the flags.
#[must_use]
pub fn chapters() -> Vec<Chapter> {
    words::chapters()
}

/// Carries out a command line about the command line; `None` for every other.
///
/// # Errors
/// The words behind the first make no sense, or help was asked for.
#[must_use]
pub fn answer(all: &[OsString]) -> Option<Result<io::Result<()>, clap::Error>> {
    let first = all.get(1)?.to_str()?;
    match first {
        "help" => return Some(Err(help_of(all.get(2..).unwrap_or_default()))),
        "completions" | "man" => {}
        _ => return None,
    }
    Some(Arguments::try_parse_from(all).map(|Arguments { word }| {
        let out = &mut io::stdout().lock();
        let done = match word {
            Word::Completions { shell } => manual::completions(whole(), shell, out),
            Word::Man { out: None } => manual::page(whole(), &chapters(), out),
            Word::Man { out: Some(directory) } => {
                manual::pages(whole(), &chapters(), &directory).map(drop)
            }
        };
        // Whoever reads no further has seen enough.
        done.or_else(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(error),
        })
    }))
}

/// `parlor help WORDS` is `parlor WORDS --help`.
fn help_of(words: &[OsString]) -> clap::Error {
    let line = std::iter::once(OsString::from("parlor")).chain(words.iter().cloned());
    let line: Vec<OsString> = line.chain([OsString::from("--help")]).collect();
    match whole().try_get_matches_from(line) {
        Err(error) => error,
        Ok(_) => whole().error(clap::error::ErrorKind::InvalidSubcommand, "there is no help"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::config::TAKEN;

    #[test]
    fn the_whole_command_line_is_consistent_and_every_word_of_it_is_taken() {
        whole().debug_assert();
        let whole = whole();
        let mut words: Vec<&str> = whole.get_subcommands().map(Command::get_name).collect();
        words.push("help");
        words.sort_unstable();
        assert_eq!(words, TAKEN);
    }

    #[test]
    fn help_is_that_of_the_word_in_front() {
        let said = |line: &str| {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            help(&words).or_else(|| answer(&words)?.err()).map(|error| error.to_string())
        };
        let main = said("parlor --help").unwrap();
        for part in ["Exit codes:", "  record ", "  completions ", "--bitrate", "[SERVER|INVITE]"] {
            assert!(main.contains(part), "no {part} in {main}");
        }
        assert!(said("parlor doctor --help").unwrap().contains("Usage: parlor doctor"));
        assert!(said("parlor help config").unwrap().contains("parlor config"));
        assert_eq!(said("parlor help"), said("parlor --help"));
        assert_eq!(said("parlor --bitrate 64"), None);
    }

    #[test]
    fn the_version_names_features_and_the_codec_s_library() {
        let said = version();
        assert!(said.starts_with(env!("CARGO_PKG_VERSION")), "{said}");
        assert!(said.contains("client") && said.contains("libopus 1."), "{said}");
        let whole = help(&["parlor".into(), "--version".into()]).unwrap().to_string();
        assert!(whole.contains("libopus"), "{whole}");
        let short = help(&["parlor".into(), "-V".into()]).unwrap().to_string();
        assert_eq!(short, concat!("parlor ", env!("CARGO_PKG_VERSION"), "\n"));
    }

    #[test]
    fn the_manual_has_every_flag_and_exit_code_and_shells_complete_them() {
        let mut page = Vec::new();
        manual::page(whole(), &chapters(), &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        let mut completions = Vec::new();
        manual::completions(whole(), Shell::Bash, &mut completions).unwrap();
        let completions = String::from_utf8(completions).unwrap();
        for flag in Options::command().get_arguments().filter_map(clap::Arg::get_long) {
            assert!(page.contains(&flag.replace('-', "\\-")), "{flag}");
            assert!(completions.contains(&format!("--{flag}")), "{flag}");
        }
        for part in ["EXIT STATUS", "FILES", "ENVIRONMENT", "config.toml", "PARLOR_CONFIG"] {
            assert!(page.replace("\\-", "-").contains(part), "{part}");
        }
    }
}
