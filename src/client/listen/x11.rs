//! The X server tells of the key whatever window is in front (XInput 2, raw events). Nothing is grabbed: the key does
//! in the other window what it does there.

use super::Teller;
use crate::client::talk_key::{Place, TalkKey};
use crate::client::texts::listen as words;
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::xinput::{ConnectionExt, EventMask, XIEventMask};
use x11rb::rust_connection::RustConnection;

/// X11 numbers keys as Linux does, and 8 more.
const KEYS_FROM: u32 = 8;
/// Events of all keyboards and mice that move the pointer or type.
const ALL_MASTERS: u16 = 1;
/// The first button of a mouse, as Linux numbers it.
const BUTTONS: u16 = 0x110;

/// Which event of the server is the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    Key(u32),
    Button(u32),
}

impl Detail {
    /// Of buttons 4 to 7 X11 makes the wheel.
    fn new(place: Place) -> Self {
        match place {
            Place::Key(code) => Self::Key(u32::from(code) + KEYS_FROM),
            Place::Button(code) => Self::Button(match code.saturating_sub(BUTTONS) {
                0 => 1,
                1 => 3,
                2 => 2,
                side => u32::from(side) + 5,
            }),
        }
    }

    /// Whether an event is of this key: from which device, and whether it goes down.
    fn seen(self, event: &Event) -> Option<(u16, bool)> {
        let (of, device, down) = match event {
            Event::XinputRawKeyPress(e) => (Self::Key(e.detail), e.sourceid, true),
            Event::XinputRawKeyRelease(e) => (Self::Key(e.detail), e.sourceid, false),
            Event::XinputRawButtonPress(e) => (Self::Button(e.detail), e.sourceid, true),
            Event::XinputRawButtonRelease(e) => (Self::Button(e.detail), e.sourceid, false),
            _ => return None,
        };
        (of == self).then_some((device, down))
    }
}

/// A connection that is told of keys.
///
/// # Errors
/// There is no server, or it cannot tell; in words.
pub(super) fn open(key: TalkKey) -> Result<RustConnection, String> {
    let failed = |why: &dyn std::fmt::Display| words::no_x11(&why.to_string());
    let (connection, screen) = RustConnection::connect(None).map_err(|why| failed(&why))?;
    let screen = connection.setup().roots.get(screen).ok_or_else(|| failed(&"no screen"))?;
    let root = screen.root;
    let wanted = match key.place() {
        Place::Key(_) => XIEventMask::RAW_KEY_PRESS | XIEventMask::RAW_KEY_RELEASE,
        Place::Button(_) => XIEventMask::RAW_BUTTON_PRESS | XIEventMask::RAW_BUTTON_RELEASE,
    };
    // Raw events reach us in spite of other programs' grabs from 2.1 on.
    let version = connection.xinput_xi_query_version(2, 2).map_err(|why| failed(&why))?;
    version.reply().map_err(|_| failed(&"it has no XInput 2"))?;
    let mask = EventMask { deviceid: ALL_MASTERS, mask: vec![wanted] };
    let select = connection.xinput_xi_select_events(root, &[mask]).map_err(|why| failed(&why))?;
    select.check().map_err(|why| failed(&why))?;
    Ok(connection)
}

/// Listens on a thread of its own until the server is gone.
///
/// # Errors
/// As for `open`.
pub(super) fn start(key: TalkKey, mut tell: Teller) -> Result<(), String> {
    let connection = open(key)?;
    let detail = Detail::new(key.place());
    let listen = move || loop {
        match connection.wait_for_event() {
            Ok(event) => {
                if let Some((device, down)) = detail.seen(&event)
                    && !tell.turn(device.into(), down)
                {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the X server tells of the talk key no more");
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("talk-key".to_owned()).spawn(listen);
    thread.map(drop).map_err(|error| words::no_x11(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_buttons_have_the_numbers_of_x11() {
        let detail = |name| Detail::new(TalkKey::parse(name).unwrap().place());
        assert_eq!(detail("grave"), Detail::Key(49));
        assert_eq!(detail("f8"), Detail::Key(74));
        assert_eq!(detail("mouse-middle"), Detail::Button(2));
        assert_eq!((detail("mouse4"), detail("mouse5")), (Detail::Button(8), Detail::Button(9)));
    }
}
