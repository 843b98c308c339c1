//! The words of the full-screen interface: titles, states, menus, help.

use crate::client::event::PathKind;

/// The title where we are in no room.
pub const NOWHERE: &str = "in no room";
/// Keys that are told of in the title.
pub const TITLE_KEYS: &str = "F1 help  F2 menu";
/// Over the list of those with whom we talk alone.
pub const PEOPLE: &str = "Messages";
/// Ourselves in a list.
pub const YOU: &str = "you";
/// He hears nobody.
pub const DEAF: &str = "deaf";
/// He records.
pub const RECORDS: &str = "REC";
/// A moderator has silenced him.
pub const SILENCED: &str = "silenced";
/// We do not play him.
pub const IGNORED: &str = "ignored";
/// A room has a password.
pub const LOCKED: &str = "locked";
/// How the end of a search is told.
pub const FIND_KEYS: &str = "Esc ends";
/// Under a menu.
pub const MENU_KEYS: &str = "↑↓ choose  Enter do  Esc back";
/// Under a form.
pub const FORM_KEYS: &str = "Enter does it  Esc gives up";
/// Under an invite.
pub const INVITE_KEYS: &str = "Esc closes";
/// Over the sound devices.
pub const DEVICES: &str = "Microphone and loudspeaker";
/// Under the sound devices.
pub const DEVICES_KEYS: &str = "Enter use  t tone  r look again  Esc back";
/// Where there are none of a kind.
pub const NO_DEVICE: &str = "none";
/// A device is in use.
pub const IN_USE: &str = "in use";

/// Over devices of one kind.
#[must_use]
pub fn device_heading(kind: crate::client::event::DeviceKind) -> &'static str {
    match kind {
        crate::client::event::DeviceKind::Input => "Microphone",
        crate::client::event::DeviceKind::Output => "Loudspeaker",
    }
}

/// Over an invite.
pub const INVITE: &str = "Invite: whoever scans or types this comes in";
/// Where the screen is too small for a picture of an invite.
pub const INVITE_SMALL: &str = "The screen is too small for the QR code.";
/// Over the help.
pub const HELP: &str = "Keys";
/// What a search found.
#[must_use]
pub fn found(count: usize) -> String {
    match count {
        0 => "nothing found".to_owned(),
        1 => "1 found".to_owned(),
        n => format!("{n} found"),
    }
}

/// In front of the line while a search goes on.
pub const FIND: &str = "find";

/// Texts that came while the user looked elsewhere.
#[must_use]
pub fn unread(count: usize) -> String {
    format!("{count} unread")
}

/// What stands below, while older texts are shown.
#[must_use]
pub fn scrolled(rows: usize) -> String {
    format!("{rows} more below, Esc")
}

/// Round trip to the server.
#[must_use]
pub fn ping(ms: Option<f32>) -> String {
    ms.map_or_else(|| "ping -".to_owned(), |ms| format!("ping {ms:.0} ms"))
}

/// Loss on the way up and down, as shares.
#[must_use]
pub fn loss(up: f32, down: f32) -> String {
    format!("loss ↑{:.0} ↓{:.0} %", up * 100.0, down * 100.0)
}

/// The way of voice, where it is not the usual one.
#[must_use]
pub fn path(path: PathKind) -> &'static str {
    match path {
        PathKind::Udp | PathKind::None => "",
        PathKind::Stream => "by TCP",
    }
}

/// How the talk key works here.
#[must_use]
pub fn talk_key(key: &str, release: crate::client::ptt::Release) -> String {
    match release {
        crate::client::ptt::Release::Reported => format!("hold {key}"),
        crate::client::ptt::Release::Guessed => format!("hold {key} (by repeat)"),
    }
}

/// The lines of the help.
pub const HELP_LINES: &str = "\
What you type is said to the room, or to the person whose messages are open.
hold ` or ё    talk (left of 1, or --ptt-key); with text there a tap types
F1             this help; ? in the list
F2             menu: everything that commands do
F3             search what was said
F4, F5         microphone open or push-to-talk; hear nobody, or again
F6, Tab        on an empty line: to the list of rooms and people; Esc back
Tab            on a line with text: complete command, name or room
Up, Down       lines typed before          Alt-Enter  another line
PgUp, PgDn     what was said before        Esc        back to the end
Alt-Up, -Down  next messages or room       Ctrl-L     draw again
F10, Ctrl-C    leave
In the list:   Enter goes to a room, opens messages, or shows what to do
               + - volume   m message   i ignore   k kick   Space menu
Marks:         ♪ speaks   · push-to-talk   o open microphone   x silenced
               @ operator   % moderator   ▮▮▮ how well he arrives   (3) new
               deaf: hears nobody   REC: records   locked: has a password";

/// Labels and questions of menus.
pub mod menu {
    use crate::client::interface::menu::MenuKind;
    use crate::client::texts::shown;

    /// Over a menu.
    #[must_use]
    pub fn title(kind: &MenuKind) -> String {
        match kind {
            MenuKind::Main => "Menu".to_owned(),
            MenuKind::Sound => "Sound".to_owned(),
            MenuKind::Order => "Keeping order".to_owned(),
            MenuKind::Person(name) => shown(name),
            MenuKind::Room(room) => shown(room),
        }
    }

    macro_rules! texts {
        ($($name:ident = $text:literal;)*) => {
            $(
                #[doc = concat!("`", $text, "`")]
                pub const $name: &str = $text;
            )*
        };
    }

    texts! {
        OPEN = "Open the microphone";
        CLOSE = "Push-to-talk: the microphone is off until the key is held";
        BY_VOICE = "Microphone opens while you speak";
        DEAFEN = "Hear nobody";
        UNDEAFEN = "Hear the others again";
        JOIN = "Go to a room ...";
        LEAVE = "Leave the room";
        ROOMS = "List the rooms";
        USERS = "Who is in this room";
        MESSAGE = "Message to someone ...";
        ME = "Say what you do ...";
        NICK = "Another name ...";
        SOUND = "Sound >";
        DEVICES = "Microphone and loudspeaker ...";
        INPUT = "Microphone by its name ...";
        OUTPUT = "Loudspeaker by its name ...";
        TONE = "Test tone";
        WHICH_DEVICE = "Name, or a part of it that only one has; default is the system's";
        TEST = "Hear yourself (test)";
        STATS = "Figures: levels, loss, delay";
        RECORD = "Record this room";
        RECORD_STOP = "End the recording";
        REGISTER = "Keep your name (password) ...";
        UNREGISTER = "Give your name up";
        VISIT = "Go to the server of an invite ...";
        INVITE = "Invite someone (line and QR code)";
        ORDER = "Keep order >";
        FIND = "Search what was said";
        HELP = "Keys";
        COMMANDS = "Commands";
        EXIT = "Leave Parlor";
        ECHO_ON = "Echo cancellation on";
        ECHO_OFF = "Echo cancellation off";
        NOISE_ON = "Noise suppression on";
        NOISE_OFF = "Noise suppression off";
        GAIN_ON = "Automatic gain on";
        GAIN_OFF = "Automatic gain off";
        HIGHPASS_ON = "High-pass filter on";
        HIGHPASS_OFF = "High-pass filter off";
        LEVELLING_ON = "Speakers near one loudness";
        LEVELLING_OFF = "Speakers as loud as they come";
        SOUNDS_ON = "Sounds for who comes and goes";
        SOUNDS_OFF = "No sounds but voices";
        OPUS = "Send as Opus";
        PCM = "Send as PCM";
        BITRATE = "Bit rate ...";
        INVITE_MORE = "Invite with uses and end ...";
        INVITES = "List the invites";
        UNINVITE = "Make an invite worthless ...";
        BANS = "List bans and silences";
        UNBAN = "Lift a ban or silence ...";
        BANIP = "Ban an address ...";
        LOCK = "Give the room a password ...";
        UNLOCK = "Take the room's password off";
        FORGET = "Free a registered name ...";
        AUDIT = "Audit log";
        ORDER_COMMANDS = "Commands for keeping order";
        TALK = "Message";
        VOLUME = "Volume ...";
        IGNORE = "Ignore";
        UNIGNORE = "Hear again";
        KICK = "Send out ...";
        SILENCE = "Silence ...";
        UNSILENCE = "Let be heard again";
        ROOMBAN = "Ban from this room ...";
        MOVE = "Move to a room ...";
        MOD = "Make moderator of this room";
        UNMOD = "Moderator no longer";
        BAN = "Ban from the server ...";
        RENAMEUSER = "Give another name ...";
        OP = "Make operator of the server";
        DEOP = "Operator no longer";
        GO = "Go there";
        WHO_IS_THERE = "Who is there";
        INVITE_THERE = "Invite someone there";
        RENAME = "Another name ...";
        CLOSE_ROOM = "Close the room";
        WHICH_ROOM = "Which room?";
        WHOM_AND_WHAT = "NAME TEXT; Tab completes the name";
        WHAT_DO_YOU_DO = "What do you do?";
        WHICH_NAME = "Which name?";
        WHICH_INVITE = "Paste the invite: parlor://...";
        WHICH_INVITATION = "[ROOM] [uses NUMBER] [for TIME] [operator]";
        WHICH_NUMBER = "Which number?";
        WHICH_ADDRESS = "NAME, ADDRESS or NETWORK, [for TIME] [WHY]";
        HOW_MANY_KBIT = "kbit/s, 6 to 256";
        HOW_MANY_PERCENT = "Percent, 0 to 200";
        HOW_LONG_WHY = "[for TIME] [WHY], for example: for 1h noise";
        WHY = "Why? (may be empty)";
    }
}
