//! The console without a terminal: keys, lines and events in; requests, events to show and a state
//! to draw out. Pure. Only [`App::handle`] changes it; drawing takes `&App`.

use super::asking::{Answer, Asking, Wanted};
use super::command::{self, Command};
use super::control::request::{Lock, Request};
use super::editor::{Edit, Editor};
use super::event::{DeviceKind, Event, HelpTopic, LockKind, NoticeCode, Person, SessionNumber};
use super::ptt::{self, Mode, Outcome, Ptt, Release};
use super::remote::Order;
use super::talk_key::TalkKey;
use super::texts;
use super::voice::Transmit;
use super::volumes::Volume;
use crate::net::ids::MemberId;
use crate::net::message::Standing;
use crate::net::name::{RoomName, UserName};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;
use zeroize::Zeroizing;

/// A key as the terminal reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Which.
    pub code: KeyCode,
    /// With Ctrl.
    pub ctrl: bool,
    /// With Alt.
    pub alt: bool,
    /// Pressed, repeated or let go.
    pub action: KeyAction,
}

/// Which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyCode {
    /// A character, as typed (with shift and so on).
    Char(char),
    /// Enter.
    Enter,
    /// Backspace.
    Backspace,
    /// Delete.
    Delete,
    /// Left arrow.
    Left,
    /// Right arrow.
    Right,
    /// Up arrow.
    Up,
    /// Down arrow.
    Down,
    /// Home.
    Home,
    /// End.
    End,
    /// Escape.
    Escape,
    /// Tab.
    Tab,
    /// Tab with shift.
    BackTab,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// A function key, by its number.
    Function(u8),
    /// A key without a character or a meaning of its own, as Linux numbers it.
    Bare(u16),
}

/// What is done to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAction {
    /// It goes down.
    Press,
    /// It is held.
    Repeat,
    /// It is let go.
    Release,
}

/// What comes in.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A whole line (line mode).
    Line(String),
    /// A key.
    Key(Key),
    /// A pasted text.
    Paste(String),
    /// The terminal is no longer in front.
    FocusLost,
    /// The terminal is in front again.
    FocusGained,
    /// A listener for all windows sees the talk key go down, or let go.
    TalkKey(bool),
    /// An order from elsewhere that [`App::would`] has found possible.
    Remote(Order),
    /// Something happened.
    Event(Event),
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Ask the connection.
    Ask(Request),
    /// Show this.
    Show(Event),
    /// Draw the whole screen again.
    Redraw,
}

/// The state that is shown.
#[derive(Debug)]
pub struct App {
    ptt: Ptt,
    talk_key: TalkKey,
    /// Our window is in front, as far as the terminal tells.
    in_front: bool,
    /// Talking by key is possible, and how its release is known.
    keys: Option<Release>,
    editor: Editor,
    session: SessionNumber,
    up: bool,
    room: Option<RoomName>,
    members: BTreeMap<MemberId, Person>,
    deafened: bool,
    name: Option<UserName>,
    standing: Standing,
    asking: Asking,
    /// Somebody can be asked for a password without others seeing it.
    asks: bool,
    microphone_there: bool,
    /// We hear ourselves, and nobody else does.
    testing: bool,
    /// What the connection was last asked for.
    transmit: Transmit,
    /// Where recordings go, and one that is to begin as soon as we are in a room.
    recordings: PathBuf,
    record: Option<PathBuf>,
    effects: Vec<Effect>,
}

impl App {
    /// A console that has nothing to show yet; `keys` where there is a keyboard to talk by.
    #[must_use]
    pub fn new(keys: Option<Release>, mode: Mode, deafened: bool) -> Self {
        Self {
            ptt: Ptt::new(keys.unwrap_or(Release::Guessed), mode),
            talk_key: TalkKey::default(),
            in_front: true,
            keys,
            editor: Editor::default(),
            session: SessionNumber(0),
            up: false,
            room: None,
            members: BTreeMap::new(),
            deafened,
            name: None,
            standing: Standing::default(),
            asking: Asking::default(),
            asks: false,
            microphone_there: true,
            testing: false,
            transmit: Transmit::Shut,
            recordings: PathBuf::from("parlor-recordings"),
            record: None,
            effects: Vec::new(),
        }
    }

    /// The same, where somebody can be asked for a password without others seeing it.
    #[must_use]
    pub fn asking_passwords(self, asks: bool) -> Self {
        Self { asks, ..self }
    }

    /// The same, with another key that talks.
    #[must_use]
    pub fn talking_by(self, talk_key: TalkKey) -> Self {
        Self { talk_key, ..self }
    }

    /// The same, where recordings usually go into this directory; `at_once` begins one in the first room.
    #[must_use]
    pub fn recording_to(self, directory: PathBuf, at_once: bool) -> Self {
        Self { record: at_once.then(|| directory.clone()), recordings: directory, ..self }
    }

    /// Takes one input and says what is to be done, in this order.
    pub fn handle(&mut self, input: Input, now: Instant) -> Vec<Effect> {
        match input {
            Input::Line(line) if self.asking.is_open() => {
                let line = Zeroizing::new(line);
                self.asking.clear();
                self.asking.paste(&line);
                self.answered(Asking::submit);
            }
            Input::Paste(text) if self.asking.is_open() => {
                self.asking.paste(&Zeroizing::new(text));
            }
            Input::Line(line) => self.line(&line, now),
            Input::Key(key) => self.key(key, now),
            Input::Paste(text) => self.editor.edit(Edit::Paste(text)),
            Input::FocusLost => {
                self.in_front = false;
                self.ptt(ptt::Input::FocusLost, now);
            }
            Input::FocusGained => self.in_front = true,
            Input::TalkKey(down) => self.talk_key_anywhere(down, now),
            Input::Remote(order) => self.order(order, now),
            Input::Event(event) => self.event(event, now),
            Input::Tick => self.ptt(ptt::Input::Tick, now),
        }
        self.switch_microphone();
        std::mem::take(&mut self.effects)
    }

    /// Whether an order can be carried out now; why not, in words.
    ///
    /// # Errors
    /// It cannot.
    pub fn would(&self, order: &Order) -> super::remote::Answer {
        let heard = self.up && self.room.is_some();
        match order {
            Order::Press | Order::Say(_) if !heard => Err(texts::remote::NO_ROOM.to_owned()),
            Order::Toggle if !heard && !self.ptt.is_remote() => {
                Err(texts::remote::NO_ROOM.to_owned())
            }
            Order::Press | Order::Toggle if !self.microphone_there => {
                Err(texts::remote::NO_MICROPHONE.to_owned())
            }
            _ => Ok(()),
        }
    }

    /// When `Tick` must come, if nothing else does before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.ptt.deadline()
    }

    /// The line, to be completed.
    pub fn editor_mut(&mut self) -> &mut Editor {
        &mut self.editor
    }

    /// Everyone in the own room, by number.
    pub fn members(&self) -> impl Iterator<Item = &Person> {
        self.members.values()
    }

    /// Our name, as far as the server has told it.
    #[must_use]
    pub fn name(&self) -> Option<&UserName> {
        self.name.as_ref()
    }

    /// How it is known that the talk key was let go; `None` where there are no keys.
    #[must_use]
    pub fn keys(&self) -> Option<Release> {
        self.keys
    }

    /// The key that talks.
    #[must_use]
    pub fn talk_key(&self) -> TalkKey {
        self.talk_key
    }

    /// The line that is being typed.
    #[must_use]
    pub fn editor(&self) -> &Editor {
        &self.editor
    }

    /// The password that is being asked for.
    #[must_use]
    pub fn asking(&self) -> &Asking {
        &self.asking
    }

    /// What we may do, and whether we are heard.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The own room.
    #[must_use]
    pub fn room(&self) -> Option<&RoomName> {
        self.room.as_ref()
    }

    /// Whether the connection stands, and whether it ever did.
    #[must_use]
    pub fn link(&self) -> (bool, bool) {
        (self.up, self.session.0 > 0)
    }

    /// Whether we hear nobody.
    #[must_use]
    pub fn deafened(&self) -> bool {
        self.deafened
    }

    /// The microphone's mode, whether it is on now, and whether there is one.
    #[must_use]
    pub fn microphone(&self) -> (Mode, bool, bool) {
        (self.ptt.mode(), self.transmit.is_on(), self.microphone_there)
    }

    /// Whether we hear ourselves, and nobody else does.
    #[must_use]
    pub fn testing(&self) -> bool {
        self.testing
    }

    /// Who else speaks now.
    pub fn speakers(&self) -> impl Iterator<Item = &Person> {
        self.members.values().filter(|member| member.speaking && !member.you)
    }

    // ---- what the user does ---------------------------------------------------------------

    fn line(&mut self, line: &str, now: Instant) {
        let command = match command::parse(line, self.room.as_ref()) {
            Ok(command) => command,
            Err(mistake) => return self.show(mistake.into()),
        };
        self.command(command, now);
    }

    fn order(&mut self, order: Order, now: Instant) {
        match order {
            Order::Press => self.ptt(ptt::Input::RemoteDown, now),
            Order::Release => self.ptt(ptt::Input::RemoteUp, now),
            Order::Toggle if self.ptt.is_remote() => self.ptt(ptt::Input::RemoteUp, now),
            Order::Toggle => self.ptt(ptt::Input::RemoteDown, now),
            Order::Mute => self.command(Command::Mute, now),
            Order::Unmute => self.command(Command::Unmute, now),
            Order::Deafen => self.command(Command::Deafen, now),
            Order::Undeafen => self.command(Command::Undeafen, now),
            Order::Say(text) => self.command(Command::Say(text), now),
        }
    }

    fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Nothing => {}
            Command::Say(text) => self.ask(Request::Chat(text)),
            Command::Mute => {
                self.ptt(ptt::Input::Mute, now);
                self.microphone_chosen(false);
            }
            // Nobody comes back with an open microphone, whatever he asked for meanwhile: he is told so.
            Command::Unmute | Command::Voice if self.is_away() => {
                self.ask(Request::Microphone { open: true });
            }
            Command::Unmute => {
                self.ptt(ptt::Input::Unmute, now);
                self.microphone_chosen(true);
            }
            Command::Voice => {
                self.ptt(ptt::Input::Voice, now);
                self.microphone_chosen(true);
            }
            Command::Stage(stage, on) => self.ask(Request::Stage(stage, on)),
            Command::List => self.ask(Request::Rooms),
            Command::Users(room) => self.ask(Request::Users(room)),
            Command::Exit => self.ask(Request::Quit),
            Command::Join(room) => self.ask(Request::Join(room)),
            Command::Leave => self.ask(Request::Leave),
            Command::Msg { to, text } => self.ask(Request::Private { to, text }),
            Command::Nick(name) => self.ask(Request::Rename(name)),
            Command::Deafen => self.deafen(true),
            Command::Undeafen => self.deafen(false),
            Command::Codec(codec) => self.ask(Request::Codec(codec)),
            Command::Bitrate(bitrate) => self.ask(Request::Bitrate(bitrate)),
            Command::Stats => self.ask(Request::Stats),
            Command::Volume { name, wish } => self.ask(Request::Volume { name, wish }),
            Command::Levelling(on) => self.ask(Request::Levelling(on)),
            Command::Sounds(on) => self.ask(Request::Sounds(on)),
            Command::Devices => self.ask(Request::Devices),
            Command::Input(name) => self.ask(Request::Input(name)),
            Command::Output(name) => self.ask(Request::Output(name)),
            Command::Tone => self.ask(Request::Tone),
            Command::Test => self.ask(Request::TryOut),
            Command::Record(directory) => {
                let directory = directory.map_or_else(|| self.recordings.clone(), PathBuf::from);
                self.ask(Request::Record(directory));
            }
            Command::StopRecording => self.ask(Request::StopRecording),
            Command::Help { moderation } => self.help(moderation),
            Command::Register if !self.asks => self.ask(Request::Register(None)),
            Command::Register => {
                let name = self.name.as_ref().map(|name| name.as_str().to_owned());
                self.open(Wanted::Register, name.unwrap_or_default(), now);
            }
            Command::Unregister => self.ask(Request::Unregister),
            Command::Moderate(order) => self.ask(Request::Moderate(order)),
            Command::Lock { room } if !self.asks => self.ask(Request::LockRoom(room)),
            Command::Lock { room } => self.open(Wanted::LockRoom(room.clone()), room, now),
            Command::Visit(invite) => self.ask(Request::Visit(invite)),
        }
    }

    fn help(&mut self, moderation: bool) {
        let may = self.standing.role.is_some() || self.standing.room_role.is_some();
        let topic = match (moderation, may) {
            (true, _) => HelpTopic::Moderation,
            (false, true) => HelpTopic::All,
            (false, false) => HelpTopic::Everyone,
        };
        self.show(Event::Help { keys: self.keys, topic });
    }

    // ---- passwords ------------------------------------------------------------------------

    /// Asks for a password; the key that talks types now, so a microphone that it holds is closed.
    fn open(&mut self, wanted: Wanted, of: String, now: Instant) {
        self.ptt(ptt::Input::FocusLost, now);
        self.answered(|asking| asking.open(wanted, of));
    }

    /// Tells whoever asked, and shows the next question.
    fn answered(&mut self, act: impl FnOnce(&mut Asking) -> Answer) {
        let before = self.asking.question().map(|(lock, of, _)| (lock, of.to_owned()));
        let answer = act(&mut self.asking);
        let ended = before.is_some()
            && before != self.asking.question().map(|(lock, of, _)| (lock, of.to_owned()));
        match answer {
            Answer::Open => {}
            Answer::Show(event) => self.show(event),
            Answer::Ask(request) => self.ask(request),
            Answer::GivenUp => self.show(Event::Notice { code: NoticeCode::NothingChanged }),
        }
        if ended && let Answer::Show(event) = self.asking.show() {
            self.show(event);
        }
    }

    /// A key while a password is asked for.
    fn hidden_key(&mut self, key: Key) {
        if key.action == KeyAction::Release {
            return;
        }
        match (key.code, key.ctrl, key.alt) {
            (KeyCode::Char('c'), true, _) => self.ask(Request::Quit),
            (KeyCode::Escape, ..) | (KeyCode::Char('d' | 'g'), true, _) => {
                self.answered(Asking::give_up);
            }
            (KeyCode::Enter, ..) => self.answered(Asking::submit),
            (KeyCode::Backspace, false, false) | (KeyCode::Char('h'), true, _) => {
                self.asking.backspace();
            }
            (KeyCode::Backspace, ..) | (KeyCode::Char('u' | 'w'), true, _) => self.asking.clear(),
            (KeyCode::Char('l'), true, _) => self.effects.push(Effect::Redraw),
            (KeyCode::Char(c), false, false) => self.asking.insert(c),
            _ => {}
        }
    }

    /// The connection was there and is lost.
    fn is_away(&self) -> bool {
        self.session != SessionNumber(0) && !self.up
    }

    fn microphone_chosen(&mut self, open: bool) {
        self.ask(Request::Microphone { open });
        let waiting = open && self.room.is_none();
        let voice = self.ptt.mode() == Mode::Voice;
        self.show(Event::Microphone { open, waiting, voice });
    }

    fn deafen(&mut self, on: bool) {
        self.deafened = on;
        self.ask(Request::Deafen(on));
        self.show(Event::Deafened { on });
    }

    fn key(&mut self, key: Key, now: Instant) {
        let talks = self.talk_key.is(&key);
        // Letting go of the key that talks counts whatever is being typed.
        let lets_go = key.action == KeyAction::Release && self.talk_key.is_let_go(&key);
        if self.asking.is_open() && !lets_go {
            return self.hidden_key(key);
        }
        if lets_go {
            return self.by_talk_key(None, key.action, now);
        }
        if let Some(character) = talks {
            return self.by_talk_key(character, key.action, now);
        }
        if key.action == KeyAction::Release {
            return;
        }
        match (key.code, key.ctrl, key.alt) {
            (KeyCode::Enter, _, true) => self.editor.edit(Edit::Insert('\n')),
            (KeyCode::Enter, ..) => {
                let line = self.editor.submit();
                self.line(&line, now);
            }
            (KeyCode::Char('c'), true, _) => self.ask(Request::Quit),
            (KeyCode::Char('d'), true, _) if self.editor.is_empty() => self.ask(Request::Quit),
            (KeyCode::Char('l'), true, _) => self.effects.push(Effect::Redraw),
            (code, ctrl, alt) => {
                if let Some(edit) = edit(code, ctrl, alt) {
                    self.editor.edit(edit);
                }
            }
        }
    }

    fn by_talk_key(&mut self, key: Option<char>, action: KeyAction, now: Instant) {
        let typing = !self.editor.is_empty();
        let was_on = self.ptt.transmit().is_on();
        let input = match action {
            KeyAction::Release => ptt::Input::Up,
            KeyAction::Press => ptt::Input::Down { key, repeat: false, typing },
            KeyAction::Repeat => ptt::Input::Down { key, repeat: true, typing },
        };
        self.ptt(input, now);
        if self.ptt.transmit().is_on() && !was_on && self.testing {
            self.show(Event::Notice { code: NoticeCode::TestRuns });
        } else if self.ptt.transmit().is_on() && !was_on && self.up && self.room.is_none() {
            self.show(Event::Notice { code: NoticeCode::NobodyToTalkTo });
        }
    }

    /// The talk key as a listener for all windows sees it.
    fn talk_key_anywhere(&mut self, down: bool, now: Instant) {
        if !down {
            return self.ptt(ptt::Input::GlobalUp, now);
        }
        // Somebody types a password here: the key is a part of it.
        let here = self.keys.is_some() && self.in_front;
        if here && self.asking.is_open() {
            return;
        }
        let was_on = self.ptt.transmit().is_on();
        let typing = here && self.talk_key.types_text() && !self.editor.is_empty();
        self.ptt(ptt::Input::GlobalDown { typing }, now);
        let on = self.ptt.transmit().is_on() && !was_on;
        if on && !here && self.up && self.room.is_none() {
            self.show(Event::Notice { code: NoticeCode::NobodyToTalkTo });
        }
    }

    fn ptt(&mut self, input: ptt::Input, now: Instant) {
        match self.ptt.handle(input, now) {
            Outcome::None => {}
            Outcome::Type(c) => self.editor.edit(Edit::Insert(c)),
            Outcome::HeldTooLong => self.show(Event::Notice { code: NoticeCode::HeldTooLong }),
        }
    }

    // ---- what happens ---------------------------------------------------------------------

    fn event(&mut self, event: Event, now: Instant) {
        match &event {
            Event::Welcome { session, name, .. } => {
                (self.session, self.up) = (*session, true);
                self.name = Some(name.clone());
            }
            Event::Renamed { name } => self.name = Some(name.clone()),
            Event::Standing { standing, .. } => self.standing = *standing,
            Event::RoomRenamed { room, .. } => self.room = Some(room.clone()),
            Event::PasswordWanted { lock, of, turn } => {
                let (of, turn) = (of.clone(), *turn);
                let lock = match lock {
                    LockKind::Server => Lock::Server,
                    LockKind::Room => Lock::Room(of.clone()),
                    _ => Lock::Name,
                };
                // Shown when its turn has come.
                return self.open(Wanted::Unlock { lock, turn }, of, now);
            }
            Event::Joined { room, members } => {
                self.room = Some(room.clone());
                self.members = members.iter().map(|m| (m.id, m.clone())).collect();
                if let Some(directory) = self.record.take() {
                    self.ask(Request::Record(directory));
                }
            }
            Event::Left { reason: None, .. } => self.leave_room(),
            // Put somewhere else, nobody expects to be heard there.
            Event::Left { .. } => {
                self.leave_room();
                self.ptt(ptt::Input::Disconnected, now);
            }
            // Whoever wakes a computer up does not mean to be heard at once.
            Event::Notice { code: NoticeCode::Slept } => {
                self.ptt(ptt::Input::Disconnected, now);
            }
            Event::Connecting { .. } if !self.up => {}
            // Connecting: to another server.
            Event::Lost { .. } | Event::Connecting { .. } | Event::Bye => {
                self.up = false;
                self.standing = Standing::default();
                self.leave_room();
                self.ptt(ptt::Input::Disconnected, now);
            }
            Event::MemberJoined(member) | Event::MemberChanged { member, .. } => {
                self.members.insert(member.id, member.clone());
            }
            Event::MemberLeft { id, .. } => {
                self.members.remove(id);
            }
            Event::Volume { name, volume, .. } => {
                let name = name.folded();
                let same = |member: &&mut Person| member.name.folded() == name;
                if let Some(member) = self.members.values_mut().find(same) {
                    member.volume = (*volume != Volume::default()).then_some(*volume);
                }
            }
            Event::Speaking { id, on, .. } => {
                if let Some(member) = self.members.get_mut(id) {
                    member.speaking = *on;
                }
            }
            Event::DeviceDown { direction: DeviceKind::Input, .. } => {
                self.microphone_there = false;
                self.ptt(ptt::Input::DeviceLost, now);
            }
            Event::Test(news) => self.testing = news.goes_on(),
            Event::DeviceUp { direction: DeviceKind::Input, .. } => self.microphone_there = true,
            _ => {}
        }
        self.show(event);
    }

    fn leave_room(&mut self) {
        self.room = None;
        self.members.clear();
    }

    /// Asks for the microphone as it should be, when that is different.
    fn switch_microphone(&mut self) {
        let here = self.up && self.room.is_some();
        let transmit = if here { self.ptt.transmit() } else { Transmit::Shut };
        if transmit != self.transmit {
            self.transmit = transmit;
            self.ask(Request::Transmit { transmit, session: self.session });
        }
    }

    fn ask(&mut self, request: Request) {
        self.effects.push(Effect::Ask(request));
    }

    fn show(&mut self, event: Event) {
        self.effects.push(Effect::Show(event));
    }
}

fn edit(code: KeyCode, ctrl: bool, alt: bool) -> Option<Edit> {
    Some(match (code, ctrl, alt) {
        (KeyCode::Char('a'), true, _) | (KeyCode::Home, ..) => Edit::Home,
        (KeyCode::Char('e'), true, _) | (KeyCode::End, ..) => Edit::End,
        (KeyCode::Char('b'), true, _) => Edit::Left,
        (KeyCode::Char('f'), true, _) => Edit::Right,
        (KeyCode::Char('d'), true, _) | (KeyCode::Delete, ..) => Edit::Delete,
        (KeyCode::Char('h'), true, _) => Edit::Backspace,
        (KeyCode::Char('u'), true, _) => Edit::KillToStart,
        (KeyCode::Char('k'), true, _) => Edit::KillToEnd,
        (KeyCode::Char('w'), true, _) => Edit::KillWord,
        (KeyCode::Char('p'), true, _) | (KeyCode::Up, ..) => Edit::Older,
        (KeyCode::Char('n'), true, _) | (KeyCode::Down, ..) => Edit::Newer,
        (KeyCode::Backspace, false, false) => Edit::Backspace,
        (KeyCode::Backspace, ..) => Edit::KillWord,
        (KeyCode::Left, false, false) => Edit::Left,
        (KeyCode::Right, false, false) => Edit::Right,
        (KeyCode::Left, ..) | (KeyCode::Char('b'), false, true) => Edit::WordLeft,
        (KeyCode::Right, ..) | (KeyCode::Char('f'), false, true) => Edit::WordRight,
        (KeyCode::Char(c), false, false) => Edit::Insert(c),
        (KeyCode::Char(_) | KeyCode::Enter | KeyCode::Escape, ..) => return None,
        (KeyCode::Tab | KeyCode::BackTab | KeyCode::PageUp | KeyCode::PageDown, ..) => return None,
        (KeyCode::Function(_) | KeyCode::Bare(_), ..) => return None,
    })
}

#[cfg(test)]
mod tests;
