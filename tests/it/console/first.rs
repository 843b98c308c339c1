//! The first minute: a terminal, no flags, and questions that Enter answers.

use super::{Server, Terminal, event, json};
use crate::support::{state, tools};
use std::path::Path;

fn skips(test: &str) -> bool {
    let absent: Vec<&str> = ["tmux"].into_iter().filter(|p| tools::find(p).is_none()).collect();
    tools::skips(test, &absent, "PARLOR_TEST_REQUIRE_TMUX")
}

/// A terminal in which `parlor` was typed and nothing else, with a tone for a microphone; behind it the shell
/// says how it has ended and what the terminal is like.
fn parlor(home: &Path) -> Terminal {
    let config = home.join("config.toml");
    std::fs::write(&config, "input = \"tone:440\"\noutput = \"null\"\n").unwrap();
    Terminal::open(&format!(
        "sh -c \"trap : INT; USER=anna PARLOR_CONFIG='{}' PARLOR_STATE_DIR='{}' '{}'; \
         echo ended with \\$?; stty -a; exec sleep 600\"",
        config.display(),
        home.join("state").display(),
        env!("CARGO_BIN_EXE_parlor")
    ))
}

#[test]
fn somebody_new_answers_three_questions_hears_himself_and_is_in_a_room() {
    if skips("somebody_new_answers_three_questions_hears_himself_and_is_in_a_room") {
        return;
    }
    let server = Server::start();
    let mut bert = json(&server.tcp, "bert", &[]);
    event(&mut bert, "joined", &[], 1);
    let home = tempfile::tempdir().unwrap();
    let terminal = parlor(home.path());
    terminal.shows("the first question", |screen| screen.contains("Your name [anna]:"));
    terminal.press(&["Enter"]);
    terminal.shows("the second", |screen| screen.contains("[127.0.0.1, this machine]:"));
    // What cannot be is said, and asked again.
    terminal.press(&["-l", "a:b"]);
    terminal.press(&["Enter"]);
    terminal.shows("why not", |screen| screen.contains("'b' is no port"));
    terminal.press(&["-l", &server.tcp]);
    terminal.press(&["Enter"]);
    terminal.shows("the offer", |screen| screen.contains("Nobody else does. [Y/n]:"));
    terminal.press(&["Enter"]);
    terminal.shows("the test", |screen| screen.contains("Speak for 5 seconds"));
    terminal.shows("its outcome", |screen| screen.contains("Test it again? [y/N]:"));
    terminal.press(&["Enter"]);
    event(&mut bert, "member_joined", &[("name", "anna".into())], 1);
    let screen = terminal.shows("the room", |screen| screen.contains(">general"));
    assert!(screen.contains("F1 help"), "{screen}");
    terminal.press(&["-l", "/join attic"]);
    terminal.press(&["Enter"]);
    terminal.shows("the attic", |screen| screen.contains(">attic"));
    terminal.press(&["F10"]);
    terminal.shows("the end", |screen| screen.contains("ended with 0"));
    // From then on Enter is enough, and leads to where one was.
    let again = parlor(home.path());
    again.shows("the name", |screen| screen.contains("Your name [anna]:"));
    again.press(&["Enter"]);
    let last = format!("Server or invite [{}]:", server.tcp);
    again.shows("the last server", |screen| screen.contains(&last));
    again.press(&["Enter"]);
    again.shows("the offer", |screen| screen.contains("Test your microphone? [y/N]:"));
    again.press(&["Enter"]);
    again.shows("the attic", |screen| screen.contains(">attic"));
}

#[test]
fn ctrl_c_leaves_every_question_and_a_terminal_that_can_be_used() {
    if skips("ctrl_c_leaves_every_question_and_a_terminal_that_can_be_used") {
        return;
    }
    for answers in 0..4 {
        let home = tempfile::tempdir().unwrap();
        let terminal = parlor(home.path());
        for (k, question) in ["Your name", "Server, or", "[Y/n]", "Speak for"].iter().enumerate() {
            terminal.shows(question, |screen| screen.contains(question));
            if k == answers {
                break;
            }
            terminal.press(&["Enter"]);
        }
        terminal.press(&["C-c"]);
        // `stty` tells this mode last; one that is off has a dash before it.
        let told = |screen: &str| screen.contains("ended with 130") && screen.contains("extproc");
        let screen = terminal.shows("the shell", told);
        for mode in ["icanon", "echo", "isig", "icrnl"] {
            assert!(screen.split([' ', ';', '\n']).any(|word| word == mode), "{mode}:\n{screen}");
        }
        assert!(!screen.contains("panicked"), "{screen}");
        assert!(!home.path().join("state").exists(), "nothing is remembered of nothing");
    }
}

#[test]
fn without_a_terminal_nothing_is_asked() {
    let mut program = crate::support::process::command(env!("CARGO_BIN_EXE_parlor"));
    // Nobody listens there.
    program.args(["--input", "silence", "--output", "null", "--tcp-port", "1"]);
    program.env("LC_ALL", "C.UTF-8").env_remove(state::CONFIG).env(state::CONFIG, "");
    let (code, said) = super::ends(program);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("127.0.0.1:1") && !said.contains("Your name"), "{said}");
}
