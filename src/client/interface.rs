//! The full-screen interface without a terminal: what is shown of rooms, people and talk, where
//! the user is in it, and what his keys do there. Pure. Only [`Interface::handle`] changes it;
//! drawing takes `&Interface`.
//!
//! It stands on [`App`], which knows the microphone, passwords and the meaning of lines; here is
//! what only a screen has: conversations, the list, menus, completion, search.

pub mod completion;
pub mod conversation;
pub mod devices;
mod keys;
pub mod layout;
pub mod list;
pub mod menu;
pub mod wrap;

use super::app::{self, App, Input};
use super::command;
use super::control::request::Request;
use super::editor::Editor;
use super::event::{ErrorKind, Event, Heard, PathKind, Room};
use super::texts;
use crate::net::ids::MemberId;
use crate::net::limits::CONVERSATIONS_MAX;
use crate::net::moderation::Report;
use crate::net::name::{RoomName, UserName, printable};
use completion::Completion;
use conversation::{Conversation, Entry, Kind, Place};
use devices::Picker;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use layout::{Panels, Size};
use list::{Quality, Row};
use menu::{Menu, Power};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How often the rooms there are are asked for.
const ROOMS_EVERY: Duration = Duration::from_secs(15);
/// How often figures are asked for, while nothing is said by us and while something is.
const FIGURES_EVERY: Duration = Duration::from_secs(2);
const LEVEL_EVERY: Duration = Duration::from_millis(150);
/// What `+` and `-` change a volume by, in percent.
const VOLUME_STEP: i32 = 10;

/// What time it is, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For waiting.
    pub now: Instant,
    /// For people, in milliseconds since 1970.
    pub unix_ms: u64,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Ask the connection.
    Ask(Request),
    /// Draw the whole screen again.
    Redraw,
    /// Something was said to us.
    Bell,
    /// The client ends, and this is why.
    Fatal(String),
}

/// Where keys go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    /// To the line.
    Line,
    /// To the list on the left.
    List,
}

/// What lies over the panels.
#[derive(Debug, Clone)]
pub enum Overlay {
    /// The keys there are, from this row on.
    Help(usize),
    /// A menu.
    Menu(Menu),
    /// Something is asked for; it is typed on the line.
    Form {
        /// What is asked.
        question: &'static str,
        /// What stands before it in the line that is done.
        before: String,
    },
    /// Only what holds the text on the line is shown.
    Find,
    /// An invite, to be shown to someone.
    Invite(String),
    /// The sound devices there are.
    Devices(Picker),
}

/// The latest figures of the voice side.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Round trip to the server in ms.
    pub ping_ms: Option<f32>,
    /// Share lost on our way up.
    pub loss_up: f32,
    /// Share lost on our way down.
    pub loss_down: f32,
    /// Level of the microphone in dBFS.
    pub level_db: Option<f32>,
    /// How well each one arrives.
    pub quality: BTreeMap<MemberId, Quality>,
}

/// Questions of our own that wait for their answers, which are not told; and those of the user,
/// which are. Answers come in order.
#[derive(Debug, Default)]
struct Asked {
    rooms: VecDeque<bool>,
    users: VecDeque<bool>,
    stats: VecDeque<bool>,
    rooms_at: Option<Instant>,
    stats_at: Option<Instant>,
}

/// The state that is shown.
#[derive(Debug)]
pub struct Interface {
    app: App,
    zone: TimeZone,
    size: Size,
    conversations: Vec<Conversation>,
    open: usize,
    /// Rows between the last one and the lowest that is shown.
    scroll: usize,
    rooms: Vec<Room>,
    /// Who is in the room that the list stands on.
    elsewhere: Option<(RoomName, Vec<UserName>)>,
    focus: Focus,
    row: Option<Row>,
    row_at: usize,
    overlay: Option<Overlay>,
    /// The line that waits while something else is typed.
    stash: Option<Editor>,
    completion: Option<Completion>,
    figures: Figures,
    /// Volumes that were chosen here and perhaps not heard of yet, by folded name.
    wished: BTreeMap<String, u16>,
    path: PathKind,
    recording: bool,
    in_front: bool,
    asked: Asked,
    effects: Vec<Effect>,
}

impl Interface {
    /// An interface that has nothing to show yet, with times of this zone.
    #[must_use]
    pub fn new(app: App, zone: TimeZone, size: Size) -> Self {
        Self {
            app,
            zone,
            size,
            conversations: vec![Conversation::new(Place::Nowhere)],
            open: 0,
            scroll: 0,
            rooms: Vec::new(),
            elsewhere: None,
            focus: Focus::Line,
            row: None,
            row_at: 0,
            overlay: None,
            stash: None,
            completion: None,
            figures: Figures::default(),
            wished: BTreeMap::new(),
            path: PathKind::None,
            recording: false,
            in_front: true,
            asked: Asked::default(),
            effects: Vec::new(),
        }
    }

    /// Takes one input and says what is to be done, in this order.
    pub fn handle(&mut self, input: Input, at: Moment) -> Vec<Effect> {
        match input {
            Input::Key(key) => self.key(key, at),
            Input::Paste(text) => {
                self.completion = None;
                self.scroll = 0;
                self.give(Input::Paste(text), at);
            }
            Input::FocusLost => {
                self.in_front = false;
                self.give(Input::FocusLost, at);
            }
            Input::FocusGained => {
                self.in_front = true;
                self.look();
                self.give(Input::FocusGained, at);
            }
            Input::TalkKey(_)
            | Input::Line(_)
            | Input::Remote(_)
            | Input::Event(_)
            | Input::Tick => {
                self.give(input, at);
            }
        }
        self.poll(at.now);
        std::mem::take(&mut self.effects)
    }

    /// The screen has another size.
    pub fn resize(&mut self, size: Size) {
        self.size = size;
    }

    /// When `Tick` must come, if nothing else does before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let polls = self.app.link().0.then_some([self.asked.rooms_at, self.asked.stats_at]);
        polls.into_iter().flatten().chain([self.app.deadline()]).flatten().min()
    }

    // ---- what is shown --------------------------------------------------------------------

    /// What it stands on.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// How big the screen is.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// The panels there is room for.
    #[must_use]
    pub fn panels(&self) -> Panels {
        Panels::new(self.size, self.focus == Focus::List)
    }

    /// The conversation that is open.
    #[must_use]
    pub fn talk(&self) -> Option<&Conversation> {
        self.conversations.get(self.open)
    }

    /// The conversation in this place.
    #[must_use]
    pub fn talk_in(&self, place: &Place) -> Option<&Conversation> {
        self.conversations.iter().find(|talk| talk.place.is(place))
    }

    /// Conversations with texts that the user has not seen.
    pub fn unread(&self) -> impl Iterator<Item = &Conversation> {
        self.conversations.iter().filter(|talk| talk.unread > 0)
    }

    /// Rows between the last one and the lowest that is shown.
    #[must_use]
    pub fn scroll(&self) -> usize {
        self.scroll
    }

    /// What the server has told of a room.
    #[must_use]
    pub fn room(&self, name: &RoomName) -> Option<&Room> {
        self.rooms.iter().find(|room| room.name.folded() == name.folded())
    }

    /// Where keys go.
    #[must_use]
    pub fn focus(&self) -> Focus {
        self.focus
    }

    /// What lies over the panels.
    #[must_use]
    pub fn overlay(&self) -> Option<&Overlay> {
        self.overlay.as_ref()
    }

    /// The latest figures.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The way of voice.
    #[must_use]
    pub fn path(&self) -> PathKind {
        self.path
    }

    /// Whether we record.
    #[must_use]
    pub fn recording(&self) -> bool {
        self.recording
    }

    /// The text that is searched for, in lower case.
    #[must_use]
    pub fn sought(&self) -> Option<String> {
        let finds = matches!(self.overlay, Some(Overlay::Find));
        finds.then(|| self.app.editor().text().to_lowercase())
    }

    /// Whether an entry is shown: all are, except while something is searched for.
    #[must_use]
    pub fn shows(&self, entry: &Entry, sought: Option<&str>) -> bool {
        sought.is_none_or(|sought| {
            let who = entry.who.as_ref().map(UserName::folded).unwrap_or_default();
            entry.text.to_lowercase().contains(sought) || who.contains(sought)
        })
    }

    /// Hour and minute of an entry.
    #[must_use]
    pub fn clock(&self, at_ms: u64) -> String {
        let at = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let text = |at: Timestamp| at.to_zoned_datetime(self.zone.clone()).strftime("%H:%M");
        at.map_or_else(|| "--:--".to_owned(), |at| text(at).to_string())
    }

    /// What stands before the text of an entry.
    #[must_use]
    pub fn head(&self, entry: &Entry) -> String {
        let who = entry.who.as_ref().map(|name| {
            let name = printable(name.as_str());
            if entry.act { format!("{} {name} ", texts::ACT_MARK) } else { format!("{name}: ") }
        });
        format!("{} {}", self.clock(entry.at_ms), who.unwrap_or_default())
    }

    /// What we may do over others.
    #[must_use]
    pub fn power(&self) -> Power {
        let standing = self.app.standing();
        Power { room: standing.room_role.is_some(), server: standing.role.is_some() }
    }

    // ---- what happens ---------------------------------------------------------------------

    /// Lets the app have an input, and shows what it shows.
    fn give(&mut self, input: Input, at: Moment) {
        for effect in self.app.handle(input, at.now) {
            match effect {
                app::Effect::Ask(request) => {
                    match request {
                        Request::Rooms => self.asked.rooms.push_back(true),
                        Request::Users(_) => self.asked.users.push_back(true),
                        Request::Stats => self.asked.stats.push_back(true),
                        _ => {}
                    }
                    self.effects.push(Effect::Ask(request));
                }
                app::Effect::Show(event) => self.show(event, at),
                app::Effect::Redraw => self.effects.push(Effect::Redraw),
            }
        }
    }

    /// Does what a line would do that is typed.
    fn line(&mut self, line: String, at: Moment) {
        self.give(Input::Line(line), at);
    }

    fn show(&mut self, event: Event, at: Moment) {
        match event {
            Event::Chat { name, text, at_ms, you, heard, .. } => {
                let before = heard == Heard::Before;
                let mention = !you
                    && !before
                    && self.app.name().is_some_and(|me| conversation::names(&text, me));
                let kind = match you {
                    true => Kind::Own,
                    false if before => Kind::Before,
                    false => Kind::Said,
                };
                let (text, act) = acted(&text);
                self.add(self.here(), Entry { at_ms, kind, who: Some(name), text, act, mention });
            }
            Event::Private { from, to, text, at_ms, you } => {
                let place = Place::Person(if you { to } else { from.clone() });
                let kind = if you { Kind::Own } else { Kind::Said };
                let (text, act) = acted(&text);
                let entry = Entry { at_ms, kind, who: Some(from), text, act, mention: !you };
                self.add(place, entry);
            }
            Event::Rooms { ref rooms, .. } => {
                self.rooms.clone_from(rooms);
                if self.asked.rooms.pop_front() != Some(false) {
                    self.tell(&event, at);
                }
            }
            Event::Users { ref room, ref members, .. } => {
                if self.asked.users.pop_front() == Some(false) {
                    let names = members.iter().map(|member| member.name.clone()).collect();
                    self.elsewhere = Some((room.clone(), names));
                } else {
                    self.tell(&event, at);
                }
            }
            Event::Stats(ref stats) => {
                self.figures = Figures {
                    ping_ms: stats.round_trip_ms,
                    loss_up: stats.uplink_loss,
                    loss_down: stats.downlink_loss,
                    level_db: stats.input_level_db.is_finite().then_some(stats.input_level_db),
                    quality: stats
                        .speakers
                        .iter()
                        .filter(|speaker| speaker.received > 0)
                        .map(|speaker| (speaker.id, Quality::new(speaker.loss, speaker.concealed)))
                        .collect(),
                };
                if self.asked.stats.pop_front() != Some(false) {
                    self.tell(&event, at);
                }
            }
            Event::Error { code, ref args, fatal } => {
                if self.silent(code, args) {
                    return;
                }
                if fatal {
                    self.effects.push(Effect::Fatal(texts::fatal(code, args)));
                }
                self.tell(&event, at);
            }
            // The list shows it.
            Event::Speaking { .. } => {}
            Event::Volume { here: true, .. } if self.focus == Focus::List => {}
            Event::Joined { ref room, .. } => {
                self.asked.rooms_at = None;
                self.wished.clear();
                let place = Place::Room(room.clone());
                let at_place = self.place(place);
                self.open(at_place);
                self.tell(&event, at);
            }
            Event::RoomRenamed { ref from, ref room, .. } => {
                let (from, to) = (Place::Room(from.clone()), Place::Room(room.clone()));
                if let Some(talk) = self.conversations.iter_mut().find(|talk| talk.place.is(&from))
                {
                    talk.place = to;
                }
                self.asked.rooms_at = None;
                self.tell(&event, at);
            }
            Event::Lost { .. } => {
                let (rooms_at, stats_at) = (self.asked.rooms_at, self.asked.stats_at);
                self.asked = Asked { rooms_at, stats_at, ..Asked::default() };
                self.figures = Figures::default();
                self.tell(&event, at);
            }
            Event::Path { path, .. } => {
                self.path = path;
                self.tell(&event, at);
            }
            Event::Recording { .. } => {
                self.recording = true;
                self.tell(&event, at);
            }
            Event::RecordingEnded { .. } => {
                self.recording = false;
                self.tell(&event, at);
            }
            Event::Report(Report::Invited { ref line, .. }) => {
                let line = printable(line);
                self.tell(&event, at);
                self.close_overlay();
                self.overlay = Some(Overlay::Invite(line));
            }
            Event::Devices(ref list) if list.error.is_none() => match &self.overlay {
                None => self.overlay = Some(Overlay::Devices(Picker::new(list.clone()))),
                Some(Overlay::Devices(picker)) => {
                    self.overlay = Some(Overlay::Devices(picker.renewed(list.clone())));
                }
                Some(_) => self.tell(&event, at),
            },
            // What is in use is another now: the marks are.
            Event::DeviceUp { .. } | Event::DeviceDown { .. } | Event::DeviceRefused { .. } => {
                self.tell(&event, at);
                if matches!(self.overlay, Some(Overlay::Devices(_))) {
                    self.effects.push(Effect::Ask(Request::Devices));
                }
            }
            Event::MemberJoined(_) | Event::MemberLeft { .. } | Event::Left { .. } => {
                let soon = at.now + FIGURES_EVERY;
                self.asked.rooms_at = self.asked.rooms_at.map(|later| later.min(soon));
                self.tell(&event, at);
            }
            event => self.tell(&event, at),
        }
    }

    /// An error about a question that the user did not ask.
    fn silent(&mut self, code: ErrorKind, args: &BTreeMap<String, String>) -> bool {
        let what = match (code, args.get("what").map(String::as_str)) {
            (ErrorKind::Local(_), Some(what)) => what,
            // Who is in a room is asked of rooms that may be gone or locked.
            (ErrorKind::Server(_), _) if self.asked.users.front() == Some(&false) => "/users",
            _ => return false,
        };
        let queue = match what {
            "/list" => &mut self.asked.rooms,
            "/users" => &mut self.asked.users,
            "/stats" => &mut self.asked.stats,
            _ => return false,
        };
        queue.pop_front() == Some(false)
    }

    /// The words for an event become an entry where we are.
    fn tell(&mut self, event: &Event, at: Moment) {
        let lines = texts::words(event);
        if lines.is_empty() {
            return;
        }
        let warning = lines.first().is_some_and(|line| line.starts_with('!'));
        let kind = if warning { Kind::Warning } else { Kind::Told };
        let text = lines.join("\n");
        let entry = Entry { at_ms: at.unix_ms, kind, who: None, text, act: false, mention: false };
        // Whoever asks for something sees the answer, whatever he looks at.
        let place = match self.talk().map(|talk| &talk.place) {
            Some(place @ Place::Person(_)) if answers(event) => place.clone(),
            _ => self.here(),
        };
        self.add(place, entry);
    }

    /// The room that we are in, as a place.
    fn here(&self) -> Place {
        self.app.room().map_or(Place::Nowhere, |room| Place::Room(room.clone()))
    }

    fn add(&mut self, place: Place, entry: Entry) {
        let at = self.place(place);
        let rows = self.height_of(&entry);
        let seen = self.in_front && at == self.open && self.scroll == 0;
        let Some(talk) = self.conversations.get_mut(at) else { return };
        let said = entry.kind == Kind::Said;
        if said && !seen {
            talk.unread += 1;
            talk.mentioned |= entry.mention;
        }
        if said && entry.mention && !seen {
            self.effects.push(Effect::Bell);
        }
        // What is being read stays where it is.
        if at == self.open && self.scroll > 0 {
            self.scroll += rows;
        }
        talk.push(entry);
    }

    /// The rows that an entry takes.
    fn height_of(&self, entry: &Entry) -> usize {
        let width = usize::from(self.panels().chat.width);
        self.rows_of(entry, width).len()
    }

    /// The rows of an entry in so many columns.
    #[must_use]
    pub fn rows_of(&self, entry: &Entry, width: usize) -> Vec<String> {
        let head = self.head(entry);
        wrap::wrap(&format!("{head}{}", entry.text), width, wrap::indent(width))
    }

    /// Where the conversation of this place is; it is begun if there is none.
    fn place(&mut self, place: Place) -> usize {
        if let Some(at) = self.conversations.iter().position(|talk| talk.place.is(&place)) {
            return at;
        }
        if self.conversations.len() >= CONVERSATIONS_MAX {
            self.forget_one();
        }
        self.conversations.push(Conversation::new(place));
        self.conversations.len() - 1
    }

    /// The oldest conversation goes, rather one that is read; the first, the open one and that of
    /// our room stay.
    fn forget_one(&mut self) {
        let here = self.here();
        let may = |at: usize, read: bool| {
            let talk = self.conversations.get(at);
            let other =
                talk.is_some_and(|talk| !talk.place.is(&here) && (!read || talk.unread == 0));
            at > 0 && at != self.open && other
        };
        let all = 0..self.conversations.len();
        let old = all.clone().find(|at| may(*at, true)).or(all.clone().find(|at| may(*at, false)));
        if let Some(old) = old {
            self.conversations.remove(old);
            if self.open > old {
                self.open -= 1;
            }
        }
    }

    /// Shows another conversation.
    fn open(&mut self, at: usize) {
        self.open = at;
        self.scroll = 0;
        self.look();
    }

    /// What is shown to one who looks is read.
    fn look(&mut self) {
        if !self.in_front || self.scroll > 0 {
            return;
        }
        if let Some(talk) = self.conversations.get_mut(self.open) {
            talk.seen();
        }
    }

    /// Whether a conversation is one that can be gone to: the own room, people, what was said before.
    fn stays(&self, talk: &Conversation) -> bool {
        match &talk.place {
            Place::Nowhere => self.app.room().is_none(),
            Place::Room(_) => talk.place.is(&self.here()),
            Place::Person(_) => true,
        }
    }

    // ---- what is asked for without the user -----------------------------------------------

    fn poll(&mut self, now: Instant) {
        if !self.app.link().0 {
            return;
        }
        let due = |at: Option<Instant>| at.is_none_or(|at| now >= at);
        if due(self.asked.rooms_at) {
            self.asked.rooms_at = Some(now + ROOMS_EVERY);
            if self.asked.rooms.is_empty() {
                self.asked.rooms.push_back(false);
                self.effects.push(Effect::Ask(Request::Rooms));
            }
        }
        let (_, on, _) = self.app.microphone();
        let picks = matches!(self.overlay, Some(Overlay::Devices(_)));
        let busy = on || picks || self.app.testing();
        let every = if busy { LEVEL_EVERY } else { FIGURES_EVERY };
        // The microphone has just been opened: the level is wanted soon.
        let soon = self.asked.stats_at.map(|at| at.min(now + every));
        self.asked.stats_at = soon;
        if due(soon) {
            self.asked.stats_at = Some(now + every);
            if self.asked.stats.is_empty() {
                self.asked.stats.push_back(false);
                self.effects.push(Effect::Ask(Request::Stats));
            }
        }
    }

    /// Asks who is in the room that the list stands on.
    fn look_into_room(&mut self) {
        let Some(Row::Room(room)) = self.row.clone() else { return };
        let own = self.app.room().is_some_and(|here| here.folded() == room.folded());
        let known = self.elsewhere.as_ref().is_some_and(|(of, _)| *of == room);
        if !own && !known && self.app.link().0 && self.asked.users.is_empty() {
            self.asked.users.push_back(false);
            self.effects.push(Effect::Ask(Request::Users(Some(room.as_str().to_owned()))));
        }
    }
}

/// A text of a peer, fit to be shown, and whether it tells what he does.
fn acted(text: &str) -> (String, bool) {
    match text.strip_prefix(command::ACT) {
        Some(act) => (printable(act), true),
        None => (printable(text), false),
    }
}

/// Whether an event answers a question of the user.
fn answers(event: &Event) -> bool {
    matches!(
        event,
        Event::Error { .. }
            | Event::Rooms { .. }
            | Event::Users { .. }
            | Event::Stats(_)
            | Event::Report(_)
            | Event::Help { .. }
            | Event::Volume { .. }
            | Event::PasswordWanted { .. }
            | Event::Devices(_)
            | Event::DeviceRefused { .. }
            | Event::Tone { .. }
    )
}

#[cfg(test)]
pub(crate) mod tests;
