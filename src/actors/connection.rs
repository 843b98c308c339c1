//! One control connection: frames in, frames out, from the first byte to the last.
//!
//! It takes any stream. Before `Hello` there is no actor, only this task and a place among the
//! half-open connections; when those are too many the oldest goes, so that idlers keep nobody out.

use super::access::attempts::Origin;
use super::access::core::{Denial, Lock, Proofs};
use super::access::password::Hasher;
use super::access::store::Commit;
use super::allowance::Allowance;
use super::limits::Limits;
use super::lobby::core::{Admission, Refusal};
use super::lobby::{Admit, Attach, Farewell, Lobby};
use super::outbox::{Outbox, Take};
use super::routes::{Routes, SessionVoice, StreamDatagram};
use super::session::{Ended, Parts, Session, from_frame};
use crate::net::codec::{CLOCKS, Codec, L16_RATE, OPUS_RATE, PT_L16, PT_OPUS, PT_RED};
use crate::net::device::{ChannelBinding, DeviceId};
use crate::net::ids::{SSRCS_PER_SESSION, SessionId, Ssrc};
use crate::net::limits::{
    CONNECTIONS_TURNED_AWAY_MAX, DATAGRAM_BYTES_MAX, GOODBYE_TIMEOUT, HELLO_ATTEMPTS_MAX,
    HELLO_ENTRIES_MAX, HELLO_TIMEOUT, LIVENESS_TIMEOUT, PROOFS_MAX, WRITE_PIECE_BYTES,
    WRITE_STALL_MAX,
};
use crate::net::message::{
    ClientMessage, Envelope, ErrorCode, GoodbyeReason, Hello, LeaveReason, PROTOCOL_VERSION,
    PayloadFormat, Protection, ServerMessage, StreamGrant, Welcome,
};
use crate::net::protect::{DirectionKey, Opener, Sealer};
use crate::net::secret::{NoRandomness, Password, ResumeSecret, Secret};
use crate::net::{clock, frame};
use actix::prelude::*;
use bytes::BytesMut;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

/// Read buffer of a connection at first; it grows to a frame when it must.
const READ_BUFFER_BYTES: usize = 1024;

/// What connections need of the server. Lives on the control thread.
pub struct Reception {
    /// The lobby.
    pub lobby: Addr<Lobby>,
    /// The forwarders' cells.
    pub routes: Routes,
    /// Voice inside control connections, one way to each forwarder.
    pub streams: Vec<mpsc::Sender<StreamDatagram>>,
    /// Port for voice.
    pub udp_port: u16,
    /// Compares passwords.
    pub hasher: Hasher,
    /// What one client or address may ask.
    pub limits: Arc<Limits>,
    /// How datagrams are protected.
    pub protection: Protection,
    next_session: Cell<u64>,
    half_open: RefCell<BTreeMap<u64, (Origin, oneshot::Sender<()>)>>,
    next_half_open: Cell<u64>,
    from: RefCell<HashMap<Origin, usize>>,
    open: Cell<usize>,
}

/// Who is at the other end of a control connection, as far as the transport tells.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// Where from; unknown where there is no network between.
    pub address: Option<IpAddr>,
    /// What binds a device's proof to this connection; only inside TLS.
    pub binding: Option<ChannelBinding>,
    /// He has more connections than he may, and is only told so.
    pub crowded: bool,
}

/// A connection that counts for its address while it is open.
pub struct FromAddress {
    reception: Rc<Reception>,
    origin: Origin,
}

impl Drop for FromAddress {
    fn drop(&mut self) {
        let mut from = self.reception.from.borrow_mut();
        if let Some(count) = from.get_mut(&self.origin) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                from.remove(&self.origin);
            }
        }
    }
}

/// This machine's own connections: a proxy may stand there for many.
fn is_own(address: Option<IpAddr>) -> bool {
    address.is_none_or(|address| address.to_canonical().is_loopback())
}

/// Counts a connection as open while it lives.
struct Counted<'a>(&'a Reception);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
    }
}

type Frames<S> = FramedRead<ReadHalf<S>, LengthDelimitedCodec>;

impl Reception {
    /// A reception with nobody at the door.
    #[must_use]
    pub fn new(
        lobby: Addr<Lobby>,
        routes: Routes,
        streams: Vec<mpsc::Sender<StreamDatagram>>,
        udp_port: u16,
        hasher: Hasher,
        limits: Arc<Limits>,
        protection: Protection,
    ) -> Self {
        Self {
            lobby,
            routes,
            streams,
            udp_port,
            hasher,
            limits,
            from: RefCell::default(),
            protection,
            next_session: Cell::new(1),
            half_open: RefCell::default(),
            next_half_open: Cell::new(0),
            open: Cell::new(0),
        }
    }

    /// Connections that are open, half-open ones included.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.get()
    }

    /// Sends everyone away who has not said `Hello`.
    pub fn close_half_open(&self) {
        self.half_open.borrow_mut().clear();
    }

    /// Counts a connection for its address. `None`: there are far too many, and it gets no answer.
    /// The flag says that there are too many, and that he is to be told so.
    pub fn count_from(self: &Rc<Self>, address: Option<IpAddr>) -> Option<(FromAddress, bool)> {
        let origin = Origin::of(address);
        let mut from = self.from.borrow_mut();
        let count = from.entry(origin).or_default();
        let most = self.limits.connections_per_address;
        let own = is_own(address);
        if !own && *count >= most.saturating_add(CONNECTIONS_TURNED_AWAY_MAX) {
            return None;
        }
        *count += 1;
        let crowded = !own && *count > most;
        Some((FromAddress { reception: Rc::clone(self), origin }, crowded))
    }

    fn count(&self) -> Counted<'_> {
        self.open.set(self.open.get() + 1);
        Counted(self)
    }

    /// Takes a place among the half-open connections; the oldest of the same address, or of all,
    /// loses his if there is none left.
    fn knock(&self, address: Option<IpAddr>) -> (u64, oneshot::Receiver<()>) {
        let mut half_open = self.half_open.borrow_mut();
        let origin = Origin::of(address);
        if !is_own(address) {
            let mut same = half_open.iter().filter(|(_, (from, _))| *from == origin);
            let oldest = same.next().map(|(ticket, _)| *ticket);
            if let Some(oldest) = oldest
                && same.count() + 1 >= self.limits.half_open_per_address
            {
                half_open.remove(&oldest);
            }
        }
        if half_open.len() >= self.limits.half_open {
            half_open.pop_first();
        }
        let ticket = self.next_half_open.replace(self.next_half_open.get() + 1);
        let (sender, evicted) = oneshot::channel();
        half_open.insert(ticket, (origin, sender));
        (ticket, evicted)
    }
}

/// Serves a connection to its end.
pub async fn serve<S>(reception: Rc<Reception>, stream: S, caller: Caller)
where
    S: AsyncRead + AsyncWrite + 'static,
{
    let _open = reception.count();
    let (read, write) = tokio::io::split(stream);
    let mut frames = FramedRead::with_capacity(read, frame::codec(), READ_BUFFER_BYTES);
    let outbox = Outbox::with_bytes_max(reception.limits.queued_bytes);
    let mut writer = std::pin::pin!(write_all(write, outbox.clone()));
    let mut written = false;
    let session = tokio::select! {
        session = greet(&reception, &caller, &mut frames, &outbox) => session,
        () = &mut writer => { written = true; None }
    };
    if let Some(admitted) = session
        && let Some(session) = admitted.session.clone()
    {
        let voice = VoiceIn::new(&admitted, &reception);
        let reason = tokio::select! {
            reason = listen(&session, voice, &mut frames, &outbox) => reason,
            () = &mut writer => { written = true; why_written(&outbox) }
        };
        let mut ended = std::pin::pin!(session.send(Ended(reason)));
        admitted.leave_to_us();
        if written {
            let _ = ended.await;
        } else {
            // The goodbye goes out while the server forgets the session.
            outbox.finish();
            let farewell = async { tokio::join!(&mut ended, timeout(GOODBYE_TIMEOUT, writer)) };
            let _ = farewell.await;
        }
    } else if !written {
        outbox.finish();
        let _ = timeout(GOODBYE_TIMEOUT, writer).await;
    }
}

/// Why the writer ended before the reader.
fn why_written(outbox: &Outbox) -> LeaveReason {
    match outbox.closing() {
        Some(GoodbyeReason::SlowReader | GoodbyeReason::Protocol | GoodbyeReason::TooFast) => {
            LeaveReason::CutOff
        }
        Some(GoodbyeReason::Timeout) => LeaveReason::Timeout,
        Some(_) => LeaveReason::Quit,
        None => LeaveReason::Lost,
    }
}

/// Writes what is queued until the outbox closes or the client stops to read.
async fn write_all<S: AsyncWrite>(mut write: WriteHalf<S>, outbox: Outbox) {
    loop {
        let Take::Write(frames) = outbox.take().await else { break };
        let bytes = match frames.as_slice() {
            [one] => one.clone(),
            many => many.concat().into(),
        };
        // In pieces: a slow reader that makes progress is not a stuck one.
        for piece in bytes.chunks(WRITE_PIECE_BYTES) {
            let written = tokio::select! {
                biased;
                written = timeout(WRITE_STALL_MAX, write_piece(&mut write, piece)) => written,
                () = outbox.cut_off() => return,
            };
            if !matches!(written, Ok(Ok(()))) {
                return;
            }
        }
        // Not only into a buffer of the encryption: what waits there is late, and out of our hands.
        let flushed = tokio::select! {
            biased;
            flushed = timeout(WRITE_STALL_MAX, write.flush()) => flushed,
            () = outbox.cut_off() => return,
        };
        if !matches!(flushed, Ok(Ok(()))) {
            return;
        }
    }
    let _ = timeout(GOODBYE_TIMEOUT, write.shutdown()).await;
}

/// To the network, and not only into the buffer that TLS writes its records to.
async fn write_piece<S: AsyncWrite>(write: &mut WriteHalf<S>, piece: &[u8]) -> std::io::Result<()> {
    write.write_all(piece).await?;
    write.flush().await
}

/// A session that the lobby has let in, or is about to. Whatever becomes of the connection, the
/// lobby hears of its end: here, unless whoever serves it has seen to that.
struct Admitted {
    id: SessionId,
    lobby: Addr<Lobby>,
    session: Option<Addr<Session>>,
    /// First of its SSRCs.
    base: Ssrc,
    armed: bool,
}

impl Admitted {
    /// The end of the session is somebody else's care from now on.
    fn leave_to_us(mut self) {
        self.armed = false;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        // `do_send`: once for each session, and it must not be lost. Behind `Admit` in the same mailbox.
        match (&self.session, self.armed) {
            (_, false) => {}
            (Some(session), true) => session.do_send(Ended(LeaveReason::Lost)),
            (None, true) => {
                let reason = LeaveReason::Lost;
                self.lobby.do_send(Farewell { session: self.id, reason });
            }
        }
    }
}

/// Waits for a `Hello` that the lobby accepts. `None` when the connection is to be closed.
async fn greet<S: AsyncRead>(
    reception: &Rc<Reception>,
    caller: &Caller,
    frames: &mut Frames<S>,
    outbox: &Outbox,
) -> Option<Admitted> {
    let (ticket, mut evicted) = reception.knock(caller.address);
    let deadline = Instant::now() + HELLO_TIMEOUT;
    let mut session = None;
    for _ in 0..HELLO_ATTEMPTS_MAX {
        // Only waiting for the client can be cut short: an admission under way is brought to its end.
        let frame = tokio::select! {
            biased;
            _ = &mut evicted => {
                outbox.close(GoodbyeReason::Full);
                break;
            }
            frame = timeout_at(deadline, frame::next(frames)) => frame,
        };
        let Ok(frame) = frame else {
            outbox.close(GoodbyeReason::HelloTimeout);
            break;
        };
        let Some(frame) = frame else {
            outbox.finish();
            break;
        };
        let Some((re, hello)) = read_hello(frame, outbox) else { break };
        if caller.crowded {
            let max = reception.limits.connections_per_address.to_string();
            outbox.answer(re, ServerMessage::error(ErrorCode::TooManyConnections, [("max", max)]));
            outbox.close(GoodbyeReason::Full);
            break;
        }
        // A refused name may be followed by another, within the same time.
        session = admit(reception, caller, hello, re, outbox).await;
        if session.is_some() {
            break;
        }
    }
    if session.is_none() && outbox.closing().is_none() {
        outbox.close(GoodbyeReason::Protocol);
    }
    reception.half_open.borrow_mut().remove(&ticket);
    session
}

/// The `Hello` in a first frame; what is none is answered, and the connection is about to close.
fn read_hello(frame: std::io::Result<BytesMut>, outbox: &Outbox) -> Option<(Option<u32>, Hello)> {
    let refuse = |re, error| {
        outbox.answer(re, error);
        outbox.close(GoodbyeReason::Protocol);
        None
    };
    let Ok(frame) = frame else {
        outbox.close(GoodbyeReason::Protocol);
        return None;
    };
    match frame::decode::<Envelope<ClientMessage>>(&frame) {
        Ok(Envelope { re, body: ClientMessage::Hello(hello) }) => {
            if hello.version == PROTOCOL_VERSION {
                return Some((re, *hello));
            }
            let server = PROTOCOL_VERSION.to_string();
            refuse(re, ServerMessage::error(ErrorCode::Version, [("server", server)]))
        }
        Ok(Envelope { re, .. }) => refuse(re, ServerMessage::error(ErrorCode::HelloFirst, [])),
        Err(_) => refuse(None, ServerMessage::error(ErrorCode::BadMessage, [])),
    }
}

/// Secrets of a new session.
struct Secrets {
    up: DirectionKey,
    down: DirectionKey,
    resume: ResumeSecret,
}

impl Secrets {
    fn fresh() -> Result<Self, NoRandomness> {
        Ok(Self { up: Secret::random()?, down: Secret::random()?, resume: Secret::random()? })
    }
}

/// The device whose proof is good on this connection.
///
/// # Errors
/// What must not be said in the open was said, or the proof is not good.
fn device_of(hello: &Hello, caller: &Caller) -> Result<Option<DeviceId>, ErrorCode> {
    let brings = hello.device.is_some()
        || hello.invite.is_some()
        || hello.server_password.is_some()
        || hello.password.is_some();
    match (&caller.binding, &hello.device) {
        (None, _) if brings => Err(ErrorCode::NeedsTls),
        (None, _) | (_, None) => Ok(None),
        (Some(binding), Some(proof)) => match proof.verify(binding) {
            Some(device) => Ok(Some(device)),
            None => Err(ErrorCode::BadDevice),
        },
    }
}

/// Asks the lobby to let this client in, and compares the passwords that the lobby wants compared.
async fn ask_in(
    reception: &Reception,
    caller: &Caller,
    hello: &Hello,
    (session, fresh): (SessionId, &ResumeSecret),
    outbox: &Outbox,
) -> Result<(Admission, Commit), ServerMessage> {
    let busy = || ServerMessage::error(ErrorCode::Busy, []);
    let device = device_of(hello, caller).map_err(|code| ServerMessage::error(code, []))?;
    let given = |lock, password: &Option<Password>| password.as_ref().map(|_| lock);
    let (mut proofs, mut right) = (Proofs::default(), false);
    while proofs.count() <= PROOFS_MAX {
        let admit = Admit {
            session,
            name: hello.name.clone(),
            resume: hello.resume.clone(),
            fresh: fresh.clone(),
            outbox: outbox.clone(),
            address: caller.address,
            device,
            invite: hello.invite.clone(),
            given: (
                given(Lock::Server, &hello.server_password),
                given(Lock::Name, &hello.password),
            ),
            proofs: proofs.clone(),
            right,
        };
        let question = match reception.lobby.send(admit).await {
            Ok(Ok(admitted)) => return Ok(admitted),
            Ok(Err(Denial::Refused(Refusal(message)))) => return Err(*message),
            Ok(Err(Denial::Verify(question))) => question,
            Err(_) => return Err(busy()),
        };
        let password = match question.what {
            Lock::Server => hello.server_password.clone(),
            Lock::Name => hello.password.clone(),
            Lock::Room => None,
        };
        let record = question.record.clone();
        let compared = reception.hasher.verify(password.ok_or_else(busy)?, record).await;
        right = compared.map_err(|_| busy())?;
        proofs.add(question, right);
    }
    Err(busy())
}

async fn admit(
    reception: &Rc<Reception>,
    caller: &Caller,
    hello: Hello,
    re: Option<u32>,
    outbox: &Outbox,
) -> Option<Admitted> {
    let keyed = Secrets::fresh().map_err(|error| error.to_string()).and_then(|secrets| {
        let opener = Opener::new(reception.protection, &secrets.up);
        let sealer = Sealer::new(reception.protection, &secrets.down);
        match (opener, sealer) {
            (Ok(opener), Ok(sealer)) => Ok((secrets, opener, sealer)),
            (Err(error), _) | (_, Err(error)) => Err(error.to_string()),
        }
    });
    let (secrets, opener, sealer) = match keyed {
        Ok(keyed) => keyed,
        Err(error) => {
            tracing::error!(%error, "no session can be made");
            outbox.answer(re, ServerMessage::error(ErrorCode::Busy, []));
            return None;
        }
    };
    let id = SessionId(reception.next_session.replace(reception.next_session.get() + 1));
    let lobby = reception.lobby.clone();
    let mut admitted = Admitted { id, lobby, session: None, base: Ssrc(0), armed: true };
    let asked = ask_in(reception, caller, &hello, (id, &secrets.resume), outbox).await;
    let (admission, commit) = match asked {
        Ok(asked) => asked,
        Err(refusal) => {
            admitted.armed = false;
            outbox.answer(re, refusal);
            return None;
        }
    };
    if let Err(error) = commit.on_disk().await {
        tracing::error!(%error, "nobody is let in whose invite or device cannot be remembered");
        outbox.answer(re, ServerMessage::error(ErrorCode::NotKept, []));
        return None;
    }
    let voice = Arc::new(SessionVoice::with_rates(admission.base, reception.limits.voice()));
    admitted.base = admission.base;
    let mut codecs: Vec<Codec> = hello.codecs.into_iter().take(HELLO_ENTRIES_MAX).collect();
    codecs.retain(|codec| *codec != Codec::Unknown);
    if !codecs.contains(&Codec::Pcm) {
        // The baseline that everyone can decode.
        codecs.push(Codec::Pcm);
    }
    let session = Session::new(Parts {
        id,
        member: admission.member,
        state: hello.state,
        codecs,
        opener,
        sealer,
        voice: Arc::clone(&voice),
        outbox: outbox.clone(),
        secure: caller.binding.is_some(),
        limits: Arc::clone(&reception.limits),
        lobby: reception.lobby.clone(),
        routes: reception.routes.clone(),
    })
    .start();
    admitted.session = Some(session.clone());
    let resumed = admission.resumed.is_some();
    outbox.answer(
        re,
        ServerMessage::Welcome(Box::new(Welcome {
            version: PROTOCOL_VERSION,
            agent: concat!("parlor-server/", env!("CARGO_PKG_VERSION")).to_owned(),
            features: Vec::new(),
            id: admission.member,
            name: admission.name,
            udp_port: reception.udp_port,
            protection: reception.protection,
            up_key: secrets.up,
            down_key: secrets.down,
            streams: grants(&voice),
            control_ssrc: voice.control(),
            payload_types: formats(),
            resume: secrets.resume,
            resumed,
            standing: admission.standing,
        })),
    );
    // Behind the welcome: only then can anyone have something for him.
    let (addr, transfer) = (session.clone().recipient(), session.clone().recipient());
    let attach = Attach { session: id, addr, transfer, voice };
    reception.lobby.send(attach).await.ok()?;
    if let Some((_, Some(room))) = admission.resumed {
        // The room goes on as if nothing had happened: the session takes its old place itself.
        let message = Some(ClientMessage::join(room));
        let _ = session.send(super::session::FromClient { re: None, message }).await;
    }
    Some(admitted)
}

/// The payload types of the voice protocol. RED has the clock of what it carries.
fn formats() -> Vec<PayloadFormat> {
    let formats = [
        (PT_L16, "L16", L16_RATE, 1),
        (PT_OPUS, "opus", OPUS_RATE, 2),
        (PT_RED, "red", OPUS_RATE, 2),
        (PT_RED, "red", L16_RATE, 1),
    ];
    let format = |(payload_type, encoding, clock_hz, channels): (_, &str, _, _)| PayloadFormat {
        payload_type,
        encoding: encoding.to_owned(),
        clock_hz,
        channels,
    };
    formats.into_iter().map(format).collect()
}

fn grants(voice: &SessionVoice) -> Vec<StreamGrant> {
    let base: Ssrc = voice.base();
    debug_assert_eq!(base.0 % SSRCS_PER_SESSION, 0);
    let clocks = CLOCKS.iter().enumerate();
    clocks.map(|(k, clock_hz)| StreamGrant { ssrc: voice.stream(k), clock_hz: *clock_hz }).collect()
}

/// Voice that comes inside the control connection, on its way to the forwarder that owns it. It
/// goes past the session, and is bounded here as it is there: one client's flood must not fill the
/// way that all share.
struct VoiceIn {
    session: SessionId,
    forwarder: Option<mpsc::Sender<StreamDatagram>>,
    allowance: Allowance,
}

impl VoiceIn {
    fn new(admitted: &Admitted, reception: &Reception) -> Self {
        let owner = admitted.base.owner(reception.streams.len());
        Self {
            session: admitted.id,
            forwarder: reception.streams.get(owner).cloned(),
            allowance: Allowance::full(reception.limits.voice(), clock::now()),
        }
    }

    fn take(&mut self, bytes: Vec<u8>) {
        // What no datagram could be is not kept for the forwarder to find out.
        if bytes.len() <= DATAGRAM_BYTES_MAX
            && self.allowance.take(bytes.len(), clock::now())
            && let Some(forwarder) = &self.forwarder
        {
            // Full: the forwarder is behind, and voice that waits is stale.
            let _ = forwarder.try_send(StreamDatagram { session: self.session, bytes });
        }
    }
}

/// Hands the client's messages to its session, one after the other, until one side ends.
async fn listen<S: AsyncRead>(
    session: &Addr<Session>,
    mut voice: VoiceIn,
    frames: &mut Frames<S>,
    outbox: &Outbox,
) -> LeaveReason {
    loop {
        let frame = match timeout(LIVENESS_TIMEOUT, frame::next(frames)).await {
            Err(_) => {
                outbox.close(GoodbyeReason::Timeout);
                return LeaveReason::Timeout;
            }
            Ok(None) => {
                return if outbox.closing().is_some() {
                    LeaveReason::Quit
                } else {
                    LeaveReason::Lost
                };
            }
            Ok(Some(Err(error))) if error.kind() == std::io::ErrorKind::InvalidData => {
                outbox.close(GoodbyeReason::Protocol);
                return LeaveReason::CutOff;
            }
            Ok(Some(Err(_))) => return LeaveReason::Lost,
            Ok(Some(Ok(frame))) => frame,
        };
        let mut message = from_frame(&frame);
        if let Some(ClientMessage::Voice { packet }) = &mut message.message {
            voice.take(std::mem::take(packet));
            continue;
        }
        let quits = matches!(message.message, Some(ClientMessage::Bye));
        if session.send(message).await.is_err() || quits {
            return LeaveReason::Quit;
        }
    }
}

pub mod door;

#[cfg(test)]
mod tests {
    use super::door::Security;
    use super::*;
    use crate::actors::access::gate::Gate;
    use crate::net::limits::PING_INTERVAL;
    use std::time::Duration;
    use tokio::io::DuplexStream;

    /// A reception whose forwarders take everything at once, so that no socket is needed and the
    /// clock can be a virtual one.
    fn reception() -> Rc<Reception> {
        reception_with(Limits::default())
    }

    fn reception_with(limits: Limits) -> Rc<Reception> {
        let limits = Arc::new(limits);
        let routes = Routes::new(1);
        routes.feeds()[0].retire();
        let lobby = Lobby::new(0, routes.clone(), Gate::open(), Arc::clone(&limits)).start();
        let (streams, _) = mpsc::channel(1);
        let hasher = Hasher::default();
        let protection = Protection::Plain;
        Rc::new(Reception::new(lobby, routes, vec![streams], 0, hasher, limits, protection))
    }

    struct Client {
        frames: Frames<DuplexStream>,
        write: WriteHalf<DuplexStream>,
    }

    impl Client {
        fn knock(reception: &Rc<Reception>) -> Self {
            let (near, far) = tokio::io::duplex(4096);
            actix_rt::spawn(serve(Rc::clone(reception), far, Caller::default()));
            let (read, write) = tokio::io::split(near);
            Self { frames: FramedRead::new(read, frame::codec()), write }
        }

        async fn say(&mut self, body: ClientMessage) {
            self.write.write_all(&frame::encode(&Envelope::event(body)).unwrap()).await.unwrap();
        }

        async fn read(&mut self) -> Option<ServerMessage> {
            let frame = frame::next(&mut self.frames).await?.ok()?;
            Some(frame::decode::<Envelope<ServerMessage>>(&frame).unwrap().body)
        }

        async fn join(reception: &Rc<Reception>, name: &str) -> Self {
            let mut client = Self::knock(reception);
            let hello = Hello::new(name);
            client.say(ClientMessage::Hello(Box::new(hello))).await;
            client.say(ClientMessage::join("hall")).await;
            assert!(matches!(client.read().await, Some(ServerMessage::Welcome(_))));
            assert!(matches!(client.read().await, Some(ServerMessage::Joined { .. })));
            client
        }
    }

    #[actix::test]
    async fn a_member_without_a_sign_of_life_is_removed_and_told_why() {
        tokio::time::pause();
        let reception = reception();
        let begun = Instant::now();
        let mut silent = Client::join(&reception, "silent").await;
        let mut alive = Client::join(&reception, "alive").await;
        let pings = async {
            loop {
                tokio::time::sleep(PING_INTERVAL).await;
                alive.say(ClientMessage::Ping { token: 0 }).await;
                match alive.read().await {
                    Some(ServerMessage::MemberLeft { name, reason, .. }) => return (name, reason),
                    other => assert_eq!(other, Some(ServerMessage::Pong { token: 0 })),
                }
            }
        };
        let (name, reason) = pings.await;
        assert_eq!((name.as_str(), reason), ("silent", LeaveReason::Timeout));
        let elapsed = begun.elapsed();
        assert!(elapsed >= LIVENESS_TIMEOUT && elapsed < LIVENESS_TIMEOUT + 2 * PING_INTERVAL);
        let mut last = None;
        while let Some(message) = silent.read().await {
            last = Some(message);
        }
        assert_eq!(last, Some(ServerMessage::goodbye(GoodbyeReason::Timeout)));
    }

    #[test]
    fn a_flood_of_voice_inside_one_connection_leaves_room_for_the_others() {
        let (forwarder, mut way) = mpsc::channel(10_000);
        let allowance = Allowance::full(Limits::default().voice(), clock::now());
        let mut voice = VoiceIn { session: SessionId(1), forwarder: Some(forwarder), allowance };
        for _ in 0..5000 {
            voice.take(vec![0; 100]);
            voice.take(vec![0; DATAGRAM_BYTES_MAX + 1]);
        }
        let passed = std::iter::from_fn(|| way.try_recv().ok()).count();
        // A burst, and what a slow machine may add while this runs.
        assert!((300..=500).contains(&passed), "{passed}");
    }

    #[actix::test]
    async fn too_many_connections_of_one_address_are_told_so_and_others_are_not_disturbed() {
        let limits = Limits { connections_per_address: 2, ..Limits::default() };
        let reception = reception_with(limits);
        let knock = |address: &str| {
            let (near, far) = tokio::io::duplex(4096);
            let address = Some(address.parse().unwrap());
            let caller = Caller { address, ..Caller::default() };
            actix_rt::spawn(door::open(Rc::clone(&reception), Security::Plain, far, caller));
            let (read, write) = tokio::io::split(near);
            Client { frames: FramedRead::new(read, frame::codec()), write }
        };
        let mut came = 0;
        let mut hello = async |mut client: Client| {
            came += 1;
            let hello = Hello::new(&format!("user {came}"));
            client.say(ClientMessage::Hello(Box::new(hello))).await;
            let answer = client.read().await;
            (client, answer)
        };
        let (first, answer) = hello(knock("192.0.2.1")).await;
        assert!(matches!(answer, Some(ServerMessage::Welcome(_))));
        let _second = hello(knock("192.0.2.1")).await;
        let (_third, answer) = hello(knock("192.0.2.1")).await;
        let max = ("max", "2".to_owned());
        assert_eq!(answer, Some(ServerMessage::error(ErrorCode::TooManyConnections, [max])));
        let mut idle: Vec<Client> =
            (0..2 * CONNECTIONS_TURNED_AWAY_MAX).map(|_| knock("192.0.2.1")).collect();
        let mut last = idle.pop().unwrap();
        assert_eq!(last.read().await, None, "far too many get no answer");
        let (_other, answer) = hello(knock("192.0.2.2")).await;
        assert!(matches!(answer, Some(ServerMessage::Welcome(_))));
        let (_own, answer) = hello(knock("127.0.0.1")).await;
        assert!(matches!(answer, Some(ServerMessage::Welcome(_))));
        drop((first, idle));
        let gone = async {
            loop {
                let (_again, answer) = hello(knock("192.0.2.1")).await;
                if matches!(answer, Some(ServerMessage::Welcome(_))) {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), gone).await.unwrap();
    }

    #[actix::test]
    async fn who_says_no_hello_in_time_is_sent_away() {
        tokio::time::pause();
        let reception = reception();
        let begun = Instant::now();
        let mut client = Client::knock(&reception);
        let goodbye = client.read().await;
        assert_eq!(goodbye, Some(ServerMessage::goodbye(GoodbyeReason::HelloTimeout)));
        assert!(begun.elapsed() >= HELLO_TIMEOUT);
        assert_eq!(client.read().await, None);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(reception.open(), 0);
    }
}
