//! Which panels there is room for, and where they are. Pure numbers; knows no terminal.

/// Narrower than this the list of rooms is folded away.
const LIST_FROM: u16 = 60;
/// Lower than this the list, the title and the own state are folded away, one after the other.
const TITLE_FROM: u16 = 6;
const STATE_FROM: u16 = 4;

/// Columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// A part of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Area {
    /// First column.
    pub x: u16,
    /// First row.
    pub y: u16,
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// The panels; one that is folded away has no rows or no columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Panels {
    /// What place this is.
    pub title: Area,
    /// Rooms and people.
    pub list: Area,
    /// Between list and chat.
    pub rule: Area,
    /// What was said.
    pub chat: Area,
    /// Microphone and connection.
    pub state: Area,
    /// What is being typed.
    pub line: Area,
}

impl Panels {
    /// The panels of a screen of this size. With `list_alone` the list has the place of the chat
    /// where both do not fit.
    #[must_use]
    pub fn new(size: Size, list_alone: bool) -> Self {
        let Size { width, height } = size;
        let title = u16::from(height >= TITLE_FROM);
        let state = u16::from(height >= STATE_FROM);
        let line = height.min(1);
        let middle = height.saturating_sub(title + state + line);
        let row = |y, height| Area { x: 0, y, width, height };
        let list_width = if width >= LIST_FROM { (width / 4).clamp(18, 30) } else { 0 };
        let all = row(title, middle);
        let (list, rule, chat) = if list_width > 0 {
            let x = list_width + 2;
            (
                Area { width: list_width, ..all },
                Area { x: list_width, width: 1, ..all },
                Area { x, width: width.saturating_sub(x), ..all },
            )
        } else if list_alone {
            (all, Area::default(), Area::default())
        } else {
            (Area::default(), Area::default(), all)
        };
        Self {
            title: row(0, title),
            list,
            rule,
            chat,
            state: row(title + middle, state),
            line: row(title + middle + state, line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_stay_inside_any_screen_and_do_not_overlap() {
        for width in 0..140 {
            for height in 0..50 {
                for alone in [false, true] {
                    let panels = Panels::new(Size { width, height }, alone);
                    let Panels { title, list, rule, chat, state, line } = panels;
                    let rows = title.height + chat.height.max(list.height) + state.height;
                    assert!(rows + line.height <= height);
                    for area in [title, list, rule, chat, state, line] {
                        let right = area.x + area.width;
                        assert!(right <= width || area.width == 0, "{width} {area:?}");
                        assert!(area.y + area.height <= height || area.height == 0);
                    }
                }
            }
        }
    }

    #[test]
    fn a_small_screen_folds_panels_away() {
        let panels = |width, height| Panels::new(Size { width, height }, false);
        assert_eq!(panels(80, 24).list.width, 20);
        assert_eq!(panels(80, 24).chat.height, 21);
        assert_eq!(panels(40, 24).list, Area::default());
        assert_eq!(panels(40, 24).chat.width, 40);
        assert_eq!((panels(40, 3).title.height, panels(40, 3).state.height), (0, 0));
        assert_eq!(panels(40, 3).line.y, 2);
        assert_eq!(Panels::new(Size { width: 40, height: 24 }, true).list.width, 40);
    }
}
