//! Who may send, and who is sent to: what rooms and sessions tell the forwarders.
//!
//! A room publishes a whole snapshot of its members each time one changes, into a latest-value cell
//! of each forwarder. A cell cannot be full, so a revocation cannot be lost; a forwarder takes
//! what is new between two batches and then confirms it. Whoever revoked waits for that.

use super::limits::{Limits, VoiceRates};
use super::outbox::Outbox;
use super::stage::Stage;
use crate::net::codec::{CLOCKS, PayloadType};
use crate::net::ids::{PacketIndex, RoomId, SSRCS_PER_SESSION, SessionId, Ssrc};
use crate::net::message::StreamInfo;
use crate::net::protect::{Opener, Sealer};
use actix::{Message, Recipient};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, watch};

/// How voice reaches a member.
#[derive(Clone, Debug)]
pub enum VoicePath {
    /// Datagrams to a proven address.
    Udp(SocketAddr),
    /// Inside the control connection.
    Stream(Outbox),
}

/// News of a session's voice, from the forwarder that owns its streams.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub enum VoiceNotice {
    /// Voice reaches the member on another way, or on none.
    Path(Option<VoicePath>),
    /// The member has started or stopped to speak.
    Speaking(bool),
    /// The member speaks and is not heard because too many others are, or that is over.
    Withheld(bool),
}

/// A voice datagram that came through a control connection.
#[derive(Debug)]
pub struct StreamDatagram {
    /// Whose connection.
    pub session: SessionId,
    /// The datagram, sealed.
    pub bytes: Vec<u8>,
}

/// A member of a room as forwarders see him.
#[derive(Clone, Debug)]
pub struct Route {
    /// Whose session.
    pub session: SessionId,
    /// Where his voice goes, if anywhere yet.
    pub path: Option<VoicePath>,
    /// Seals what goes down to him.
    pub sealer: Sealer,
    /// His streams, and how others hear them.
    pub voice: Arc<SessionVoice>,
}

/// All members of one room at one moment.
#[derive(Clone, Debug)]
pub struct RoomRoutes {
    /// Which room.
    pub id: RoomId,
    /// Its members.
    pub members: Vec<Route>,
    /// Who of those who speak is heard.
    pub stage: Stage,
}

/// What the forwarder that owns a session's streams needs to know of it.
#[derive(Clone, Debug)]
pub struct SessionRoute {
    /// Whose session.
    pub session: SessionId,
    /// Opens what comes up.
    pub opener: Opener,
    /// Seals the server's own packets that go down.
    pub sealer: Sealer,
    /// Its streams.
    pub voice: Arc<SessionVoice>,
    /// Reaches the client inside the control connection.
    pub outbox: Outbox,
}

/// How far a session's streams are, and how they are heard. Its owner writes, rooms read.
#[derive(Debug)]
pub struct SessionVoice {
    base: Ssrc,
    streams: [StreamProgress; CLOCKS.len()],
    /// What receivers report of these streams.
    pub heard: LossBoard,
    /// How much of it there may be.
    pub rates: VoiceRates,
    silenced: AtomicBool,
}

#[derive(Debug)]
struct StreamProgress {
    highest: AtomicU64,
    payload_type: AtomicU8,
}

const NO_PACKET: u64 = u64::MAX;

impl SessionVoice {
    /// Streams of a session whose SSRCs begin at `base`, with as much voice as by default.
    #[must_use]
    pub fn new(base: Ssrc) -> Self {
        Self::with_rates(base, Limits::default().voice())
    }

    /// Streams of a session whose SSRCs begin at `base`.
    #[must_use]
    pub fn with_rates(base: Ssrc, rates: VoiceRates) -> Self {
        let stream = || StreamProgress {
            highest: AtomicU64::new(NO_PACKET),
            payload_type: AtomicU8::new(0),
        };
        let (streams, heard) = ([stream(), stream()], LossBoard::default());
        Self { base, streams, heard, rates, silenced: AtomicBool::new(false) }
    }

    /// Nobody hears these streams from the next packet on, or everyone again. The lobby alone says so.
    pub fn silence(&self, silenced: bool) {
        self.silenced.store(silenced, Ordering::Release);
    }

    /// Whether a moderator has silenced these streams.
    #[must_use]
    pub fn silenced(&self) -> bool {
        self.silenced.load(Ordering::Acquire)
    }

    /// The first SSRC of the session.
    #[must_use]
    pub fn base(&self) -> Ssrc {
        self.base
    }

    /// SSRC of the stream with the `k`th clock.
    #[must_use]
    pub fn stream(&self, k: usize) -> Ssrc {
        Ssrc(self.base.0.wrapping_add(u32::try_from(k).unwrap_or(0)))
    }

    /// SSRC of the server's own packets to this session.
    #[must_use]
    pub fn control(&self) -> Ssrc {
        Ssrc(self.base.0.wrapping_add(SSRCS_PER_SESSION - 1))
    }

    /// Notes the highest packet of stream `k`.
    pub fn advance(&self, k: usize, index: PacketIndex, payload_type: PayloadType) {
        if let Some(stream) = self.streams.get(k) {
            stream.payload_type.store(payload_type.0, Ordering::Relaxed);
            stream.highest.store(index.0, Ordering::Relaxed);
        }
    }

    /// How far the streams are, for those who join.
    #[must_use]
    pub fn infos(&self) -> Vec<StreamInfo> {
        let streams = self.streams.iter().zip(CLOCKS).enumerate();
        streams
            .map(|(k, (stream, clock_hz))| {
                let highest = stream.highest.load(Ordering::Relaxed);
                let begun = (highest != NO_PACKET).then_some(PacketIndex(highest));
                StreamInfo {
                    ssrc: self.stream(k),
                    clock_hz,
                    payload_type: begun
                        .map(|_| PayloadType(stream.payload_type.load(Ordering::Relaxed))),
                    roc: begun.map_or(0, PacketIndex::roc),
                    seq: begun.map(PacketIndex::seq),
                }
            })
            .collect()
    }
}

/// Upper ends of the loss classes, in 1/256.
const LOSS_CLASSES: [u8; 16] = [0, 1, 2, 4, 6, 8, 10, 13, 16, 20, 26, 32, 45, 64, 128, 255];

/// Loss that receivers reported of a speaker, counted by class; old reports fade.
#[derive(Debug, Default)]
pub struct LossBoard {
    counts: [AtomicU16; LOSS_CLASSES.len()],
    /// Loss reported, and the same times the length of bursts.
    lost: AtomicU32,
    lost_in_bursts: AtomicU32,
}

/// How a speaker is heard by the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// 90th percentile of the receivers' loss, in 1/256.
    pub loss_p90: u8,
    /// Reports behind it.
    pub reports: u32,
    /// Mean length of what receivers miss in a row, in ms, by how much each misses; 0 for none.
    pub burst_ms: u8,
}

impl LossBoard {
    /// Notes one receiver's report: the share lost in 1/256, and in how long bursts, in ms, 0 if that was
    /// not said. Any forwarder may call this.
    pub fn record(&self, share: u8, burst_ms: u8) {
        if burst_ms > 0 {
            // Sums that wrap between two looks would need 100,000 reports in a quarter second.
            self.lost.fetch_add(u32::from(share), Ordering::Relaxed);
            let weighted = u32::from(share) * u32::from(burst_ms);
            self.lost_in_bursts.fetch_add(weighted, Ordering::Relaxed);
        }
        let class = LOSS_CLASSES.iter().position(|upper| share <= *upper).unwrap_or(0);
        if let Some(count) = self.counts.get(class) {
            // A count that wraps between two looks would need 65,536 reports in a quarter second.
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How the speaker is heard now; halves what is counted.
    pub fn look(&self) -> Heard {
        let halved = |sum: &AtomicU32| {
            let value = sum.load(Ordering::Relaxed);
            sum.store(value / 2, Ordering::Relaxed);
            value
        };
        let (lost, in_bursts) = (halved(&self.lost), halved(&self.lost_in_bursts));
        let burst_ms = in_bursts.checked_div(lost).unwrap_or(0);
        let (loss_p90, reports) = self.percentile90();
        Heard { loss_p90, reports, burst_ms: u8::try_from(burst_ms).unwrap_or(u8::MAX) }
    }

    fn percentile90(&self) -> (u8, u32) {
        let counts: [u32; LOSS_CLASSES.len()] = std::array::from_fn(|k| {
            self.counts.get(k).map_or(0, |count| {
                let value = count.load(Ordering::Relaxed);
                count.store(value / 2, Ordering::Relaxed);
                u32::from(value)
            })
        });
        let total: u32 = counts.iter().sum();
        let mut below = 0;
        for (count, upper) in counts.iter().zip(LOSS_CLASSES) {
            below += count;
            if total > 0 && below * 10 >= total * 9 {
                return (upper, total);
            }
        }
        (0, total)
    }
}

/// A session that begins, and where its news goes.
pub type SessionStart = (SessionRoute, Recipient<VoiceNotice>);

/// News for one forwarder.
#[derive(Debug, Default)]
pub struct RouteUpdate {
    /// Sessions that it owns: new, or gone.
    pub sessions: BTreeMap<SessionId, (Ssrc, Option<SessionStart>)>,
    /// Rooms: as they are now, or gone.
    pub rooms: BTreeMap<RoomId, Option<Arc<RoomRoutes>>>,
    /// Number of the newest publication in it.
    pub version: u64,
}

/// The latest-value cell between the control plane and one forwarder.
#[derive(Debug)]
pub struct RouteFeed {
    pending: Mutex<RouteUpdate>,
    published: AtomicU64,
    wake: Notify,
    taken: watch::Sender<u64>,
}

impl Default for RouteFeed {
    fn default() -> Self {
        Self {
            pending: Mutex::default(),
            published: AtomicU64::new(0),
            wake: Notify::new(),
            taken: watch::Sender::new(0),
        }
    }
}

impl RouteFeed {
    fn publish(&self, change: impl FnOnce(&mut RouteUpdate)) -> u64 {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut pending);
        pending.version += 1;
        let version = pending.version;
        self.published.store(version, Ordering::Release);
        drop(pending);
        self.wake.notify_one();
        version
    }

    /// Number of the newest publication: one load, cheap enough for between two batches.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// Takes everything that is new. Only the forwarder calls this.
    #[must_use]
    pub fn take(&self) -> RouteUpdate {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let version = pending.version;
        let fresh = RouteUpdate { version, ..RouteUpdate::default() };
        std::mem::replace(&mut pending, fresh)
    }

    /// Confirms that everything up to `version` is in force.
    pub fn confirm(&self, version: u64) {
        self.taken.send_if_modified(|taken| {
            let newer = version > *taken;
            *taken = version.max(*taken);
            newer
        });
    }

    /// The forwarder has ended and sends nothing any more: all that was or will be published is in force.
    pub fn retire(&self) {
        self.taken.send_replace(u64::MAX);
    }

    /// Waits for a publication.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }
}

/// The cells of all forwarders.
#[derive(Clone, Debug)]
pub struct Routes(Arc<[Arc<RouteFeed>]>);

/// What must be in force before a revocation counts: a version for each forwarder.
#[derive(Debug)]
#[must_use = "a revocation counts only when it is in force"]
pub struct Receipt(Vec<(Arc<RouteFeed>, u64)>);

impl Routes {
    /// Cells for `forwarders` forwarders.
    #[must_use]
    pub fn new(forwarders: usize) -> Self {
        Self((0..forwarders.max(1)).map(|_| Arc::new(RouteFeed::default())).collect())
    }

    /// The cells, in the order of their forwarders.
    #[must_use]
    pub fn feeds(&self) -> &[Arc<RouteFeed>] {
        &self.0
    }

    fn owner(&self, base: Ssrc) -> Option<&Arc<RouteFeed>> {
        self.0.get(base.owner(self.0.len()))
    }

    /// Tells every forwarder how a room is now; `None` when it is gone.
    pub fn publish_room(&self, id: RoomId, routes: Option<RoomRoutes>) -> Receipt {
        let routes = routes.map(Arc::new);
        let publish = |feed: &Arc<RouteFeed>| {
            let version = feed.publish(|update| {
                update.rooms.insert(id, routes.clone());
            });
            (Arc::clone(feed), version)
        };
        Receipt(self.0.iter().map(publish).collect())
    }

    /// Nothing new; in force when everything that forwarders had begun before is out.
    pub fn fence(&self) -> Receipt {
        let publish = |feed: &Arc<RouteFeed>| (Arc::clone(feed), feed.publish(|_| {}));
        Receipt(self.0.iter().map(publish).collect())
    }

    /// Tells the owner of a session's streams that the session begins; what it has to tell comes back through `notices`.
    pub fn publish_session(&self, route: SessionRoute, notices: Recipient<VoiceNotice>) -> Receipt {
        let (session, base) = (route.session, route.voice.base());
        self.session_update(session, base, Some((route, notices)))
    }

    /// Tells the owner of a session's streams that the session is over.
    pub fn revoke_session(&self, session: SessionId, base: Ssrc) -> Receipt {
        self.session_update(session, base, None)
    }

    fn session_update(
        &self,
        session: SessionId,
        base: Ssrc,
        route: Option<SessionStart>,
    ) -> Receipt {
        let feed = self.owner(base);
        let receipt = feed.map(|feed| {
            let version = feed.publish(|update| {
                update.sessions.insert(session, (base, route));
            });
            (Arc::clone(feed), version)
        });
        Receipt(receipt.into_iter().collect())
    }
}

impl Receipt {
    /// Waits until every forwarder has it in force.
    pub async fn in_force(self) {
        for (feed, version) in self.0 {
            let mut taken = feed.taken.subscribe();
            // The sender lives in the cell that we hold: this cannot fail.
            let _ = taken.wait_for(|taken| *taken >= version).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_listener_of_many_does_not_set_the_percentile() {
        let board = LossBoard::default();
        for _ in 0..19 {
            board.record(0, 0);
        }
        board.record(200, 40);
        let heard = board.look();
        assert_eq!((heard.loss_p90, heard.reports, heard.burst_ms), (0, 20, 40));
        for _ in 0..20 {
            board.record(25, 20);
        }
        let heard = board.look();
        assert_eq!((heard.loss_p90, heard.burst_ms), (26, 23));
        for _ in 0..8 {
            board.look();
        }
        assert_eq!((board.look().loss_p90, board.look().reports), (0, 0), "old reports fade");
    }

    #[tokio::test]
    async fn a_receipt_is_good_when_all_forwarders_have_confirmed() {
        let routes = Routes::new(2);
        let receipt = routes.publish_room(RoomId(1), None);
        let waiting = tokio::spawn(receipt.in_force());
        for feed in routes.feeds() {
            assert!(!waiting.is_finished());
            feed.changed().await;
            let update = feed.take();
            assert!(update.rooms.contains_key(&RoomId(1)));
            feed.confirm(update.version);
        }
        waiting.await.unwrap();
    }

    #[test]
    fn only_the_latest_snapshot_of_a_room_is_kept() {
        let routes = Routes::new(1);
        for _ in 0..10_000 {
            let stage = Stage::boundless(crate::net::clock::now());
            let snapshot = RoomRoutes { id: RoomId(7), members: Vec::new(), stage };
            let _unused = routes.publish_room(RoomId(7), Some(snapshot));
        }
        let update = routes.feeds()[0].take();
        assert_eq!((update.rooms.len(), update.version), (1, 10_000));
    }
}
