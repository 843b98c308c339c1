//! What keys do: in the list, in menus and forms, and everywhere. Pure.
//!
//! The key that talks talks everywhere. Everything that is not of the screen goes to the app.

use super::completion::{Completion, Known, quoted};
use super::conversation::Place;
use super::devices::Picker;
use super::list::Row;
use super::menu::{Act, Menu, MenuKind};
use super::{Effect, Focus, Interface, Moment, Overlay, VOLUME_STEP, command};
use crate::client::app::{Input, Key, KeyAction, KeyCode};
use crate::client::control::request::Request;
use crate::client::editor::Edit;
use crate::client::event::DeviceKind;
use crate::client::ptt::Mode;
use crate::client::texts::interface as words;
use crate::client::volumes::{PERCENT_MAX, Volume};
use crate::net::name::UserName;

impl Interface {
    pub(super) fn key(&mut self, key: Key, at: Moment) {
        let talks = self.app.talk_key().is(&key).is_some();
        if key.action != KeyAction::Release && (talks || self.app.asking().is_open()) {
            self.completion = None;
        }
        if self.app.asking().is_open() || talks || key.action == KeyAction::Release {
            return self.give(Input::Key(key), at);
        }
        // Whatever is open, this leaves and that draws.
        if key.ctrl && matches!(key.code, KeyCode::Char('c' | 'l')) {
            return self.give(Input::Key(key), at);
        }
        if !matches!(key.code, KeyCode::Tab | KeyCode::BackTab) {
            self.completion = None;
        }
        match self.overlay.take() {
            Some(Overlay::Help(from)) => self.help_key(from, key),
            Some(Overlay::Menu(menu)) => self.menu_key(menu, key, at),
            Some(Overlay::Form { question, before }) => self.form_key(question, before, key, at),
            Some(Overlay::Find) => self.find_key(key, at),
            Some(Overlay::Invite(line)) => self.invite_key(line, key),
            Some(Overlay::Devices(picker)) => self.devices_key(picker, key, at),
            None if self.everywhere(key, at) => {}
            None if self.focus == Focus::List => self.list_key(key, at),
            None => self.line_key(key, at),
        }
    }

    /// Keys that mean the same in the list and on the line.
    fn everywhere(&mut self, key: Key, at: Moment) -> bool {
        match (key.code, key.alt) {
            (KeyCode::Function(1), _) => self.overlay = Some(Overlay::Help(0)),
            (KeyCode::Function(2), _) => self.show_menu(MenuKind::Main),
            (KeyCode::Function(3), _) => self.find(),
            (KeyCode::Function(4), _) => {
                let open = self.app.microphone().0 != Mode::PushToTalk;
                self.line(if open { "/mute" } else { "/unmute" }.to_owned(), at);
            }
            (KeyCode::Function(5), _) => {
                let deaf = self.app.deafened();
                self.line(if deaf { "/undeafen" } else { "/deafen" }.to_owned(), at);
            }
            (KeyCode::Function(6), _) => match self.focus {
                Focus::Line => self.enter_list(),
                Focus::List => self.focus = Focus::Line,
            },
            (KeyCode::Function(10), _) => self.line("/exit".to_owned(), at),
            (KeyCode::PageUp, _) => self.page(true),
            (KeyCode::PageDown, _) => self.page(false),
            (KeyCode::Up, true) => self.next_talk(false),
            (KeyCode::Down, true) => self.next_talk(true),
            _ => return false,
        }
        true
    }

    // ---- the line -------------------------------------------------------------------------

    fn line_key(&mut self, key: Key, at: Moment) {
        match key.code {
            KeyCode::Tab | KeyCode::BackTab if self.app.editor().is_empty() => self.enter_list(),
            KeyCode::Tab => self.complete(false),
            KeyCode::BackTab => self.complete(true),
            KeyCode::Enter if !key.alt => self.submit(at),
            KeyCode::Escape if self.scroll > 0 => {
                self.scroll = 0;
                self.look();
            }
            KeyCode::Escape => {
                let here = self.here();
                let here = self.place(here);
                self.open(here);
            }
            _ => self.give(Input::Key(key), at),
        }
    }

    /// What is typed goes to the room, or to the one whose messages are open.
    fn submit(&mut self, at: Moment) {
        let text = self.app.editor_mut().submit();
        self.scroll = 0;
        self.look();
        let person = match self.talk().map(|talk| &talk.place) {
            Some(Place::Person(name)) => Some(name.clone()),
            _ => None,
        };
        let said = command::said(&text);
        match (person, said) {
            (Some(name), Some(text)) => {
                let to = name.as_str().to_owned();
                self.effects.push(Effect::Ask(Request::Private { to, text }));
            }
            _ => self.line(text, at),
        }
    }

    fn complete(&mut self, back: bool) {
        let completion = self.completion.take().or_else(|| {
            let before = self.app.editor().before();
            Completion::new(&before, &self.known())
        });
        let Some(mut completion) = completion else { return };
        let (taken, text) = completion.step(back);
        self.app.editor_mut().replace_before(taken, text);
        self.completion = Some(completion);
    }

    /// Everyone and every room that we know of.
    fn known(&self) -> Known {
        let mut names: Vec<String> = self
            .people_here()
            .iter()
            .filter(|member| !member.you)
            .map(|member| member.name.as_str().to_owned())
            .collect();
        let others = self.conversations.iter().filter_map(|talk| match &talk.place {
            Place::Person(name) => Some(name.as_str().to_owned()),
            _ => None,
        });
        for name in others {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let mut rooms: Vec<String> =
            self.rooms.iter().map(|room| room.name.as_str().to_owned()).collect();
        rooms.sort();
        Known { names, rooms }
    }

    fn page(&mut self, up: bool) {
        let panels = self.panels();
        let height = usize::from(panels.chat.height);
        let step = height.saturating_sub(1).max(1);
        if !up {
            self.scroll = self.scroll.saturating_sub(step);
            return self.look();
        }
        let width = usize::from(panels.chat.width);
        let sought = self.sought();
        let rows: usize = self.talk().map_or(0, |talk| {
            let shown = talk.entries.iter().filter(|e| self.shows(e, sought.as_deref()));
            shown.map(|entry| self.rows_of(entry, width).len()).sum()
        });
        self.scroll = (self.scroll + step).min(rows.saturating_sub(height));
    }

    /// Opens the next conversation, or the one before.
    fn next_talk(&mut self, on: bool) {
        let count = self.conversations.len();
        let step = if on { 1 } else { count.saturating_sub(1) };
        let mut at = self.open;
        for _ in 0..count {
            at = (at + step) % count.max(1);
            if self.conversations.get(at).is_some_and(|talk| self.stays(talk)) {
                return self.open(at);
            }
        }
    }

    // ---- the list -------------------------------------------------------------------------

    fn enter_list(&mut self) {
        self.focus = Focus::List;
        self.row_at = self.chosen();
        self.row = self.rows().get(self.row_at).cloned();
    }

    fn list_key(&mut self, key: Key, at: Moment) {
        let person = self.chosen_person();
        match (key.code, person) {
            (KeyCode::Up, _) => self.go(-1),
            (KeyCode::Down, _) => self.go(1),
            (KeyCode::Home, _) => self.go(isize::MIN / 2),
            (KeyCode::End, _) => self.go(isize::MAX / 2),
            (KeyCode::Escape | KeyCode::Tab | KeyCode::BackTab, _) => self.focus = Focus::Line,
            (KeyCode::Char('?'), _) => self.overlay = Some(Overlay::Help(0)),
            (KeyCode::Enter, _) => self.activate(at),
            (KeyCode::Char(' '), _) => self.row_menu(),
            (KeyCode::Char('+' | '='), Some(name)) => self.louder(&name, VOLUME_STEP, at),
            (KeyCode::Char('-' | '_'), Some(name)) => self.louder(&name, -VOLUME_STEP, at),
            (KeyCode::Char('m' | 'ь'), Some(name)) => self.talk_to(name),
            (KeyCode::Char('i' | 'ш'), Some(name)) => {
                let ignored = self.volume(&name).ignored;
                let command = if ignored { "/unignore" } else { "/ignore" };
                self.line(format!("{command} {}", quoted(name.as_str())), at);
            }
            (KeyCode::Char('k' | 'л'), Some(name)) => {
                let before = format!("/kick {} ", quoted(name.as_str()));
                self.ask(words::menu::WHY, before);
            }
            _ => {}
        }
    }

    fn go(&mut self, by: isize) {
        self.step(by);
        self.look_into_room();
    }

    fn activate(&mut self, at: Moment) {
        match self.rows().get(self.chosen()).cloned() {
            Some(Row::Room(room)) => {
                let own = self.app.room().is_some_and(|here| here.folded() == room.folded());
                self.focus = Focus::Line;
                if own {
                    let here = self.here();
                    let here = self.place(here);
                    self.open(here);
                } else {
                    self.line(format!("/join {}", quoted(room.as_str())), at);
                }
            }
            Some(Row::Person(name)) => self.talk_to(name),
            Some(Row::Member(_) | Row::Elsewhere(..)) => self.row_menu(),
            Some(Row::People) | None => {}
        }
    }

    fn row_menu(&mut self) {
        let row = self.rows().get(self.chosen()).cloned();
        match (row, self.chosen_person()) {
            (_, Some(name)) => self.show_menu(MenuKind::Person(name)),
            (Some(Row::Room(room)), _) => self.show_menu(MenuKind::Room(room)),
            _ => self.show_menu(MenuKind::Main),
        }
    }

    fn talk_to(&mut self, name: UserName) {
        let at = self.place(Place::Person(name));
        self.open(at);
        self.focus = Focus::Line;
    }

    fn volume(&self, name: &UserName) -> Volume {
        let member = self.app.members().find(|member| member.name.folded() == name.folded());
        member.and_then(|member| member.volume).unwrap_or_default()
    }

    fn louder(&mut self, name: &UserName, by: i32, at: Moment) {
        let wished = self.wished.get(&name.folded()).copied();
        let percent = i32::from(wished.unwrap_or(self.volume(name).percent)) + by;
        let percent = percent.clamp(0, i32::from(PERCENT_MAX));
        self.wished.insert(name.folded(), u16::try_from(percent).unwrap_or(PERCENT_MAX));
        self.line(format!("/volume {} {percent}", quoted(name.as_str())), at);
    }

    // ---- what lies over the panels --------------------------------------------------------

    /// The line is free again for what was typed on it.
    pub(super) fn close_overlay(&mut self) {
        self.overlay = None;
        if let Some(before) = self.stash.take() {
            *self.app.editor_mut() = before;
        }
    }

    fn show_menu(&mut self, kind: MenuKind) {
        self.overlay = Some(Overlay::Menu(Menu::new(kind, self.power())));
    }

    /// Something else is typed on the line for a while.
    fn borrow_line(&mut self) {
        let before = std::mem::take(self.app.editor_mut());
        self.stash.get_or_insert(before);
    }

    fn ask(&mut self, question: &'static str, before: String) {
        self.borrow_line();
        self.overlay = Some(Overlay::Form { question, before });
    }

    fn find(&mut self) {
        self.borrow_line();
        self.scroll = 0;
        self.overlay = Some(Overlay::Find);
    }

    fn help_key(&mut self, from: usize, key: Key) {
        let last = words::HELP_LINES.lines().count().saturating_sub(1);
        self.overlay = match key.code {
            KeyCode::Up => Some(Overlay::Help(from.saturating_sub(1))),
            KeyCode::Down => Some(Overlay::Help((from + 1).min(last))),
            KeyCode::PageUp => Some(Overlay::Help(from.saturating_sub(10))),
            KeyCode::PageDown => Some(Overlay::Help((from + 10).min(last))),
            KeyCode::Function(2) => return self.show_menu(MenuKind::Main),
            _ => None,
        };
    }

    fn menu_key(&mut self, mut menu: Menu, key: Key, at: Moment) {
        match key.code {
            KeyCode::Up => menu.step(-1),
            KeyCode::Down | KeyCode::Tab => menu.step(1),
            KeyCode::BackTab => menu.step(-1),
            KeyCode::Home => menu.chosen = 0,
            KeyCode::End => menu.chosen = menu.items.len().saturating_sub(1),
            KeyCode::Function(1) | KeyCode::Char('?') => {
                self.overlay = Some(Overlay::Help(0));
                return;
            }
            KeyCode::Escape | KeyCode::Left => {
                if matches!(menu.kind, MenuKind::Sound | MenuKind::Order) {
                    self.show_menu(MenuKind::Main);
                }
                return;
            }
            KeyCode::Function(_) => return,
            KeyCode::Enter | KeyCode::Right => {
                if let Some(act) = menu.act() {
                    self.act(act, at);
                }
                return;
            }
            KeyCode::Char(c) => menu.jump(c),
            _ => {}
        }
        self.overlay = Some(Overlay::Menu(menu));
    }

    fn act(&mut self, act: Act, at: Moment) {
        match act {
            Act::Line(line) => {
                self.focus = Focus::Line;
                self.line(line, at);
            }
            Act::Ask { before, question } => self.ask(question, before),
            Act::Open(kind) => self.show_menu(kind),
            Act::Talk(name) => self.talk_to(name),
            Act::Find => self.find(),
            Act::Help => self.overlay = Some(Overlay::Help(0)),
        }
    }

    fn form_key(&mut self, question: &'static str, before: String, key: Key, at: Moment) {
        match key.code {
            KeyCode::Enter => {
                let text = self.app.editor().text();
                self.close_overlay();
                self.focus = Focus::Line;
                // What is asked for never becomes a text to the room.
                let line = format!("{before}{}", text.trim());
                if line.starts_with('/') || command::is_secret(&line) {
                    self.line(line, at);
                }
            }
            KeyCode::Escape => self.close_overlay(),
            KeyCode::Tab | KeyCode::BackTab => {
                self.overlay = Some(Overlay::Form { question, before: before.clone() });
                self.complete_form(&before, key.code == KeyCode::BackTab);
            }
            _ => {
                self.overlay = Some(Overlay::Form { question, before });
                self.edit(key, at);
            }
        }
    }

    /// Completion as if the whole line stood there.
    fn complete_form(&mut self, before: &str, back: bool) {
        let completion = self.completion.take().or_else(|| {
            let whole = format!("{before}{}", self.app.editor().before());
            Completion::new(&whole, &self.known())
        });
        let Some(mut completion) = completion else { return };
        let (taken, text) = completion.step(back);
        self.app.editor_mut().replace_before(taken, text);
        self.completion = Some(completion);
    }

    fn find_key(&mut self, key: Key, at: Moment) {
        match key.code {
            KeyCode::Escape | KeyCode::Enter | KeyCode::Function(3) => {
                self.close_overlay();
                self.scroll = 0;
            }
            KeyCode::PageUp | KeyCode::PageDown => {
                self.overlay = Some(Overlay::Find);
                self.page(key.code == KeyCode::PageUp);
            }
            _ => {
                self.overlay = Some(Overlay::Find);
                self.scroll = 0;
                self.edit(key, at);
            }
        }
    }

    /// A key that only edits: nothing is sent, and history is not for what is borrowed.
    fn edit(&mut self, key: Key, at: Moment) {
        match key.code {
            KeyCode::Enter | KeyCode::Up | KeyCode::Down => {}
            KeyCode::Char('d') if key.ctrl => self.app.editor_mut().edit(Edit::Delete),
            _ => self.give(Input::Key(key), at),
        }
    }

    fn devices_key(&mut self, mut picker: Picker, key: Key, at: Moment) {
        let line = match key.code {
            KeyCode::Escape | KeyCode::Left | KeyCode::Char('q' | 'й') => return,
            KeyCode::Function(1) => {
                self.overlay = Some(Overlay::Help(0));
                return;
            }
            KeyCode::Function(2) => return self.show_menu(MenuKind::Sound),
            KeyCode::Up | KeyCode::BackTab => {
                picker.step(-1);
                None
            }
            KeyCode::Down | KeyCode::Tab => {
                picker.step(1);
                None
            }
            KeyCode::Enter | KeyCode::Char(' ') => picker.chosen().map(|(kind, device)| {
                let command = match kind {
                    DeviceKind::Input => "/input",
                    DeviceKind::Output => "/output",
                };
                format!("{command} {}", device.name)
            }),
            KeyCode::Char('t' | 'е') => Some("/tone".to_owned()),
            KeyCode::Char('r' | 'к') => Some("/devices".to_owned()),
            _ => None,
        };
        self.overlay = Some(Overlay::Devices(picker));
        if let Some(line) = line {
            self.line(line, at);
        }
    }

    fn invite_key(&mut self, line: String, key: Key) {
        // A slip of the hand does not lose what is shown only once.
        if !matches!(key.code, KeyCode::Escape | KeyCode::Enter | KeyCode::Char('q')) {
            self.overlay = Some(Overlay::Invite(line));
        }
    }
}
