//! Push-to-talk: whether the microphone is on, from keys, commands and mishaps. Pure.
//!
//! The key is the one left of `1`. Where the terminal reports when a key is let go, holding it
//! talks; on a line with text a tap types the character and holding talks. Elsewhere only the
//! key's repetition shows that it is held: the first press counts for [`FIRST_REPEAT`], each
//! repetition for [`NEXT_REPEAT`], and on a line with text the key types.
//!
//! Whoever holds on a line with text has spoken since the key went down: that time is sent, too.
//!
//! Letting go of the key lets what is being said come to its end; everything else shuts at once.
//!
//! The key may also be held from elsewhere (the socket for orders): then nothing is guessed, and
//! losing the terminal's focus means nothing. The same holds for a listener that sees the key in all windows; where
//! it and a terminal that only repeats see the same key, the listener is believed.
//!
//! The microphone never hangs: every mishap (focus lost, connection lost, microphone unplugged,
//! key held for too long) closes it, and a key that is still down then does not open it again.

use super::voice::Transmit;
use crate::net::limits::PTT_HOLD_MAX;
use std::time::{Duration, Instant};

/// Repetition has not begun: keyboards wait 250 to 660 ms before it.
pub const FIRST_REPEAT: Duration = Duration::from_millis(700);
/// A key that repeats comes every 20 to 100 ms. What comes later begins anew, with what was said since (the pre-roll).
pub const NEXT_REPEAT: Duration = Duration::from_millis(150);
/// A key let go sooner than this was tapped, not held.
pub const TAP: Duration = Duration::from_millis(180);

/// How it is known that the key was let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The terminal reports it.
    Reported,
    /// The key no longer repeats.
    Guessed,
}

/// When the microphone is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// While the key is held.
    PushToTalk,
    /// Always.
    Open,
    /// While somebody speaks.
    Voice,
}

/// What happens to the microphone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The key goes down, or repeats; `typing`: there is text on the line.
    Down {
        /// The character it stands for, if it has one; without one it never types.
        key: Option<char>,
        /// The terminal says that it repeats.
        repeat: bool,
        /// There is text on the line.
        typing: bool,
    },
    /// The key is let go.
    Up,
    /// The terminal is no longer in front: what happens to the key there is not seen here.
    FocusLost,
    /// `/mute`
    Mute,
    /// `/unmute`
    Unmute,
    /// `/voice`
    Voice,
    /// The connection is lost.
    Disconnected,
    /// The microphone was unplugged.
    DeviceLost,
    /// A listener for all windows sees it go down.
    GlobalDown {
        /// A terminal sees it too, and there is text on the line.
        typing: bool,
    },
    /// It sees it let go.
    GlobalUp,
    /// It is held from elsewhere.
    RemoteDown,
    /// It is no longer held from elsewhere.
    RemoteUp,
    /// Time has passed.
    Tick,
}

/// What the key was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The microphone, or nothing.
    None,
    /// The line: type this character.
    Type(char),
    /// It was held for too long.
    HeldTooLong,
}

/// A key that is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hold {
    key: Option<char>,
    since: Instant,
    /// When it must be taken for let go, if releases are guessed.
    until: Option<Instant>,
    /// It talks; if not, it is not yet known whether it types.
    talks: bool,
    /// That was decided only after a while.
    late: bool,
}

impl Hold {
    fn new(key: Option<char>, since: Instant, until: Option<Instant>, talks: bool) -> Self {
        Self { key, since, until, talks, late: false }
    }
}

/// The state of the microphone.
#[derive(Debug, Clone)]
pub struct Ptt {
    release: Release,
    mode: Mode,
    hold: Option<Hold>,
    /// Held from elsewhere, since then.
    remote: Option<Instant>,
    /// Held as a listener for all windows sees it. Its key is what a terminal would type meanwhile.
    global: Option<Hold>,
    /// The key was still down when a mishap closed the microphone. It must be let go first: by
    /// report, or (guessed) by not repeating until then.
    stale: Option<Option<Instant>>,
    /// The key was let go last, and is known to have been: nothing else closed the microphone.
    released: bool,
}

impl Ptt {
    /// A microphone that is off.
    #[must_use]
    pub fn new(release: Release, mode: Mode) -> Self {
        Self { release, mode, hold: None, remote: None, global: None, stale: None, released: false }
    }

    /// How it is known that the key was let go.
    #[must_use]
    pub fn release(&self) -> Release {
        self.release
    }

    /// Whether the key is held from elsewhere.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// When the microphone is on.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What the microphone is meant to do now.
    #[must_use]
    pub fn transmit(&self) -> Transmit {
        match self.mode {
            Mode::Open => Transmit::Open,
            Mode::Voice => Transmit::Voice,
            Mode::PushToTalk if self.remote.is_some() => Transmit::Held,
            Mode::PushToTalk if self.holds().any(|hold| hold.talks && !hold.late) => Transmit::Held,
            Mode::PushToTalk if self.holds().any(|hold| hold.talks) => Transmit::HeldLate,
            Mode::PushToTalk if self.released => Transmit::Released,
            Mode::PushToTalk => Transmit::Shut,
        }
    }

    fn holds(&self) -> impl Iterator<Item = Hold> {
        [self.hold, self.global].into_iter().flatten()
    }

    /// When `Tick` must come, if nothing else does before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let remote = self.remote.map(|since| since + PTT_HOLD_MAX);
        let holds = self.holds().flat_map(|hold| {
            let longest = Some(hold.since + PTT_HOLD_MAX);
            let tap = (!hold.talks).then(|| hold.since + TAP);
            [longest, hold.until, tap].into_iter().flatten()
        });
        holds.chain(remote).min()
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input, now: Instant) -> Outcome {
        let passed = self.tick(now);
        match input {
            Input::Tick => passed,
            Input::Down { key, repeat, typing } => self.down(key, repeat, typing, now),
            Input::Up => self.up(now),
            Input::FocusLost => self.mishap(now),
            Input::DeviceLost => {
                (self.remote, self.global) = (None, None);
                self.mishap(now)
            }
            Input::GlobalDown { typing } => self.global_down(typing, now, passed),
            Input::GlobalUp => self.global_up(now),
            Input::Mute => {
                (self.mode, self.remote, self.global) = (Mode::PushToTalk, None, None);
                self.mishap(now)
            }
            Input::RemoteDown => {
                if self.mode == Mode::PushToTalk {
                    self.remote.get_or_insert(now);
                }
                passed
            }
            Input::RemoteUp => {
                self.released |= self.remote.take().is_some();
                passed
            }
            Input::Unmute => self.open(Mode::Open),
            Input::Voice => self.open(Mode::Voice),
            Input::Disconnected => {
                (self.mode, self.remote, self.global) = (Mode::PushToTalk, None, None);
                self.mishap(now)
            }
        }
    }

    fn open(&mut self, mode: Mode) -> Outcome {
        (self.hold, self.remote, self.global) = (None, None, None);
        (self.released, self.mode) = (false, mode);
        Outcome::None
    }

    fn tick(&mut self, now: Instant) -> Outcome {
        if let Some(Some(until)) = self.stale
            && now >= until
        {
            self.stale = None;
        }
        if self.remote.is_some_and(|since| now >= since + PTT_HOLD_MAX) {
            self.remote = None;
            self.released = false;
            return Outcome::HeldTooLong;
        }
        if let Some(global) = &mut self.global {
            if now >= global.since + PTT_HOLD_MAX {
                self.global = None;
                self.mishap(now);
                return Outcome::HeldTooLong;
            }
            if !global.talks && now >= global.since + TAP {
                (global.talks, global.late) = (true, true);
            }
        }
        let Some(hold) = &mut self.hold else { return Outcome::None };
        if now >= hold.since + PTT_HOLD_MAX {
            self.mishap(now);
            return Outcome::HeldTooLong;
        }
        if hold.until.is_some_and(|until| now >= until) {
            self.hold = None;
        } else if !hold.talks && now >= hold.since + TAP {
            (hold.talks, hold.late) = (true, true);
        }
        Outcome::None
    }

    fn down(&mut self, key: Option<char>, repeat: bool, typing: bool, now: Instant) -> Outcome {
        if self.mode != Mode::PushToTalk {
            return typed(key);
        }
        let typing = typing && key.is_some();
        match self.release {
            Release::Reported => {
                if repeat {
                    return Outcome::None;
                }
                // A new press shows that the key was let go, even if the report was lost.
                self.stale = None;
                self.hold = Some(Hold::new(key, now, None, !typing));
                Outcome::None
            }
            Release::Guessed => {
                if let Some(global) = &mut self.global {
                    // It knows when the key is let go, and whether this was a tap.
                    if typing && !global.talks {
                        global.key = key;
                    }
                    return Outcome::None;
                }
                if let Some(stale) = &mut self.stale {
                    *stale = Some(now + FIRST_REPEAT);
                    return Outcome::None;
                }
                if let Some(hold) = &mut self.hold {
                    hold.until = Some(now + NEXT_REPEAT);
                    return Outcome::None;
                }
                if typing {
                    return typed(key);
                }
                let until = Some(now + FIRST_REPEAT);
                self.hold = Some(Hold::new(key, now, until, true));
                Outcome::None
            }
        }
    }

    fn up(&mut self, now: Instant) -> Outcome {
        self.stale = None;
        let hold = self.hold.take();
        self.released |= hold.is_some_and(|hold| hold.talks);
        match hold {
            Some(hold) if !hold.talks && now < hold.since + TAP => typed(hold.key),
            _ => Outcome::None,
        }
    }

    fn global_down(&mut self, typing: bool, now: Instant, passed: Outcome) -> Outcome {
        if self.mode != Mode::PushToTalk || self.global.is_some() {
            return passed;
        }
        if self.release == Release::Guessed {
            (self.hold, self.stale) = (None, None);
        }
        self.global = Some(Hold::new(None, now, None, !typing));
        passed
    }

    fn global_up(&mut self, now: Instant) -> Outcome {
        let Some(hold) = self.global.take() else { return Outcome::None };
        self.released |= hold.talks;
        if self.release == Release::Guessed {
            // What the terminal still has of the key's repetition is of this hold.
            self.hold = None;
            self.stale = Some(Some(now + NEXT_REPEAT));
        }
        match hold.talks {
            true => Outcome::None,
            false => typed(hold.key),
        }
    }

    fn mishap(&mut self, now: Instant) -> Outcome {
        self.released = false;
        if self.hold.take().is_some() {
            self.stale = Some(match self.release {
                Release::Reported => None,
                Release::Guessed => Some(now + FIRST_REPEAT),
            });
        }
        Outcome::None
    }
}

/// The key was for the line, if it has a character.
fn typed(key: Option<char>) -> Outcome {
    key.map_or(Outcome::None, Outcome::Type)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;
    use proptest::prelude::*;

    struct Bench {
        ptt: Ptt,
        now: Instant,
    }

    impl Bench {
        fn new(release: Release) -> Self {
            Self { ptt: Ptt::new(release, Mode::PushToTalk), now: clock::now() }
        }

        fn give(&mut self, input: Input) -> Outcome {
            self.ptt.handle(input, self.now)
        }

        fn press(&mut self, typing: bool) -> Outcome {
            self.give(Input::Down { key: Some('ё'), repeat: false, typing })
        }

        /// Lets time pass as the shell does: a tick at each deadline.
        fn pass(&mut self, ms: u64) {
            let end = self.now + Duration::from_millis(ms);
            while let Some(deadline) = self.ptt.deadline().filter(|at| *at <= end) {
                self.now = deadline;
                self.give(Input::Tick);
            }
            self.now = end;
            self.give(Input::Tick);
        }
    }

    #[test]
    fn the_microphone_is_off_at_the_start() {
        assert!(!Bench::new(Release::Reported).ptt.transmit().is_on());
        assert!(!Bench::new(Release::Guessed).ptt.transmit().is_on());
    }

    #[test]
    fn with_reports_it_is_on_exactly_while_the_key_is_down() {
        let mut bench = Bench::new(Release::Reported);
        bench.press(false);
        assert!(bench.ptt.transmit().is_on());
        bench.pass(30_000);
        bench.give(Input::Down { key: Some('ё'), repeat: true, typing: false });
        assert!(bench.ptt.transmit().is_on());
        assert_eq!(bench.give(Input::Up), Outcome::None);
        assert!(!bench.ptt.transmit().is_on());
    }

    #[test]
    fn with_reports_and_text_a_tap_types_and_holding_talks() {
        let mut bench = Bench::new(Release::Reported);
        bench.press(true);
        assert!(!bench.ptt.transmit().is_on(), "typing must not be heard");
        bench.pass(100);
        assert_eq!(bench.give(Input::Up), Outcome::Type('ё'));
        bench.press(true);
        bench.pass(200);
        assert!(bench.ptt.transmit().is_on());
        assert_eq!(bench.give(Input::Up), Outcome::None);
        assert!(!bench.ptt.transmit().is_on());
    }

    #[test]
    fn without_reports_repetition_counts_as_holding() {
        let mut bench = Bench::new(Release::Guessed);
        bench.press(false);
        bench.pass(650);
        assert!(bench.ptt.transmit().is_on(), "slow keyboards repeat after 660 ms");
        for _ in 0..50 {
            bench.press(false);
            assert!(bench.ptt.transmit().is_on());
            bench.pass(90);
        }
        bench.pass(150);
        assert!(!bench.ptt.transmit().is_on());
    }

    #[test]
    fn without_reports_one_press_lasts_a_moment() {
        let mut bench = Bench::new(Release::Guessed);
        bench.press(false);
        bench.pass(699);
        assert!(bench.ptt.transmit().is_on());
        bench.pass(1);
        assert!(!bench.ptt.transmit().is_on());
    }

    #[test]
    fn without_reports_the_key_types_on_a_line_with_text() {
        let mut bench = Bench::new(Release::Guessed);
        assert_eq!(bench.press(true), Outcome::Type('ё'));
        assert!(!bench.ptt.transmit().is_on());
    }

    #[test]
    fn letting_go_lets_the_last_word_end_and_a_mishap_does_not() {
        let mut bench = Bench::new(Release::Reported);
        bench.press(false);
        assert_eq!(bench.ptt.transmit(), Transmit::Held);
        bench.give(Input::Up);
        assert_eq!(bench.ptt.transmit(), Transmit::Released);
        for mishap in [Input::FocusLost, Input::Disconnected, Input::DeviceLost, Input::Mute] {
            bench.press(false);
            bench.give(Input::Up);
            bench.give(mishap);
            assert_eq!(bench.ptt.transmit(), Transmit::Shut, "{mishap:?}, after the key");
            bench.press(false);
            bench.give(mishap);
            bench.give(Input::Up);
            assert_eq!(bench.ptt.transmit(), Transmit::Shut, "{mishap:?}, while it is down");
        }
    }

    #[test]
    fn a_key_held_from_elsewhere_does_not_mind_focus_and_ends_with_every_other_mishap() {
        let mut bench = Bench::new(Release::Guessed);
        bench.give(Input::RemoteDown);
        assert_eq!(bench.ptt.transmit(), Transmit::Held);
        bench.pass(30_000);
        bench.give(Input::FocusLost);
        assert_eq!(bench.ptt.transmit(), Transmit::Held);
        bench.give(Input::RemoteUp);
        assert_eq!(bench.ptt.transmit(), Transmit::Released, "the last word comes to its end");
        for mishap in [Input::Disconnected, Input::DeviceLost, Input::Mute] {
            bench.give(Input::RemoteDown);
            bench.give(mishap);
            assert_eq!(bench.ptt.transmit(), Transmit::Shut, "{mishap:?}");
        }
        bench.give(Input::RemoteDown);
        bench.pass(PTT_HOLD_MAX.as_millis() as u64);
        assert_eq!(bench.ptt.transmit(), Transmit::Shut, "held for too long");
        bench.give(Input::Unmute);
        bench.give(Input::RemoteDown);
        bench.give(Input::RemoteUp);
        assert_eq!(bench.ptt.transmit(), Transmit::Open, "an open microphone stays open");
    }

    #[test]
    fn a_key_seen_in_all_windows_talks_exactly_as_long_as_it_is_held() {
        for release in [Release::Reported, Release::Guessed] {
            let mut bench = Bench::new(release);
            bench.give(Input::GlobalDown { typing: false });
            assert_eq!(bench.ptt.transmit(), Transmit::Held);
            bench.give(Input::FocusLost);
            bench.pass(30_000);
            assert_eq!(bench.ptt.transmit(), Transmit::Held, "it does not mind the focus");
            bench.give(Input::GlobalUp);
            assert_eq!(bench.ptt.transmit(), Transmit::Released);
            for mishap in [Input::Disconnected, Input::DeviceLost, Input::Mute] {
                bench.give(Input::GlobalDown { typing: false });
                bench.give(mishap);
                assert_eq!(bench.ptt.transmit(), Transmit::Shut, "{mishap:?}");
                bench.give(Input::GlobalUp);
                assert_eq!(bench.ptt.transmit(), Transmit::Shut, "{mishap:?}");
            }
            bench.give(Input::GlobalDown { typing: false });
            bench.now += PTT_HOLD_MAX;
            assert_eq!(bench.give(Input::Tick), Outcome::HeldTooLong);
            assert_eq!(bench.ptt.transmit(), Transmit::Shut);
        }
    }

    #[test]
    fn where_a_terminal_only_repeats_the_listener_knows_when_the_key_is_let_go() {
        let mut bench = Bench::new(Release::Guessed);
        // The terminal's own key comes a moment before or after, and repeats.
        bench.press(false);
        bench.give(Input::GlobalDown { typing: false });
        for _ in 0..20 {
            bench.pass(40);
            bench.press(false);
            assert_eq!(bench.ptt.transmit(), Transmit::Held);
        }
        bench.give(Input::GlobalUp);
        assert_eq!(bench.ptt.transmit(), Transmit::Released);
        bench.press(false);
        assert!(!bench.ptt.transmit().is_on(), "a repetition that is late");
        bench.pass(20);
        bench.give(Input::GlobalDown { typing: false });
        assert_eq!(bench.ptt.transmit(), Transmit::Held, "and pressed again at once");
    }

    #[test]
    fn with_a_listener_and_text_on_the_line_a_tap_types_and_holding_talks() {
        for release in [Release::Reported, Release::Guessed] {
            let mut bench = Bench::new(release);
            bench.give(Input::GlobalDown { typing: true });
            assert_eq!(bench.press(true), Outcome::None);
            bench.pass(100);
            assert!(!bench.ptt.transmit().is_on(), "typing must not be heard");
            let outcomes = match release {
                Release::Reported => [bench.give(Input::Up), bench.give(Input::GlobalUp)],
                Release::Guessed => [bench.give(Input::GlobalUp), Outcome::None],
            };
            let types = outcomes.iter().filter(|outcome| **outcome == Outcome::Type('ё'));
            assert_eq!(types.count(), 1, "{release:?} {outcomes:?}");
            bench.pass(500);
            bench.give(Input::GlobalDown { typing: true });
            bench.press(true);
            bench.pass(180);
            assert_eq!(bench.ptt.transmit(), Transmit::HeldLate);
            assert_eq!(bench.give(Input::GlobalUp), Outcome::None);
            if release == Release::Reported {
                assert_eq!(bench.give(Input::Up), Outcome::None);
            }
            assert_eq!(bench.ptt.transmit(), Transmit::Released);
        }
    }

    #[test]
    fn a_key_without_a_character_talks_at_once_whatever_is_on_the_line() {
        for release in [Release::Reported, Release::Guessed] {
            let mut bench = Bench::new(release);
            let outcome = bench.give(Input::Down { key: None, repeat: false, typing: true });
            assert_eq!((outcome, bench.ptt.transmit()), (Outcome::None, Transmit::Held));
        }
    }

    #[test]
    fn voice_activation_ends_with_mute_and_with_the_connection() {
        for end in [Input::Mute, Input::Disconnected] {
            let mut bench = Bench::new(Release::Reported);
            bench.give(Input::Voice);
            assert_eq!(bench.ptt.transmit(), Transmit::Voice);
            bench.give(end);
            assert_eq!(bench.ptt.transmit(), Transmit::Shut);
        }
    }

    #[test]
    fn an_open_microphone_leaves_the_key_to_the_line() {
        let mut bench = Bench::new(Release::Reported);
        bench.give(Input::Unmute);
        assert!(bench.ptt.transmit().is_on());
        assert_eq!(bench.press(false), Outcome::Type('ё'));
        bench.give(Input::Mute);
        assert!(!bench.ptt.transmit().is_on());
    }

    #[test]
    fn every_mishap_closes_it_and_the_key_must_be_let_go_first() {
        for release in [Release::Reported, Release::Guessed] {
            for mishap in [Input::FocusLost, Input::Disconnected, Input::DeviceLost, Input::Mute] {
                let mut bench = Bench::new(release);
                bench.press(false);
                bench.give(mishap);
                assert!(!bench.ptt.transmit().is_on(), "{release:?} {mishap:?}");
                for _ in 0..20 {
                    bench.pass(50);
                    let repeat = release == Release::Reported;
                    bench.give(Input::Down { key: Some('`'), repeat, typing: false });
                    assert!(!bench.ptt.transmit().is_on(), "{release:?} {mishap:?}");
                }
                bench.give(if release == Release::Reported { Input::Up } else { Input::Tick });
                bench.pass(700);
                bench.press(false);
                assert!(bench.ptt.transmit().is_on(), "{release:?} {mishap:?}");
            }
        }
    }

    #[test]
    fn a_lost_connection_closes_an_open_microphone() {
        let mut bench = Bench::new(Release::Guessed);
        bench.give(Input::Unmute);
        bench.give(Input::Disconnected);
        assert_eq!((bench.ptt.mode(), bench.ptt.transmit().is_on()), (Mode::PushToTalk, false));
    }

    #[test]
    fn an_unplugged_microphone_leaves_the_mode_as_it_was() {
        let mut bench = Bench::new(Release::Guessed);
        bench.give(Input::Unmute);
        bench.give(Input::DeviceLost);
        assert_eq!(bench.ptt.mode(), Mode::Open);
    }

    #[test]
    fn a_key_that_hangs_is_let_go_of() {
        let mut bench = Bench::new(Release::Reported);
        bench.press(false);
        bench.now += PTT_HOLD_MAX;
        assert_eq!(bench.give(Input::Tick), Outcome::HeldTooLong);
        assert!(!bench.ptt.transmit().is_on());
        bench.give(Input::Down { key: Some('`'), repeat: true, typing: false });
        assert!(!bench.ptt.transmit().is_on());
        // The same where a book lies on the key and only repetition shows it.
        let mut bench = Bench::new(Release::Guessed);
        bench.press(false);
        let end = bench.now + PTT_HOLD_MAX + Duration::from_secs(5);
        while bench.now < end {
            bench.press(false);
            bench.pass(40);
        }
        assert!(!bench.ptt.transmit().is_on());
    }

    proptest! {
        #[test]
        fn whatever_happens_silence_follows(steps in prop::collection::vec((0u8..12, 0u64..900), 0..60),
                                            reported: bool) {
            let release = if reported { Release::Reported } else { Release::Guessed };
            let mut bench = Bench::new(release);
            for (step, ms) in steps {
                bench.give(match step {
                    0 => Input::Down { key: Some('`'), repeat: false, typing: false },
                    1 => Input::Down { key: Some('`'), repeat: true, typing: false },
                    2 => Input::Down { key: Some('`'), repeat: false, typing: true },
                    3 => Input::Up,
                    4 => Input::FocusLost,
                    5 => Input::Mute,
                    6 => Input::Unmute,
                    7 => Input::GlobalDown { typing: false },
                    8 => Input::GlobalDown { typing: true },
                    9 => Input::GlobalUp,
                    10 => Input::DeviceLost,
                    _ => Input::Disconnected,
                });
                bench.pass(ms);
            }
            bench.give(Input::Mute);
            prop_assert!(!bench.ptt.transmit().is_on());
            bench.pass(1000);
            prop_assert!(!bench.ptt.transmit().is_on());
        }
    }
}
