//! Asking for passwords: what is typed is shown as dots, stands in no history, and is wiped. Pure.
//!
//! A question stays until the user has answered it or given up: if it went away by itself, the
//! second half of a password would land on the line and be said aloud.

use super::control::request::{Lock, Request};
use super::event::{Event, LocalError, LockKind, Turn};
use crate::net::limits::{PASSWORD_BYTES_MAX, QUESTIONS_MAX};
use crate::net::moderation::Moderation;
use crate::net::secret::Password;
use std::collections::VecDeque;
use zeroize::{Zeroize, Zeroizing};

/// What a password is wanted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The connection asked for it.
    Unlock {
        /// What it opens.
        lock: Lock,
        /// How often it was asked for.
        turn: Turn,
    },
    /// A name that is to be registered.
    Register,
    /// A room that is to have a password.
    LockRoom(String),
}

/// What has become of a question.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// The question goes on.
    Open,
    /// Show this.
    Show(Event),
    /// Ask the connection.
    Ask(Request),
    /// The user gave up what he himself had begun.
    GivenUp,
}

/// The questions there are; the first is shown.
#[derive(Debug, Default)]
pub struct Asking {
    questions: VecDeque<(Wanted, String)>,
    /// Never grows, so that no copy of a password is left behind in memory.
    typed: Zeroizing<String>,
    /// The first of two times.
    first: Option<Password>,
}

impl Asking {
    /// Whether a password is being asked for.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.questions.is_empty()
    }

    /// What the question is about, whose it is, and which time this is.
    #[must_use]
    pub fn question(&self) -> Option<(LockKind, &str, Turn)> {
        let (wanted, of) = self.questions.front()?;
        let once = if self.first.is_some() { Turn::Repeat } else { Turn::First };
        Some(match wanted {
            Wanted::Unlock { lock, turn } => (lock.kind(), of, *turn),
            Wanted::Register => (LockKind::NewName, of, once),
            Wanted::LockRoom(_) => (LockKind::NewRoom, of, once),
        })
    }

    /// How many characters are typed.
    #[must_use]
    pub fn typed(&self) -> usize {
        self.typed.chars().count()
    }

    /// Asks for a password that belongs to `of`. Beyond the bound of questions none is given.
    pub fn open(&mut self, wanted: Wanted, of: String) -> Answer {
        if self.questions.len() >= QUESTIONS_MAX {
            return given_up(wanted);
        }
        self.questions.push_back((wanted, of));
        match self.questions.len() {
            1 => self.show(),
            _ => Answer::Open,
        }
    }

    /// A character is typed; what does not fit is left out.
    pub fn insert(&mut self, c: char) {
        if self.typed.capacity() == 0 {
            self.typed.reserve_exact(PASSWORD_BYTES_MAX);
        }
        if !c.is_control() && self.typed.len() + c.len_utf8() <= PASSWORD_BYTES_MAX {
            self.typed.push(c);
        }
    }

    /// A text is pasted: its first line counts.
    pub fn paste(&mut self, text: &str) {
        text.lines().next().unwrap_or_default().chars().for_each(|c| self.insert(c));
    }

    /// The last character goes.
    pub fn backspace(&mut self) {
        self.typed.pop();
    }

    /// Everything typed goes.
    pub fn clear(&mut self) {
        self.typed.zeroize();
    }

    /// The user has finished typing. Nothing typed is no answer.
    pub fn submit(&mut self) -> Answer {
        let typed = std::mem::take(&mut *self.typed);
        if typed.is_empty() {
            return self.give_up();
        }
        let password = match Password::new(typed) {
            Ok(password) => password,
            Err(error) => {
                return Answer::Show(Event::error(
                    LocalError::BadPassword,
                    [("why", error.to_string())],
                ));
            }
        };
        let twice = !matches!(self.questions.front(), Some((Wanted::Unlock { .. }, _)));
        match self.first.take() {
            None if twice => {
                self.first = Some(password);
                return self.show();
            }
            Some(first) if first != password => {
                self.questions.pop_front();
                return Answer::Show(Event::error(LocalError::PasswordsDiffer, []));
            }
            _ => {}
        }
        match self.questions.pop_front() {
            Some((Wanted::Unlock { lock, .. }, _)) => {
                Answer::Ask(Request::Password { lock, password: Some(password) })
            }
            Some((Wanted::Register, _)) => Answer::Ask(Request::Register(Some(password))),
            Some((Wanted::LockRoom(room), _)) => {
                let password = Some(password);
                Answer::Ask(Request::Moderate(Moderation::RoomPassword { room, password }))
            }
            None => Answer::Open,
        }
    }

    /// The user does not want to say.
    pub fn give_up(&mut self) -> Answer {
        self.typed.zeroize();
        self.first = None;
        self.questions.pop_front().map_or(Answer::Open, |(wanted, _)| given_up(wanted))
    }

    /// The question that stands first now.
    pub fn show(&self) -> Answer {
        self.question().map_or(Answer::Open, |(lock, of, turn)| {
            Answer::Show(Event::PasswordWanted { lock, of: of.to_owned(), turn })
        })
    }
}

fn given_up(wanted: Wanted) -> Answer {
    match wanted {
        Wanted::Unlock { lock, .. } => Answer::Ask(Request::Password { lock, password: None }),
        Wanted::Register | Wanted::LockRoom(_) => Answer::GivenUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unlock(lock: Lock) -> Wanted {
        Wanted::Unlock { lock, turn: Turn::First }
    }

    fn password(text: &str) -> Option<Password> {
        Password::new(text.to_owned()).ok()
    }

    #[test]
    fn an_answer_goes_to_whoever_asked() {
        let mut asking = Asking::default();
        asking.open(unlock(Lock::Server), "example.org".into());
        asking.open(unlock(Lock::Room("attic".into())), "attic".into());
        asking.paste("op\u{7}en\nsecond line");
        assert_eq!(asking.typed(), 4);
        asking.backspace();
        let answer = Request::Password { lock: Lock::Server, password: password("ope") };
        assert_eq!(asking.submit(), Answer::Ask(answer));
        assert_eq!(asking.question(), Some((LockKind::Room, "attic", Turn::First)));
        let lock = Lock::Room("attic".into());
        let answer = Request::Password { lock, password: None };
        assert_eq!(asking.submit(), Answer::Ask(answer), "nothing typed is no answer");
        assert!(!asking.is_open());
    }

    #[test]
    fn a_new_password_is_typed_twice() {
        let mut asking = Asking::default();
        for second in ["good", "goof"] {
            asking.open(Wanted::Register, "Ann".into());
            asking.paste("good");
            asking.submit();
            assert_eq!(asking.question(), Some((LockKind::NewName, "Ann", Turn::Repeat)));
            asking.paste(second);
            let answer = asking.submit();
            match second {
                "good" => assert_eq!(answer, Answer::Ask(Request::Register(password("good")))),
                _ => assert!(matches!(answer, Answer::Show(Event::Error { .. }))),
            }
            assert!(!asking.is_open());
        }
    }

    #[test]
    fn what_is_typed_never_outgrows_its_place_and_is_not_shown() {
        let mut asking = Asking::default();
        asking.open(unlock(Lock::Name), "Ann".into());
        asking.paste(&"ж".repeat(PASSWORD_BYTES_MAX));
        assert_eq!(asking.typed(), PASSWORD_BYTES_MAX / 2);
        asking.clear();
        asking.paste("hunter2");
        let capacity = asking.typed.capacity();
        assert!(capacity >= PASSWORD_BYTES_MAX);
        let answer = asking.submit();
        assert!(!format!("{answer:?}").contains("hunter2"));
    }

    #[test]
    fn questions_have_a_bound() {
        let mut asking = Asking::default();
        for k in 0..QUESTIONS_MAX {
            assert!(!matches!(
                asking.open(unlock(Lock::Room(k.to_string())), k.to_string()),
                Answer::Ask(_)
            ));
        }
        let answer = Request::Password { lock: Lock::Server, password: None };
        assert_eq!(asking.open(unlock(Lock::Server), String::new()), Answer::Ask(answer));
    }
}
