//! Menus: everything that a command does, to be found without knowing the command. Pure.
//!
//! An item does what a line would do that is typed; where something must be known first, a form
//! asks for it. So there is one meaning for each wish, in `command`.

use super::completion::quoted;
use crate::client::texts::interface::menu as words;
use crate::net::name::{RoomName, UserName};

/// Which menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MenuKind {
    /// The first one.
    Main,
    /// What is done to sound.
    Sound,
    /// What those do who keep order.
    Order,
    /// What can be done with someone.
    Person(UserName),
    /// What can be done with a room.
    Room(RoomName),
}

/// What an item does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// What this line does.
    Line(String),
    /// Asks for what stands between the two, then does what the line does.
    Ask {
        /// Before what is asked for.
        before: String,
        /// What is asked.
        question: &'static str,
    },
    /// Opens another menu.
    Open(MenuKind),
    /// Opens the conversation with someone.
    Talk(UserName),
    /// Searches what was said.
    Find,
    /// Shows the keys there are.
    Help,
}

/// One line of a menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it does, in words.
    pub label: &'static str,
    /// The key that does the same, where there is one.
    pub key: &'static str,
    /// What it does.
    pub act: Act,
}

/// An open menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Menu {
    /// Which.
    pub kind: MenuKind,
    /// Its items.
    pub items: Vec<Item>,
    /// Which of them is chosen.
    pub chosen: usize,
}

/// Whether one may do what those do who keep order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Power {
    /// In the room.
    pub room: bool,
    /// Everywhere.
    pub server: bool,
}

impl Menu {
    /// The menu of this kind, for one who may do so much.
    #[must_use]
    pub fn new(kind: MenuKind, power: Power) -> Self {
        let items = match &kind {
            MenuKind::Main => main(),
            MenuKind::Sound => sound(),
            MenuKind::Order => order(power),
            MenuKind::Person(name) => person(name, power),
            MenuKind::Room(room) => self::room(room, power),
        };
        Self { kind, items, chosen: 0 }
    }

    /// Chooses the item so many further, round the end.
    pub fn step(&mut self, by: isize) {
        let count = isize::try_from(self.items.len().max(1)).unwrap_or(1);
        let at = isize::try_from(self.chosen).unwrap_or(0);
        self.chosen = usize::try_from((at + by).rem_euclid(count)).unwrap_or(0);
    }

    /// Chooses the next item that begins with this letter.
    pub fn jump(&mut self, letter: char) {
        let begins = |item: &Item| {
            let first = item.label.chars().next().map(|c| c.to_lowercase().to_string());
            first.is_some_and(|first| first == letter.to_lowercase().to_string())
        };
        let order = (self.chosen + 1..self.items.len()).chain(0..=self.chosen);
        let mut found = order.filter(|at| self.items.get(*at).is_some_and(begins));
        if let Some(at) = found.next() {
            self.chosen = at;
        }
    }

    /// What the chosen item does.
    #[must_use]
    pub fn act(&self) -> Option<Act> {
        self.items.get(self.chosen).map(|item| item.act.clone())
    }
}

fn line(label: &'static str, key: &'static str, line: &str) -> Item {
    Item { label, key, act: Act::Line(line.to_owned()) }
}

fn ask(label: &'static str, before: &str, question: &'static str) -> Item {
    Item { label, key: "", act: Act::Ask { before: before.to_owned(), question } }
}

fn main() -> Vec<Item> {
    let act = |label, key, act| Item { label, key, act };
    vec![
        line(words::OPEN, "F4", "/unmute"),
        line(words::CLOSE, "F4", "/mute"),
        line(words::BY_VOICE, "", "/voice"),
        line(words::DEAFEN, "F5", "/deafen"),
        line(words::UNDEAFEN, "F5", "/undeafen"),
        ask(words::JOIN, "/join ", words::WHICH_ROOM),
        line(words::LEAVE, "", "/leave"),
        line(words::ROOMS, "", "/list"),
        line(words::USERS, "", "/users"),
        ask(words::MESSAGE, "/msg ", words::WHOM_AND_WHAT),
        ask(words::ME, "/me ", words::WHAT_DO_YOU_DO),
        ask(words::NICK, "/nick ", words::WHICH_NAME),
        line(words::DEVICES, "", "/devices"),
        act(words::SOUND, "", Act::Open(MenuKind::Sound)),
        line(words::TEST, "", "/test"),
        line(words::STATS, "", "/stats"),
        line(words::RECORD, "", "/record"),
        line(words::RECORD_STOP, "", "/record stop"),
        line(words::REGISTER, "", "/register"),
        line(words::UNREGISTER, "", "/unregister"),
        ask(words::VISIT, "", words::WHICH_INVITE),
        line(words::INVITE, "", "/invite"),
        act(words::ORDER, "", Act::Open(MenuKind::Order)),
        act(words::FIND, "F3", Act::Find),
        act(words::HELP, "F1", Act::Help),
        line(words::COMMANDS, "", "/help"),
        line(words::EXIT, "F10", "/exit"),
    ]
}

fn sound() -> Vec<Item> {
    vec![
        line(words::DEVICES, "", "/devices"),
        ask(words::INPUT, "/input ", words::WHICH_DEVICE),
        ask(words::OUTPUT, "/output ", words::WHICH_DEVICE),
        line(words::TONE, "", "/tone"),
        line(words::TEST, "", "/test"),
        line(words::ECHO_ON, "", "/echo on"),
        line(words::ECHO_OFF, "", "/echo off"),
        line(words::NOISE_ON, "", "/noise on"),
        line(words::NOISE_OFF, "", "/noise off"),
        line(words::GAIN_ON, "", "/gain on"),
        line(words::GAIN_OFF, "", "/gain off"),
        line(words::HIGHPASS_ON, "", "/highpass on"),
        line(words::HIGHPASS_OFF, "", "/highpass off"),
        line(words::LEVELLING_ON, "", "/levelling on"),
        line(words::LEVELLING_OFF, "", "/levelling off"),
        line(words::SOUNDS_ON, "", "/sounds on"),
        line(words::SOUNDS_OFF, "", "/sounds off"),
        line(words::OPUS, "", "/codec opus"),
        line(words::PCM, "", "/codec pcm"),
        ask(words::BITRATE, "/bitrate ", words::HOW_MANY_KBIT),
    ]
}

/// Whoever may nothing is shown it all the same: the server says what he lacks.
fn order(_power: Power) -> Vec<Item> {
    vec![
        line(words::INVITE, "", "/invite"),
        ask(words::INVITE_MORE, "/invite ", words::WHICH_INVITATION),
        line(words::INVITES, "", "/invites"),
        ask(words::UNINVITE, "/uninvite ", words::WHICH_NUMBER),
        line(words::BANS, "", "/bans"),
        ask(words::UNBAN, "/unban ", words::WHICH_NUMBER),
        ask(words::BANIP, "/banip ", words::WHICH_ADDRESS),
        line(words::LOCK, "", "/lock"),
        line(words::UNLOCK, "", "/unlock"),
        ask(words::FORGET, "/forget ", words::WHICH_NAME),
        line(words::AUDIT, "", "/audit"),
        line(words::ORDER_COMMANDS, "", "/help moderation"),
    ]
}

fn person(name: &UserName, power: Power) -> Vec<Item> {
    let who = quoted(name.as_str());
    let with = |command: &str| format!("{command} {who}");
    let then = |command: &str| format!("{command} {who} ");
    let mut items = vec![
        Item { label: words::TALK, key: "m", act: Act::Talk(name.clone()) },
        ask(words::VOLUME, &then("/volume"), words::HOW_MANY_PERCENT),
        line(words::IGNORE, "i", &with("/ignore")),
        line(words::UNIGNORE, "i", &with("/unignore")),
    ];
    if power.room || power.server {
        items.extend([
            ask(words::KICK, &then("/kick"), words::WHY),
            ask(words::SILENCE, &then("/silence"), words::HOW_LONG_WHY),
            line(words::UNSILENCE, "", &with("/unsilence")),
            ask(words::ROOMBAN, &then("/roomban"), words::HOW_LONG_WHY),
            ask(words::MOVE, &then("/move"), words::WHICH_ROOM),
            line(words::MOD, "", &with("/mod")),
            line(words::UNMOD, "", &with("/unmod")),
        ]);
    }
    if power.server {
        items.extend([
            ask(words::BAN, &then("/ban"), words::HOW_LONG_WHY),
            ask(words::BANIP, &then("/banip"), words::HOW_LONG_WHY),
            ask(words::RENAMEUSER, &then("/renameuser"), words::WHICH_NAME),
            line(words::OP, "", &with("/op")),
            line(words::DEOP, "", &with("/deop")),
        ]);
    }
    items
}

fn room(room: &RoomName, power: Power) -> Vec<Item> {
    let which = quoted(room.as_str());
    let with = |command: &str| format!("{command} {which}");
    let mut items = vec![
        line(words::GO, "Enter", &with("/join")),
        line(words::WHO_IS_THERE, "", &with("/users")),
        line(words::INVITE_THERE, "", &with("/invite")),
    ];
    if power.room || power.server {
        items.extend([
            line(words::LOCK, "", &with("/lock")),
            line(words::UNLOCK, "", &with("/unlock")),
            ask(words::RENAME, &format!("/rename {which} "), words::WHICH_NAME),
            line(words::CLOSE_ROOM, "", &format!("/close {which}")),
        ]);
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::command::{self, Command};

    fn all() -> Vec<Menu> {
        let power = Power { room: true, server: true };
        let name = UserName::parse("Big Joe").unwrap();
        let room = RoomName::parse("the lounge").unwrap();
        [
            MenuKind::Main,
            MenuKind::Sound,
            MenuKind::Order,
            MenuKind::Person(name),
            MenuKind::Room(room),
        ]
        .map(|kind| Menu::new(kind, power))
        .into()
    }

    #[test]
    fn whatever_a_command_does_can_be_found_in_a_menu() {
        let mut lines: Vec<String> = Vec::new();
        for item in all().iter().flat_map(|menu| &menu.items) {
            match &item.act {
                Act::Line(line) => lines.push(line.clone()),
                Act::Ask { before, .. } => lines.push(before.clone()),
                _ => {}
            }
        }
        let same = ["/quit", "/rooms", "/who"];
        let all = command::COMMANDS.iter().chain(command::moderation::COMMANDS);
        for (word, _) in all.filter(|(word, _)| !same.contains(word)) {
            let found = lines.iter().any(|line| line.split(' ').next() == Some(word));
            assert!(found, "{word} is in no menu");
        }
    }

    #[test]
    fn every_line_of_a_menu_is_understood() {
        let here = RoomName::parse("general").unwrap();
        for item in all().iter().flat_map(|menu| &menu.items) {
            if let Act::Line(line) = &item.act {
                let command = command::parse(line, Some(&here));
                assert!(!matches!(command, Err(_) | Ok(Command::Say(_))), "{line}: {command:?}");
            }
        }
    }

    #[test]
    fn one_who_may_nothing_is_offered_nothing_over_others() {
        let name = UserName::parse("Bob").unwrap();
        let menu = Menu::new(MenuKind::Person(name), Power::default());
        assert_eq!(menu.items.len(), 4);
    }

    #[test]
    fn the_choice_goes_round_and_jumps_to_a_letter() {
        let mut menu = Menu::new(MenuKind::Main, Power::default());
        menu.step(-1);
        assert_eq!(menu.act(), Some(Act::Line("/exit".into())));
        menu.step(1);
        assert_eq!(menu.chosen, 0);
        let first = menu.items[3].label.chars().next().unwrap();
        menu.jump(first);
        assert!(menu.items[menu.chosen].label.starts_with(first));
    }
}
