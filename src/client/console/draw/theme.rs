//! How things look: with colours for dark and for light screens, and without any.

use ratatui::style::{Color, Modifier, Style};

/// Looks by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    /// Less important.
    pub dim: Style,
    /// Where we are, and what is chosen without keys going there.
    pub strong: Style,
    /// Where keys go.
    pub chosen: Style,
    /// The microphone is on; something is to be minded.
    pub alert: Style,
    /// Someone speaks.
    pub voice: Style,
    /// Names of others.
    pub name: Style,
    /// Our own name.
    pub own: Style,
    /// It names us.
    pub mention: Style,
    /// News.
    pub told: Style,
    /// A link.
    pub link: Style,
    /// What is searched for.
    pub sought: Style,
    /// Title and state.
    pub bar: Style,
}

/// Which looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ThemeChoice {
    /// For a dark screen.
    #[default]
    Dark,
    /// For a light screen.
    Light,
    /// Without colours.
    Plain,
}

impl Theme {
    /// The looks of this choice.
    #[must_use]
    pub fn new(choice: ThemeChoice) -> Self {
        match choice {
            ThemeChoice::Dark => {
                Self::coloured(Color::Yellow, Color::Green, Color::Cyan, Color::LightRed)
            }
            ThemeChoice::Light => {
                Self::coloured(Color::Magenta, Color::Green, Color::Blue, Color::Red)
            }
            ThemeChoice::Plain => Self::plain(),
        }
    }

    fn plain() -> Self {
        let with = |modifier| Style::new().add_modifier(modifier);
        Self {
            dim: with(Modifier::DIM),
            strong: with(Modifier::BOLD),
            chosen: with(Modifier::REVERSED),
            alert: with(Modifier::BOLD.union(Modifier::REVERSED)),
            voice: with(Modifier::BOLD),
            name: with(Modifier::BOLD),
            own: Style::new(),
            mention: with(Modifier::BOLD.union(Modifier::UNDERLINED)),
            told: with(Modifier::DIM),
            link: with(Modifier::UNDERLINED),
            sought: with(Modifier::REVERSED),
            bar: with(Modifier::REVERSED),
        }
    }

    fn coloured(mention: Color, voice: Color, name: Color, alert: Color) -> Self {
        let plain = Self::plain();
        let bold = Style::new().add_modifier(Modifier::BOLD);
        Self {
            alert: bold.fg(alert),
            voice: bold.fg(voice),
            name: Style::new().fg(name),
            mention: bold.fg(mention),
            link: plain.link.fg(name),
            sought: plain.sought.fg(mention),
            ..plain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_theme_has_no_colour_at_all() {
        let coloured = |choice| {
            let t = Theme::new(choice);
            let all = [t.dim, t.strong, t.chosen, t.alert, t.voice, t.name, t.own, t.mention];
            let all = all.into_iter().chain([t.told, t.link, t.sought, t.bar]);
            all.filter(|look| look.fg.is_some() || look.bg.is_some()).count()
        };
        assert_eq!(coloured(ThemeChoice::Plain), 0);
        assert!(coloured(ThemeChoice::Dark) > 3 && coloured(ThemeChoice::Light) > 3);
    }
}
