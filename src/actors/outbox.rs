//! What waits to be written to one client, bounded in frames and bytes.
//!
//! Anyone may push, without waiting; the connection's writer alone takes. A reader so slow that the
//! bound is reached is cut off: what waited is dropped for one goodbye, and nobody else is held up.
//! Texts have a part of the queue. Those that do not fit are skipped and he is told how many, so that
//! nobody can be talked off the server; whoever meanwhile takes nothing at all is cut off for them, too.
//! Voice has a queue of its own that forgets what is stale. The writer takes a piece of each in turn:
//! a long list does not hold up voice, and voice does not hold up the list.

use crate::net::limits::{
    OUTBOX_BYTES_MAX, OUTBOX_FRAMES_MAX, OUTBOX_TEXT_PART, OUTBOX_UNREAD_TEXT_MAX,
    WRITE_PIECE_BYTES,
};
use crate::net::message::{Envelope, ErrorCode, GoodbyeReason, ServerMessage};
use crate::net::stream_voice::StreamVoice;
use crate::net::{clock, frame};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// The sending end of one control connection. Clones push into the same queue.
#[derive(Clone, Debug, Default)]
pub struct Outbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    bytes_max: usize,
    queue: Mutex<Queue>,
    wake: Notify,
    cut: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Waiting>,
    bytes: usize,
    texts: Texts,
    voice: StreamVoice,
    closing: Option<GoodbyeReason>,
    polite: bool,
}

/// A frame that waits.
#[derive(Debug)]
struct Waiting {
    frame: Bytes,
    text: bool,
}

/// The texts among the frames that wait, and those that did not get so far.
#[derive(Debug, Default)]
struct Texts {
    frames: usize,
    bytes: usize,
    /// Skipped since he was last told so.
    missed: u64,
    /// Bytes that came, kept or skipped, since the reader last took anything.
    unread: usize,
}

/// What the writer has to do next.
#[derive(Debug)]
pub enum Take {
    /// Write these frames, and see that they are on their way before the next are taken.
    Write(Vec<Bytes>),
    /// Everything is written: close the connection.
    Close,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            bytes_max: OUTBOX_BYTES_MAX,
            queue: Mutex::default(),
            wake: Notify::new(),
            cut: Notify::new(),
        }
    }
}

impl Outbox {
    /// One in which so many bytes can wait.
    #[must_use]
    pub fn with_bytes_max(bytes_max: usize) -> Self {
        Self(Arc::new(Shared { bytes_max, ..Shared::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message that is no answer.
    pub fn event(&self, body: ServerMessage) {
        self.message(&Envelope::event(body));
    }

    /// Queues the answer to request `re`.
    pub fn answer(&self, re: Option<u32>, body: ServerMessage) {
        self.message(&Envelope::answer(re, body));
    }

    /// Queues what somebody says, if there is room for more text.
    pub fn text(&self, body: ServerMessage) {
        match frame::encode(&Envelope::event(body)) {
            Ok(frame) => self.push_text(frame),
            Err(error) => tracing::error!(%error, "a text cannot be encoded"),
        }
    }

    fn message(&self, message: &Envelope<ServerMessage>) {
        match frame::encode(message) {
            Ok(frame) => self.push(frame),
            Err(error) => tracing::error!(%error, "a message of ours cannot be encoded"),
        }
    }

    /// Queues a whole frame, length included.
    pub fn push(&self, frame: Bytes) {
        let mut queue = self.lock();
        if queue.closing.is_some() {
            return;
        }
        if queue.frames.len() >= OUTBOX_FRAMES_MAX || queue.bytes + frame.len() > self.0.bytes_max {
            self.cut(&mut queue);
        } else {
            queue.keep(frame, false);
        }
        drop(queue);
        self.0.wake.notify_one();
    }

    /// Queues a whole frame that somebody's text is in; it is skipped where texts have no more room.
    pub fn push_text(&self, frame: Bytes) {
        let mut queue = self.lock();
        if queue.closing.is_some() {
            return;
        }
        queue.texts.unread += frame.len();
        let fits = queue.texts.frames < OUTBOX_FRAMES_MAX / OUTBOX_TEXT_PART
            && queue.texts.bytes + frame.len() <= self.0.bytes_max / OUTBOX_TEXT_PART
            && queue.frames.len() < OUTBOX_FRAMES_MAX
            && queue.bytes + frame.len() <= self.0.bytes_max;
        if queue.texts.unread > OUTBOX_UNREAD_TEXT_MAX {
            self.cut(&mut queue);
        } else if fits {
            queue.keep(frame, true);
        } else {
            queue.texts.missed += 1;
        }
        drop(queue);
        self.0.wake.notify_one();
    }

    /// Ends the connection of a reader who is too slow.
    fn cut(&self, queue: &mut Queue) {
        queue.frames.clear();
        queue.voice.clear();
        queue.bytes = 0;
        queue.texts = Texts::default();
        let reason = GoodbyeReason::SlowReader;
        queue.close(Some((reason, ServerMessage::goodbye(reason))));
        self.0.cut.notify_one();
    }

    /// Queues a voice datagram of `now`. It is dropped when it has waited too long, or when newer ones are too many.
    pub fn push_voice(&self, datagram: &[u8], now: Instant) {
        let message = Envelope::event(ServerMessage::Voice { packet: datagram.to_vec() });
        let Ok(frame) = frame::encode(&message) else { return };
        let mut queue = self.lock();
        if queue.closing.is_some() {
            return;
        }
        queue.voice.push(frame, now);
        drop(queue);
        self.0.wake.notify_one();
    }

    /// Drops voice that waits: whoever has left a room hears nothing of it any more, however slow his connection.
    pub fn forget_voice(&self) {
        self.lock().voice.clear();
    }

    /// Says goodbye, lets the writer finish what is queued, then closes. Only the first call counts.
    pub fn close(&self, reason: GoodbyeReason) {
        self.close_with(reason, ServerMessage::goodbye(reason));
    }

    /// As `close`, in other words: who did it, and why.
    pub fn close_with(&self, reason: GoodbyeReason, goodbye: ServerMessage) {
        self.lock().close(Some((reason, goodbye)));
        self.0.wake.notify_one();
    }

    /// Closes after what is queued, without a goodbye: the client went by itself.
    pub fn finish(&self) {
        self.lock().close(None);
        self.0.wake.notify_one();
    }

    /// Why the connection is closing, if it is.
    #[must_use]
    pub fn closing(&self) -> Option<GoodbyeReason> {
        self.lock().closing
    }

    /// Bytes that wait, without voice.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Returns when the reader is cut off: a write that is stuck then will never end.
    pub async fn cut_off(&self) {
        self.0.cut.notified().await;
    }

    /// Waits for the next thing to write. Only the writer calls this.
    pub async fn take(&self) -> Take {
        loop {
            {
                let mut queue = self.lock();
                let frames = queue.piece(clock::now());
                if !frames.is_empty() {
                    return Take::Write(frames);
                }
                if queue.polite {
                    return Take::Close;
                }
            }
            self.0.wake.notified().await;
        }
    }
}

impl Queue {
    fn keep(&mut self, frame: Bytes, text: bool) {
        self.bytes += frame.len();
        if text {
            self.texts.frames += 1;
            self.texts.bytes += frame.len();
        }
        self.frames.push_back(Waiting { frame, text });
    }

    /// How many texts he has missed, as a frame, when he has read all that came before them.
    fn missed(&mut self) -> Option<Bytes> {
        if self.texts.missed == 0 || self.texts.frames > 0 || self.closing.is_some() {
            return None;
        }
        let count = std::mem::take(&mut self.texts.missed).to_string();
        let message = ServerMessage::error(ErrorCode::TextsMissed, [("count", count)]);
        frame::encode(&Envelope::event(message)).ok()
    }

    /// The next frames in order, up to a piece (and one at least), and all voice that is not stale.
    fn piece(&mut self, now: Instant) -> Vec<Bytes> {
        let mut piece = Vec::new();
        let mut length = 0;
        while let Some(Waiting { frame, text }) = self.frames.front() {
            length += frame.len();
            if length > WRITE_PIECE_BYTES && !piece.is_empty() {
                break;
            }
            self.bytes = self.bytes.saturating_sub(frame.len());
            if *text {
                self.texts.frames = self.texts.frames.saturating_sub(1);
                self.texts.bytes = self.texts.bytes.saturating_sub(frame.len());
            }
            piece.extend(self.frames.pop_front().map(|waiting| waiting.frame));
        }
        if !piece.is_empty() {
            self.texts.unread = 0;
            piece.extend(self.missed());
        }
        piece.extend(std::iter::from_fn(|| self.voice.pop(now)));
        piece
    }

    fn close(&mut self, goodbye: Option<(GoodbyeReason, ServerMessage)>) {
        if self.polite {
            return;
        }
        self.polite = true;
        let Some((reason, message)) = goodbye else {
            self.closing = Some(GoodbyeReason::Unknown);
            return;
        };
        self.closing = Some(reason);
        // Whoever is sent away hears nothing more.
        self.voice.clear();
        if let Ok(frame) = frame::encode(&Envelope::event(message)) {
            self.frames.push_back(Waiting { frame, text: false });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::limits::{STREAM_VOICE_AGE_MAX, STREAM_VOICE_PACKETS_MAX};
    use std::time::Duration;

    fn chat(size: usize) -> Bytes {
        Bytes::from(vec![0; size])
    }

    async fn drain(outbox: &Outbox) -> Vec<Bytes> {
        let mut all = Vec::new();
        while let Take::Write(frames) = outbox.take().await {
            all.extend(frames);
        }
        all
    }

    #[tokio::test]
    async fn frames_come_out_in_order_and_then_the_goodbye() {
        let outbox = Outbox::default();
        outbox.push(chat(1));
        outbox.push(chat(2));
        outbox.close(GoodbyeReason::Stopping);
        outbox.push(chat(3));
        let sizes: Vec<_> = drain(&outbox).await.iter().map(Bytes::len).collect();
        assert_eq!(sizes[..2], [1, 2]);
        assert_eq!(sizes.len(), 3, "two frames and a goodbye");
    }

    #[tokio::test]
    async fn a_slow_reader_is_cut_off_with_a_bound_on_what_is_queued() {
        let outbox = Outbox::default();
        for _ in 0..1000 {
            outbox.push(chat(1024));
            assert!(outbox.queued_bytes() <= OUTBOX_BYTES_MAX);
        }
        assert_eq!(outbox.closing(), Some(GoodbyeReason::SlowReader));
        assert_eq!(drain(&outbox).await.len(), 1, "only the goodbye is left");
    }

    #[tokio::test]
    async fn a_reader_who_makes_progress_is_never_cut_off_for_texts_and_is_told_what_he_missed() {
        let outbox = Outbox::default();
        let (mut read, mut said) = (0, 0);
        for _ in 0..1000 {
            // A line that takes a quarter of what is said.
            for _ in 0..4 {
                outbox.push_text(chat(WRITE_PIECE_BYTES));
                said += 1;
            }
            let Take::Write(frames) = outbox.take().await else { panic!() };
            read += frames.len();
            assert!(outbox.queued_bytes() <= OUTBOX_BYTES_MAX / OUTBOX_TEXT_PART);
        }
        assert_eq!(outbox.closing(), None);
        // What is no text has its own place beside them.
        outbox.push(chat(OUTBOX_BYTES_MAX / OUTBOX_TEXT_PART));
        assert_eq!(outbox.closing(), None);
        let mut missed: Option<usize> = None;
        while missed.is_none() {
            let Take::Write(frames) = outbox.take().await else { panic!() };
            for frame in frames {
                match frame::decode::<Envelope<ServerMessage>>(&frame[frame::LENGTH_BYTES..]) {
                    Ok(Envelope { body: ServerMessage::Error { code, args }, .. }) => {
                        assert_eq!(code, ErrorCode::TextsMissed);
                        missed = args["count"].parse().ok();
                    }
                    _ => read += 1,
                }
            }
        }
        assert_eq!(read + missed.unwrap(), said);
    }

    #[tokio::test]
    async fn a_reader_who_takes_nothing_is_cut_off_for_texts() {
        let outbox = Outbox::default();
        let mut said = 0;
        while outbox.closing().is_none() {
            outbox.push_text(chat(1024));
            said += 1024;
            assert!(said <= OUTBOX_UNREAD_TEXT_MAX + 1024);
        }
        assert!(said > OUTBOX_UNREAD_TEXT_MAX);
        assert_eq!(outbox.closing(), Some(GoodbyeReason::SlowReader));
        assert_eq!(drain(&outbox).await.len(), 1, "only the goodbye is left");
    }

    #[tokio::test]
    async fn voice_never_counts_against_the_reader_and_the_oldest_goes_first() {
        let outbox = Outbox::default();
        for k in 0..1000u16 {
            outbox.push_voice(&k.to_be_bytes(), clock::now());
        }
        assert_eq!(outbox.closing(), None);
        outbox.finish();
        let frames = drain(&outbox).await;
        assert_eq!(frames.len(), STREAM_VOICE_PACKETS_MAX);
        assert!(frames.last().unwrap().ends_with(&999u16.to_be_bytes()));
    }

    #[tokio::test]
    async fn stale_voice_is_dropped_where_the_reader_has_been_slow() {
        let outbox = Outbox::default();
        let now = clock::now();
        let before = now.checked_sub(STREAM_VOICE_AGE_MAX + Duration::from_millis(1)).unwrap();
        outbox.push_voice(b"stale", before);
        outbox.push_voice(b"fresh", now);
        outbox.finish();
        let frames = drain(&outbox).await;
        assert_eq!(frames.len(), 1);
        assert!(frames[0].ends_with(b"fresh"));
    }

    #[tokio::test]
    async fn a_long_list_and_voice_take_turns() {
        let outbox = Outbox::default();
        for _ in 0..8 {
            outbox.push(chat(WRITE_PIECE_BYTES / 2));
        }
        outbox.push_voice(b"voice", clock::now());
        let Take::Write(first) = outbox.take().await else { panic!() };
        assert_eq!(first.len(), 3, "a piece of the list and the voice");
        assert!(first[2].ends_with(b"voice"));
        assert_eq!(outbox.queued_bytes(), 3 * WRITE_PIECE_BYTES);
        outbox.push_voice(b"more voice", clock::now());
        let Take::Write(second) = outbox.take().await else { panic!() };
        assert_eq!(second.len(), 3, "the list goes on whatever is said");
    }
}
