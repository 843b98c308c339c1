//! The first minute: who are you, where to, and can you be heard. Asked on a terminal when nothing says where
//! to go; every question can be answered by Enter.
//!
//! Lines of the terminal itself, with its own editing, so that screen readers follow and Ctrl-C leaves
//! without anything to put back. `Questions` is pure; `ask` reads, says and listens.

use super::event::Event;
use super::options::Options;
use super::run::signalled;
use super::state::ClientState;
use super::texts::{self, first as words};
use super::visits::Visit;
use super::voice::{TrialNews, VoiceConfig, VoiceEvent, VoiceHandle};
use crate::net::address::{HostPort, TCP_PORT};
use crate::net::limits::CLIENT_MAILBOX;
use crate::net::name::UserName;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use tokio::sync::{mpsc, oneshot};

/// The exit code of whoever leaves by Ctrl-C before there is anything to leave (128 and the signal's number).
pub const EXIT_LEFT: u8 = 130;
/// Longest answer, in bytes; an invite is the longest that makes sense.
const ANSWER_BYTES_MAX: u64 = 4096;

/// How the questions have ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// These belong on the command line.
    Answers(Vec<OsString>),
    /// The user has left; with this exit code.
    Left(u8),
}

/// Whether there is anything to ask, and somebody to be asked.
#[must_use]
pub fn is_due(options: &Options) -> bool {
    let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    terminal && !options.json && !options.headless && !options.names_server()
}

/// What is being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Name,
    Server,
    Microphone,
    Again,
}

/// What comes of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The next question, or the same once more; first say this.
    Ask(Option<String>),
    /// Let the user hear himself.
    Test,
    /// Nothing more is to be asked.
    Done,
}

/// The questions and their answers.
#[derive(Debug)]
pub struct Questions {
    question: Question,
    /// What Enter means, and then what was answered.
    name: String,
    name_typed: bool,
    /// The name is to be said on the command line.
    name_asked: bool,
    /// What Enter means.
    usual: String,
    server: Option<String>,
    last: Option<Visit>,
    /// Names of the address book; what is set there goes before what is guessed here.
    book: Vec<String>,
}

impl Questions {
    /// Questions of whom this is known: his name, and whether he has said it already; his last visit; the names
    /// and addresses of his address book.
    #[must_use]
    pub fn new(
        name: String,
        name_given: bool,
        last: Option<Visit>,
        book: &[(String, String)],
    ) -> Self {
        let name = match &last {
            Some(last) if !name_given => last.name.to_string(),
            _ => name,
        };
        let entry = |server: &str| {
            let same = book.iter().find(|(_, address)| with_port(address) == server);
            same.map(|(name, _)| name.clone())
        };
        let usual = match &last {
            None => "127.0.0.1".to_owned(),
            Some(last) => entry(&last.server).unwrap_or_else(|| last.server.clone()),
        };
        Self {
            question: if name_given { Question::Server } else { Question::Name },
            name,
            name_typed: false,
            name_asked: !name_given,
            usual,
            server: None,
            last,
            book: book.iter().map(|(name, _)| name.clone()).collect(),
        }
    }

    /// The question, as it is asked.
    #[must_use]
    pub fn prompt(&self) -> String {
        match self.question {
            Question::Name => words::name(&self.name),
            Question::Server => words::server(&self.usual, self.last.is_none()),
            Question::Microphone => words::microphone(self.last.is_none()).to_owned(),
            Question::Again => words::AGAIN.to_owned(),
        }
    }

    /// An answer; nothing is what stands in the question. `good` says what is wrong with a server.
    pub fn answer(&mut self, line: &str, good: &dyn Fn(&str) -> Result<(), String>) -> Next {
        let line = line.trim();
        match self.question {
            Question::Name => {
                if !line.is_empty() {
                    match UserName::parse(line) {
                        Ok(name) => self.name = name.to_string(),
                        Err(error) => return Next::Ask(Some(words::again(&error.to_string()))),
                    }
                    self.name_typed = true;
                }
                self.question = Question::Server;
                Next::Ask(None)
            }
            Question::Server => {
                let server = if line.is_empty() { self.usual.clone() } else { line.to_owned() };
                if let Err(why) = good(&server) {
                    return Next::Ask(Some(words::again(&why)));
                }
                self.server = Some(server);
                self.question = Question::Microphone;
                Next::Ask(None)
            }
            Question::Microphone | Question::Again => {
                let usual = self.last.is_none() && self.question == Question::Microphone;
                match words::yes(line, usual) {
                    Some(true) => Next::Test,
                    Some(false) => Next::Done,
                    None => Next::Ask(Some(words::YES_OR_NO.to_owned())),
                }
            }
        }
    }

    /// A test has ended. One that cannot be repeated with another outcome is not offered again.
    pub fn tested(&mut self, repeat: bool) -> Next {
        self.question = Question::Again;
        if repeat { Next::Ask(None) } else { Next::Done }
    }

    /// What the answers are on a command line.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let server = self.server.as_ref().unwrap_or(&self.usual);
        let known = self.book.contains(server);
        let mut arguments = Vec::new();
        if self.name_asked && (self.name_typed || !known) {
            arguments.push(format!("--name={}", self.name).into());
        }
        // Where one was before, one goes to the same room.
        if let Some(last) = self.last.as_ref().filter(|last| !known && last.server == *server) {
            arguments.push(format!("--room={}", last.room).into());
        }
        // It is no flag and no word of the command line, whatever it is called.
        arguments.push("--".into());
        arguments.push(server.into());
        arguments
    }
}

/// An address of the address book as visits write it.
fn with_port(address: &str) -> String {
    match HostPort::parse(address) {
        Ok(HostPort { host, port }) => HostPort { host, port: port.or(Some(TCP_PORT)) }.to_string(),
        Err(_) => address.to_owned(),
    }
}

/// Asks, until everything is known or the user leaves. `good` says what is wrong with a server, as the command line
/// would take it.
pub async fn ask(options: &Options, good: &dyn Fn(&str) -> Result<(), String>) -> End {
    let state = ClientState::open_later(options.state_dir.clone()).ok();
    let last =
        state.and_then(|state| state.visits().ok()).and_then(|visits| visits.last().cloned());
    let name = options.user_name().map(|name| name.to_string()).unwrap_or_default();
    let servers = &options.settled.config.servers;
    let book: Vec<_> =
        servers.iter().map(|(name, entry)| (name.clone(), entry.address())).collect();
    let mut questions = Questions::new(name, options.name.is_some(), last, &book);
    say(&words::welcome(servers.keys()));
    loop {
        prompt(&questions.prompt());
        let line = match line().await {
            Some(line) => line,
            None => return left(),
        };
        let mut next = questions.answer(&line, good);
        if next == Next::Test {
            next = match test(options).await {
                Some(repeat) => questions.tested(repeat),
                None => return left(),
            };
        }
        match next {
            Next::Ask(why) => why.iter().for_each(|why| say(why)),
            Next::Done => break,
            Next::Test => {}
        }
    }
    say(&words::hint(options.settled.config.path.as_deref()));
    End::Answers(questions.arguments())
}

fn left() -> End {
    say("");
    End::Left(EXIT_LEFT)
}

/// A line of the terminal; `None` at its end, or when a signal ends us.
async fn line() -> Option<String> {
    let (sender, receiver) = oneshot::channel();
    // No task of the runtime: its end would wait for a line that nobody types any more.
    let reading = std::thread::Builder::new().name("answer".to_owned()).spawn(move || {
        let mut line = String::new();
        let read = io::BufRead::read_line(
            &mut io::Read::take(io::stdin().lock(), ANSWER_BYTES_MAX),
            &mut line,
        );
        // Whoever waited may have been ended by a signal.
        let _ = sender.send(read.ok().filter(|bytes| *bytes > 0).map(|_| line));
    });
    if reading.is_err() {
        return None;
    }
    tokio::select! {
        line = receiver => line.ok().flatten(),
        () = signalled() => None,
    }
}

/// Lets the user hear himself. Whether another test may come out otherwise; `None` when a signal ends us.
async fn test(options: &Options) -> Option<bool> {
    let Ok((input, output)) = options.sound() else { return Some(false) };
    let (events_in, mut events) = mpsc::channel(CLIENT_MAILBOX);
    let config = VoiceConfig::new(input, output).sending(options.sending()).chain(options.chain());
    let voice = match VoiceHandle::start(config, events_in) {
        Ok(voice) => voice,
        Err(error) => {
            say(&words::again(&error.to_string()));
            return Some(false);
        }
    };
    voice.try_out();
    let heard = async {
        let mut verdict = None;
        while let Some(event) = events.recv().await {
            let VoiceEvent::Trial(news) = event else { continue };
            match news {
                TrialNews::Speak { ms } => say(&words::speak(ms)),
                TrialNews::Over => {}
                news => texts::words(&Event::Test(news)).iter().for_each(|line| say(line)),
            }
            if let TrialNews::Heard(figures) = news {
                verdict = Some(figures.verdict);
            }
            if !news.goes_on() {
                break;
            }
        }
        verdict
    };
    let verdict = tokio::select! {
        verdict = heard => Some(verdict),
        () = signalled() => None,
    };
    voice.stop().await;
    let verdict = verdict?;
    if verdict.is_none() {
        say(words::WITHOUT);
    }
    Some(verdict.is_some())
}

fn say(line: &str) {
    // A terminal that is gone is noticed by the next question.
    let _ = writeln!(io::stdout(), "{line}");
}

fn prompt(text: &str) {
    let mut out = io::stdout();
    let _ = write!(out, "{text} ").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::name::RoomName;

    fn last() -> Visit {
        let name = UserName::parse("Ada").unwrap();
        Visit { server: "a:8888".to_owned(), name, room: RoomName::parse("den").unwrap() }
    }

    fn all_good(_: &str) -> Result<(), String> {
        Ok(())
    }

    /// Answers one line after the other; what the command line is then.
    fn answered(mut questions: Questions, lines: &[&str]) -> (Next, Vec<OsString>) {
        let mut next = Next::Ask(None);
        for line in lines {
            next = questions.answer(line, &all_good);
        }
        (next, questions.arguments())
    }

    #[test]
    fn enter_answers_everything_and_somebody_new_is_offered_the_test() {
        let new = Questions::new("login".to_owned(), false, None, &[]);
        assert!(new.prompt().contains("[login]"));
        let line = ["--name=login", "--", "127.0.0.1"].map(OsString::from).to_vec();
        assert_eq!(answered(new, &["", "", ""]), (Next::Test, line));
        let known = Questions::new("login".to_owned(), false, Some(last()), &[]);
        assert!(known.prompt().contains("[Ada]"));
        let line = ["--name=Ada", "--room=den", "--", "a:8888"].map(OsString::from).to_vec();
        assert_eq!(answered(known, &["", "", ""]), (Next::Done, line));
    }

    #[test]
    fn what_is_typed_goes_before_and_another_server_has_another_room() {
        let known = Questions::new("login".to_owned(), false, Some(last()), &[]);
        let line = ["--name=Bob", "--", "b"].map(OsString::from).to_vec();
        assert_eq!(answered(known, &[" Bob ", "b", "y"]), (Next::Test, line));
        // A name that was said is not asked for.
        let given = Questions::new("Eve".to_owned(), true, Some(last()), &[]);
        assert!(given.prompt().contains("[a:8888]"));
        let line = ["--room=den", "--", "a:8888"].map(OsString::from).to_vec();
        assert_eq!(answered(given, &["", "n"]), (Next::Done, line));
    }

    #[test]
    fn the_address_book_knows_better_than_a_guess() {
        let book = [("home".to_owned(), "a".to_owned())];
        let known = Questions::new("login".to_owned(), false, Some(last()), &book);
        let line = ["--", "home"].map(OsString::from).to_vec();
        assert_eq!(answered(known, &["", "", ""]), (Next::Done, line));
        let known = Questions::new("login".to_owned(), false, Some(last()), &book);
        let line = ["--name=Bob", "--", "home"].map(OsString::from).to_vec();
        assert_eq!(answered(known, &["Bob", "home", ""]), (Next::Done, line));
    }

    #[test]
    fn what_will_not_do_is_said_and_asked_again() {
        let mut questions = Questions::new("login".to_owned(), false, None, &[]);
        let prompt = questions.prompt();
        let Next::Ask(Some(_)) = questions.answer(&"x".repeat(40), &all_good) else { panic!() };
        assert_eq!(questions.prompt(), prompt);
        questions.answer("", &all_good);
        let why = questions.answer("wrok", &|_| Err("there is no server 'wrok'".to_owned()));
        assert_eq!(why, Next::Ask(Some("! there is no server 'wrok'".to_owned())));
        questions.answer("b", &all_good);
        assert!(matches!(questions.answer("perhaps", &all_good), Next::Ask(Some(_))));
        assert_eq!(questions.answer("YES", &all_good), Next::Test);
        assert_eq!(questions.tested(true), Next::Ask(None));
        assert_eq!(questions.answer("", &all_good), Next::Done);
        assert_eq!(questions.tested(false), Next::Done);
    }
}
