//! `parlor doctor ptt`: which way there is to talk by key, why, and how to come by a better one.
//! What is seen is judged here without looking; [`run`] looks.

use super::findings::{Finding, Level};
use crate::client::console::tty;
use crate::client::listen::{self, Plan, Surroundings, Way};
use crate::client::options::Options;
use crate::client::ptt::Release;
use crate::client::remote::socket;
use crate::client::state::ClientState;
use crate::client::talk_key::TalkKey;
use crate::client::texts::listen as why;
use crate::client::texts::remote::ladder as words;
use std::io::IsTerminal;

/// What stands at the other end of our keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// No terminal.
    None,
    /// Releases are reported.
    Reported,
    /// They are, by the Windows console.
    Windows,
    /// They are not.
    Repeat,
    /// They are not, because a multiplexer stands between.
    Multiplexer,
}

/// What the desktop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Desktop {
    None,
    Sway,
    Hyprland,
    X11,
    Wayland,
}

/// Whether the key is seen in all windows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Global {
    /// It is, or would be.
    Seen(Way),
    /// It would be by X11, if a key were named for it.
    Possible,
    /// It is not wanted.
    NotAsked,
    /// It cannot be.
    Not(String),
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    key: TalkKey,
    global: Global,
    keys: Keys,
    /// Whether a client takes orders; none where no client can.
    orders: Option<bool>,
    desktop: Desktop,
}

/// Looks, and says what was found.
pub fn run(options: &Options) -> u8 {
    let state = ClientState::open_later(options.state_dir.clone()).ok();
    let orders = cfg!(unix).then(|| state.is_some_and(|state| socket::answers(&state.orders())));
    let (key, keys, desktop) = (options.talk_key(), keys(), desktop());
    let global = global(options, key);
    super::show(&findings(&Facts { key, global, keys, orders, desktop }), options.json);
    0
}

fn global(options: &Options, key: TalkKey) -> Global {
    let there = Surroundings::seen();
    match options.listening(there) {
        Plan::Listen(way) => match listen::try_out(way, key) {
            Ok(()) => Global::Seen(way),
            Err(why) => Global::Not(why),
        },
        Plan::NotAsked if options.ptt_key.is_some() => Global::NotAsked,
        Plan::NotAsked if there.wayland => Global::Not(words::WAYLAND_KEYS.to_owned()),
        Plan::NotAsked if there.x11 && listen::try_out(Way::X11, key).is_ok() => Global::Possible,
        Plan::NotAsked | Plan::NoDesktop => Global::Not(why::NO_DESKTOP.to_owned()),
        Plan::Wayland => Global::Not(words::WAYLAND_KEYS.to_owned()),
    }
}

fn keys() -> Keys {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Keys::None;
    }
    let release = tty::set(tty::Wanted { plain_keys: false, alternate: false }, None);
    tty::restore();
    match release {
        Err(_) => Keys::None,
        Ok(Release::Reported) if cfg!(windows) => Keys::Windows,
        Ok(Release::Reported) => Keys::Reported,
        Ok(Release::Guessed) if is_set("TMUX") || is_set("STY") => Keys::Multiplexer,
        Ok(Release::Guessed) => Keys::Repeat,
    }
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

fn desktop() -> Desktop {
    if is_set("SWAYSOCK") {
        Desktop::Sway
    } else if is_set("HYPRLAND_INSTANCE_SIGNATURE") {
        Desktop::Hyprland
    } else if is_set("WAYLAND_DISPLAY") {
        Desktop::Wayland
    } else if is_set("DISPLAY") {
        Desktop::X11
    } else {
        Desktop::None
    }
}

/// The step that is in use here, of those of the ladder.
fn step(facts: &Facts) -> &'static str {
    match (&facts.global, facts.keys) {
        (Global::Seen(Way::X11), _) => words::STEP_X11,
        (Global::Seen(Way::Evdev), _) => words::STEP_EVDEV,
        (_, Keys::Reported | Keys::Windows) if facts.key.is_at_terminal() => words::STEP_RELEASES,
        (_, Keys::Repeat | Keys::Multiplexer) if facts.key.is_at_terminal() => words::STEP_REPEATS,
        _ => words::STEP_ORDERS,
    }
}

fn findings(facts: &Facts) -> Vec<Finding> {
    let finding = |about, level, text: &str| Finding { about, level, text: text.to_owned() };
    let (level, text) = match facts.keys {
        Keys::None => (Level::Note, words::NO_TERMINAL),
        _ if !facts.key.is_at_terminal() => (Level::Note, words::MOUSE),
        Keys::Reported => (Level::Good, words::REPORTS),
        Keys::Windows => (Level::Good, words::WINDOWS),
        Keys::Repeat => (Level::Note, words::REPEATS),
        Keys::Multiplexer => (Level::Note, words::MULTIPLEXER),
    };
    let mut found = vec![
        finding("step", Level::Good, &words::step(step(facts), &facts.key.label())),
        finding("terminal", level, text),
    ];
    found.push(match &facts.global {
        Global::Seen(way) => finding("windows", Level::Good, &words::seen(*way)),
        Global::Possible => finding("windows", Level::Note, words::POSSIBLE),
        Global::NotAsked => finding("windows", Level::Note, words::NOT_ASKED),
        Global::Not(why) => finding("windows", Level::Note, &words::not_seen(why)),
    });
    found.push(match facts.orders {
        Some(true) => finding("orders", Level::Good, words::SOCKET_RUNS),
        Some(false) => finding("orders", Level::Note, words::SOCKET_FREE),
        None => finding("orders", Level::Note, words::SOCKET_NONE),
    });
    if facts.orders.is_some() {
        let text = match facts.desktop {
            Desktop::None => words::NO_DESKTOP,
            Desktop::Sway => words::SWAY,
            Desktop::Hyprland => words::HYPRLAND,
            Desktop::X11 => words::X11,
            Desktop::Wayland => words::WAYLAND,
        };
        found.push(finding("desktop", Level::Note, text));
    }
    found.push(finding("without", Level::Note, words::OPEN));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_talk_is_named_with_a_better_one() {
        let text = |keys, orders, desktop| {
            let (key, global) = (TalkKey::default(), Global::Possible);
            let found = findings(&Facts { key, global, keys, orders, desktop });
            found.into_iter().map(|finding| finding.text).collect::<Vec<_>>().join("\n")
        };
        let exact = text(Keys::Reported, Some(true), Desktop::Sway);
        assert!(exact.contains("kitty") && exact.contains("bindsym --release"), "{exact}");
        let tmux = text(Keys::Multiplexer, Some(false), Desktop::Hyprland);
        assert!(tmux.contains("tmux") && tmux.contains("bindr"), "{tmux}");
        let windows = text(Keys::Windows, None, Desktop::None);
        assert!(!windows.contains("parlor ptt"), "{windows}");
        assert!(text(Keys::Repeat, Some(true), Desktop::X11).contains("i3"));
        assert!(text(Keys::None, Some(true), Desktop::Wayland).contains("toggle"));
    }

    #[test]
    fn the_step_in_use_is_named_first_with_the_key() {
        let first = |key: &str, global, keys| {
            let key = TalkKey::parse(key).unwrap();
            let facts = Facts { key, global, keys, orders: Some(true), desktop: Desktop::X11 };
            findings(&facts).first().map(|finding| finding.text.clone()).unwrap_or_default()
        };
        let not = || Global::Not("why".to_owned());
        assert!(first("f8", Global::Seen(Way::X11), Keys::Repeat).contains("F8"));
        let evdev = first("mouse4", Global::Seen(Way::Evdev), Keys::None);
        assert!(evdev.contains("mouse4") && evdev.contains("keyboard itself"), "{evdev}");
        assert!(first("grave", not(), Keys::Reported).contains("let go"));
        assert!(first("grave", Global::Possible, Keys::Multiplexer).contains("repe"));
        let mouse = first("mouse4", not(), Keys::Reported);
        assert!(mouse.contains("parlor ptt"), "a terminal tells of no mouse: {mouse}");
    }
}
