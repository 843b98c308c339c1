//! Whose password is hashed next: each address has one turn at a time, so that many requests of one do not keep the
//! others waiting.

use super::attempts::Origin;
use crate::net::limits::{HASHING_PER_ADDRESS_MAX, HASHING_QUEUE_MAX};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Too many wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowded;

/// Those who wait, by where they come from; clones share them.
#[derive(Debug, Clone)]
pub struct Turns {
    running: Arc<Semaphore>,
    at_once: usize,
    lines: Arc<Mutex<Lines>>,
}

#[derive(Debug, Default)]
struct Lines {
    waiting: usize,
    lines: BTreeMap<Origin, Line>,
}

#[derive(Debug)]
struct Line {
    turn: Arc<Semaphore>,
    waiting: usize,
}

/// A place in a line, until it is dropped.
#[derive(Debug)]
struct Place {
    lines: Arc<Mutex<Lines>>,
    origin: Origin,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    // The permits go before the place: a line is forgotten only when nobody is at its head.
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    _place: Place,
}

fn lock(lines: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = lock(&self.lines);
        lines.waiting = lines.waiting.saturating_sub(1);
        if let Some(line) = lines.lines.get_mut(&self.origin) {
            line.waiting = line.waiting.saturating_sub(1);
            if line.waiting == 0 {
                lines.lines.remove(&self.origin);
            }
        }
    }
}

impl Turns {
    /// So many at the same time, over all.
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        Self { running: Arc::new(Semaphore::new(at_once)), at_once, lines: Arc::default() }
    }

    /// How many wait or have their turn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.lines).waiting
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// Too many wait: of all, or from the same address. This machine's own may be a proxy's, behind which there
    /// are many, and has no line of its own.
    pub async fn take(&self, origin: Origin) -> Result<Turn, Crowded> {
        let (place, line) = self.place(origin.network())?;
        let line = line.acquire_owned().await.map_err(|_| Crowded)?;
        // First come, first served, and no address has more than one here.
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| Crowded)?;
        Ok(Turn { _permits: (running, line), _place: place })
    }

    fn place(&self, origin: Origin) -> Result<(Place, Arc<Semaphore>), Crowded> {
        let (at_once, most) = match origin.is_own() {
            true => (self.at_once, HASHING_QUEUE_MAX),
            false => (1, HASHING_PER_ADDRESS_MAX),
        };
        let mut guard = lock(&self.lines);
        let lines = &mut *guard;
        let waiting = lines.lines.get(&origin).map_or(0, |line| line.waiting);
        if lines.waiting >= HASHING_QUEUE_MAX || waiting >= most {
            return Err(Crowded);
        }
        let fresh = || Line { turn: Arc::new(Semaphore::new(at_once)), waiting: 0 };
        let line = lines.lines.entry(origin).or_insert_with(fresh);
        line.waiting += 1;
        lines.waiting += 1;
        let turn = Arc::clone(&line.turn);
        Ok((Place { lines: Arc::clone(&self.lines), origin }, turn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn origin(k: u32) -> Origin {
        Origin::of(Some(IpAddr::V4((0x0a00_0000 | k).into())))
    }

    #[tokio::test]
    async fn whoever_asks_once_waits_for_one_turn_of_whoever_asks_often() {
        let turns = Turns::new(1);
        let first = turns.take(origin(1)).await.unwrap();
        let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = Vec::new();
        let asking = [1, 1, 1, 1, 2];
        for who in asking {
            let (turns, sender) = (turns.clone(), sender.clone());
            tasks.push(tokio::spawn(async move {
                let turn = turns.take(origin(who)).await.unwrap();
                sender.send(who).unwrap();
                drop(turn);
            }));
            tokio::task::yield_now().await;
        }
        drop(first);
        for task in tasks {
            task.await.unwrap();
        }
        drop(sender);
        let mut served = Vec::new();
        while let Some(who) = order.recv().await {
            served.push(who);
        }
        assert!(served.iter().position(|who| *who == 2).unwrap() <= 1, "{served:?}");
        assert_eq!((turns.waiting(), lock(&turns.lines).lines.len()), (0, 0));
    }

    #[tokio::test]
    async fn one_address_fills_its_own_line_and_not_the_whole_queue() {
        let turns = Turns::new(1);
        let _head = turns.take(origin(1)).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 1..HASHING_PER_ADDRESS_MAX {
            waiting.push(turns.place(origin(1)).unwrap());
        }
        assert_eq!(turns.place(origin(1)).unwrap_err(), Crowded);
        assert!(turns.place(origin(2)).is_ok());
        // A site of IPv6 is one address; this machine's own are as many as there are.
        let v6 = |text: &str| Origin::of(Some(text.parse().unwrap())).network();
        assert_eq!(v6("2001:db8:1:2::3"), v6("2001:db8:1:ffff::1"));
        assert_ne!(v6("2001:db8:1:2::3"), v6("2001:db8:2:2::3"));
        for _ in 0..2 * HASHING_PER_ADDRESS_MAX {
            waiting.push(turns.place(Origin::of(None)).unwrap());
        }
    }
}
