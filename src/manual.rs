//! Completions for shells and pages for `man`, made from the flags themselves, so that they are never behind
//! them. Knows neither server nor client.

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What the user of a page wants to know beside the flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chapter {
    /// Its heading.
    pub title: &'static str,
    /// Each entry: what it is about (a code, a file, a variable; may be empty), and what there is to say.
    pub entries: &'static [(&'static str, &'static str)],
}

/// Writes what a shell completes a program's command line with.
///
/// # Errors
/// It cannot be written.
pub fn completions(command: Command, shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    let mut command = command.disable_help_subcommand(true);
    let name = command.get_name().to_owned();
    // The generator takes no writer that can fail.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut text);
    out.write_all(&text)?;
    out.flush()
}

/// Writes a program's page (roff, section 1). Whether it holds sub-commands that have pages of their own is
/// for [`pages`].
///
/// # Errors
/// It cannot be written.
pub fn page(command: Command, chapters: &[Chapter], out: &mut dyn Write) -> io::Result<()> {
    let subcommands = command.has_subcommands();
    let man = Man::new(command.disable_help_subcommand(true)).manual("Parlor");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    if subcommands {
        man.render_subcommands_section(out)?;
    }
    for Chapter { title, entries } in chapters {
        let mut roff = Roff::new();
        roff.control("SH", [*title]);
        for (about, text) in *entries {
            if !about.is_empty() {
                roff.control("TP", []);
                roff.text([bold(*about)]);
            }
            roff.text([roman(*text)]);
        }
        roff.to_writer(out)?;
    }
    out.flush()
}

/// Writes a page for the program, with these chapters, and one for each of its sub-commands, into a directory
/// that is there. The files are called as `man` wants them; the program's own comes last.
///
/// # Errors
/// One of them cannot be written.
pub fn pages(command: Command, chapters: &[Chapter], directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut written = Vec::new();
    write_below(&command, directory, &mut written)?;
    let path = directory.join(format!("{}.1", command.get_name()));
    page(command, chapters, &mut File::create(&path)?)?;
    written.push(path);
    Ok(written)
}

fn write_below(command: &Command, directory: &Path, written: &mut Vec<PathBuf>) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write_below(below, directory, written)?;
        written.push(Man::new(below.clone()).manual("Parlor").generate_to(directory)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Arg;

    fn command() -> Command {
        let deeper = Command::new("deeper").about("Goes down");
        Command::new("prog")
            .version("1.2")
            .about("Does things")
            .arg(Arg::new("flag").long("flag"))
            .subcommand(Command::new("deep").about("Goes").subcommand(deeper))
    }

    #[test]
    fn every_shell_completes_flags_and_sub_commands() {
        for shell in <Shell as clap::ValueEnum>::value_variants() {
            let mut text = Vec::new();
            completions(command(), *shell, &mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains("flag") && text.contains("deeper"), "{shell}: {text}");
        }
    }

    #[test]
    fn a_page_has_flags_and_chapters_and_each_sub_command_a_page() {
        let directory = tempfile::tempdir().unwrap();
        let chapters = [Chapter { title: "EXIT STATUS", entries: &[("2", "It is wrong.")] }];
        let written = pages(command(), &chapters, directory.path()).unwrap();
        let names: Vec<_> = written.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, ["prog-deep-deeper.1", "prog-deep.1", "prog.1"]);
        let text = std::fs::read_to_string(written.last().unwrap()).unwrap();
        for part in ["Does things", "\\-\\-flag", "EXIT STATUS", "It is wrong.", "prog\\-deep"] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        assert!(pages(command(), &[], Path::new("/nowhere/at/all")).is_err());
    }
}
