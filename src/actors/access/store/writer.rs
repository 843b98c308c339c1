//! The store's thread: writes batches in the order in which they were handed over. What the disk refuses stays at the
//! head and is tried again before anything later, because later changes stand on it, and memory has it already.

use super::{Database, NotWritten};
use crate::actors::access::core::Change;
use crate::net::limits::STORE_QUEUE_MAX;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::{mpsc, oneshot};

/// Changes that belong together.
#[derive(Debug)]
pub(super) struct Batch {
    /// Counts up from 1.
    pub number: u64,
    /// Written whole or not at all. None: only to be told whether all that came before is on disk.
    pub changes: Vec<Change>,
    /// Who waits; nobody any more once the disk has refused it.
    pub done: Option<oneshot::Sender<Result<(), NotWritten>>>,
}

impl Batch {
    fn answer(&mut self, written: Result<(), NotWritten>) {
        if let Some(done) = self.done.take() {
            // Whoever asked may have gone.
            let _ = done.send(written);
        }
    }
}

/// How far the thread has come, for whoever hands changes over.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Number of the last batch that is on disk, with all before it.
    pub settled: AtomicU64,
    /// Batches that the disk has refused and that are tried again.
    pub refused: AtomicUsize,
}

/// Runs until nobody can hand anything over any more.
pub(super) fn write_all(
    database: &mut Database,
    mut batches: mpsc::Receiver<Batch>,
    progress: &Progress,
) {
    let mut backlog = VecDeque::new();
    while let Some(first) = batches.blocking_recv() {
        backlog.push_back(first);
        while backlog.len() < STORE_QUEUE_MAX
            && let Ok(more) = batches.try_recv()
        {
            backlog.push_back(more);
        }
        write(database, &mut backlog, progress);
    }
    if !backlog.is_empty() {
        write(database, &mut backlog, progress);
    }
}

/// Writes what can be written of these, and leaves the rest.
fn write(database: &mut Database, backlog: &mut VecDeque<Batch>, progress: &Progress) {
    let before = progress.refused.load(Ordering::Acquire);
    let (written, refused) =
        database.write_batches(backlog.iter().map(|batch| batch.changes.as_slice()));
    let mut settled = Vec::new();
    for written in written {
        let Some(batch) = backlog.pop_front() else { break };
        progress.settled.store(batch.number, Ordering::Release);
        settled.push((batch, written));
    }
    // Empty ones only ask.
    let waits = |batch: &&Batch| !batch.changes.is_empty();
    let waiting = backlog.iter().filter(waits).count();
    progress.refused.store(waiting, Ordering::Release);
    match refused {
        Some(error) if before == 0 => {
            tracing::error!(%error, waiting, "the store refuses a change; it is tried again");
        }
        None if before > 0 => tracing::info!("the store takes changes again"),
        _ => {}
    }
    // Told last: whoever hears of it finds the counts as they are now.
    for (mut batch, written) in settled {
        batch.answer(written);
    }
    for batch in backlog.iter_mut() {
        batch.answer(Err(NotWritten));
    }
    backlog.retain(|batch| !batch.changes.is_empty());
}
