//! A server that is killed in the middle of its writes, again and again: what it has confirmed is there
//! after the next start, and what it has not is there as a whole or not at all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parlor::actors::control_socket::ask;
use parlor::net::device::DeviceKey;
use parlor::net::frame;
use parlor::net::invite::{Invite, InviteToken};
use parlor::net::message::{ClientMessage, Envelope, ErrorCode, Hello, ServerMessage, Welcome};
use parlor::net::moderation::{
    AdminReply, AdminRequest, InviteInfo, Moderation, Report, Role, Sanction, Target,
};
use parlor::net::secret::{Password, Secret};
use parlor::net::tls::{self, Judge};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use crate::support::peer::{DEADLINE, until};
use crate::support::process::{Running, command};
use crate::support::random::Random;
use crate::support::state;

/// When the server is killed: as soon as one of these is confirmed, which must not be too early; or somewhere
/// in the middle of whatever it does.
const ROUNDS: [Option<What>; 7] = [
    Some(What::Redemption),
    None,
    Some(What::Name),
    Some(What::Invite),
    Some(What::Ban),
    Some(What::Room),
    None,
];
const OWNER: u64 = 0;

struct Server {
    running: Running,
    tcp: String,
    state: PathBuf,
}

impl Server {
    fn start(state: &Path) -> Self {
        let password = state.join("password");
        std::fs::create_dir_all(state).unwrap();
        parlor::net::private::make_directory(state).unwrap();
        std::fs::write(&password, "sesame\n").unwrap();
        let mut program = command(env!("CARGO_BIN_EXE_parlor-server"));
        program.args(["--tcp", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--server-password-file"]);
        program.arg(&password).env(state::SERVER, state);
        let mut running = Running::start("parlor-server", program);
        let tcp = running.wait_for("start line", DEADLINE, |line| {
            Some(line.strip_prefix("listening on tcp ")?.split_once(" and udp ")?.0.to_owned())
        });
        Self { running, tcp, state: state.to_owned() }
    }

    async fn order(&self, order: Moderation) -> Report {
        let reply = ask(&self.state, &AdminRequest::Moderate { order }).await.unwrap();
        let AdminReply::Report { report } = reply else { panic!("{reply:?}") };
        report
    }

    async fn invites(&self) -> Vec<InviteInfo> {
        match self.order(Moderation::ListInvites).await {
            Report::Invites { invites, total } if invites.len() as u64 == total => invites,
            other => panic!("{other:?}"),
        }
    }

    async fn sanctions(&self) -> Vec<Sanction> {
        match self.order(Moderation::ListSanctions).await {
            Report::Sanctions { sanctions, total } if sanctions.len() as u64 == total => sanctions,
            other => panic!("{other:?}"),
        }
    }
}

// ---- a client that the server may leave in the lurch ---------------------------------------

#[derive(Debug)]
struct Anyone;

impl Judge for Anyone {
    fn judge(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: UnixTime,
    ) -> Result<(), rustls::Error> {
        Ok(())
    }
}

/// Somebody on a device of his own, inside. Whatever he asks, the server may be dead: then there is no answer.
struct Guest {
    frames: FramedRead<ReadHalf<TlsStream<TcpStream>>, LengthDelimitedCodec>,
    write: WriteHalf<TlsStream<TcpStream>>,
    standing_operator: bool,
}

/// What he brings along.
#[derive(Default, Clone)]
struct Brings {
    invite: Option<InviteToken>,
    password: Option<Password>,
}

fn device(number: u64) -> DeviceKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    DeviceKey::from_seed(&Secret::new(seed)).unwrap()
}

impl Guest {
    /// Comes in: refused, or no answer at all.
    async fn come(
        tcp: &str,
        name: &str,
        number: u64,
        brings: Brings,
    ) -> Option<Result<Self, ErrorCode>> {
        let stream = TcpStream::connect(tcp).await.ok()?;
        let config = Arc::new(tls::client_config(Arc::new(Anyone)).unwrap());
        let host = ServerName::try_from("localhost").unwrap();
        let stream = tokio_rustls::TlsConnector::from(config).connect(host, stream).await.ok()?;
        let binding = tls::channel_binding(stream.get_ref().1)?;
        let (read, write) = tokio::io::split(stream);
        let frames = FramedRead::new(read, frame::codec());
        let mut guest = Self { frames, write, standing_operator: false };
        let hello = Hello {
            device: Some(device(number).prove(&binding)),
            invite: brings.invite,
            password: brings.password,
            ..Hello::new(name)
        };
        match guest.request(ClientMessage::Hello(Box::new(hello))).await? {
            ServerMessage::Welcome(welcome) => {
                let Welcome { standing, .. } = *welcome;
                guest.standing_operator = standing.role == Some(Role::Operator);
                Some(Ok(guest))
            }
            ServerMessage::Error { code, .. } => Some(Err(code)),
            other => panic!("{other:?}"),
        }
    }

    async fn request(&mut self, message: ClientMessage) -> Option<ServerMessage> {
        let frame = frame::encode(&Envelope::answer(Some(1), message)).unwrap();
        self.write.write_all(&frame).await.ok()?;
        self.write.flush().await.ok()?;
        loop {
            let next = tokio::time::timeout(DEADLINE, frame::next(&mut self.frames));
            let frame = next.await.expect("an answer, or the end")?.ok()?;
            let message: Envelope<ServerMessage> = frame::decode(&frame).unwrap();
            if message.re == Some(1) {
                return Some(message.body);
            }
        }
    }

    /// Leaves, and waits until the name is free.
    async fn leave(mut self) {
        let frame = frame::encode(&Envelope::event(ClientMessage::Bye)).unwrap();
        let _ = self.write.write_all(&frame).await;
        while let Some(Ok(_)) = frame::next(&mut self.frames).await {}
    }
}

// ---- what was asked, and what was answered --------------------------------------------------

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// No answer has come: it happened or it did not.
    Asked,
    Confirmed,
    Refused,
}

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Invite,
    Revocation,
    Ban,
    Room,
    Redemption,
    Name,
}

struct Given {
    id: u64,
    token: InviteToken,
    uses: u32,
    revoked: Option<Fate>,
    /// The devices that came with it.
    tried: BTreeMap<u64, Fate>,
}

#[derive(Default)]
struct Ledger {
    invites: Vec<Given>,
    /// Names that are banned.
    bans: BTreeMap<String, Fate>,
    /// Rooms that have a password.
    rooms: BTreeMap<String, Fate>,
    /// Registered names; each is its own password.
    names: BTreeMap<String, Fate>,
    confirmed: usize,
    last: Option<What>,
    next: u64,
}

type Shared = Rc<RefCell<Ledger>>;

impl Ledger {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn confirm(&mut self, what: What) {
        self.confirmed += 1;
        self.last = Some(what);
    }

    /// Somebody with the newest invite: his device, the invite's place and token.
    fn newest(&mut self) -> Option<(u64, usize, InviteToken)> {
        let number = self.number();
        let place = self.invites.len().checked_sub(1)?;
        let given = &mut self.invites[place];
        given.tried.insert(number, Fate::Asked);
        Some((number, place, given.token.clone()))
    }

    /// An invite to be revoked: one in each round, and none that guests still try, since that would count as
    /// guessing.
    fn pick_to_revoke(&mut self) -> Option<u64> {
        let revoked = self.invites.iter().any(|given| given.revoked.is_some());
        let oldest = self.invites.len() >= 4 && !revoked;
        let given = self.invites.first_mut().filter(|_| oldest)?;
        given.revoked = Some(Fate::Asked);
        Some(given.id)
    }

    /// How many changes the kill came into the middle of.
    fn unanswered(&self) -> usize {
        let tried = self.invites.iter().flat_map(|given| given.tried.values());
        let revoked = self.invites.iter().filter_map(|given| given.revoked.as_ref());
        let others = self.bans.values().chain(self.rooms.values()).chain(self.names.values());
        tried.chain(revoked).chain(others).filter(|fate| **fate == Fate::Asked).count()
    }
}

fn password(text: &str) -> Option<Password> {
    Password::new(text.to_owned()).ok()
}

/// An order that is carried out. `None`: the server is dead.
async fn order(directory: &Path, order: Moderation) -> Option<Report> {
    match ask(directory, &AdminRequest::Moderate { order }).await.ok()? {
        AdminReply::Report { report } => Some(report),
        other => panic!("{other:?}"),
    }
}

/// The owner at his console: invites, bans, locked rooms, and now and then an invite revoked.
async fn console(state: PathBuf, ledger: Shared) {
    loop {
        let number = ledger.borrow_mut().number();
        let uses = if number.is_multiple_of(2) { 1 } else { 3 };
        let terms =
            Moderation::Invite { room: None, seconds: None, uses: Some(uses), operator: false };
        let Some(Report::Invited { id, line }) = order(&state, terms).await else { return };
        let token = line.parse::<Invite>().unwrap().token;
        let given = Given { id, token, uses, revoked: None, tried: BTreeMap::new() };
        ledger.borrow_mut().invites.push(given);
        ledger.borrow_mut().confirm(What::Invite);

        let (name, room) = (format!("bad {number}"), format!("den {number}"));
        ledger.borrow_mut().bans.insert(name.clone(), Fate::Asked);
        let target = Target::Name(name.clone());
        let ban = Moderation::Ban { target, room: None, seconds: None, reason: None };
        let Some(Report::Sanctioned { .. }) = order(&state, ban).await else { return };
        ledger.borrow_mut().bans.insert(name, Fate::Confirmed);
        ledger.borrow_mut().confirm(What::Ban);

        ledger.borrow_mut().rooms.insert(room.clone(), Fate::Asked);
        let lock = Moderation::RoomPassword { room: room.clone(), password: password("locked") };
        let Some(Report::Done) = order(&state, lock).await else { return };
        ledger.borrow_mut().rooms.insert(room, Fate::Confirmed);
        ledger.borrow_mut().confirm(What::Room);

        let Some(id) = ledger.borrow_mut().pick_to_revoke() else { continue };
        let Some(Report::Done) = order(&state, Moderation::RevokeInvite { id }).await else {
            return;
        };
        let mut ledger = ledger.borrow_mut();
        let given = ledger.invites.iter_mut().find(|given| given.id == id).unwrap();
        given.revoked = Some(Fate::Confirmed);
        ledger.confirm(What::Revocation);
    }
}

/// One after the other comes with the newest invite, and registers his name. Several of these at once fight
/// for the last use.
async fn guests(tcp: String, ledger: Shared) {
    loop {
        let Some((number, place, token)) = ledger.borrow_mut().newest() else {
            tokio::task::yield_now().await;
            continue;
        };
        let name = format!("guest {number}");
        let brings = Brings { invite: Some(token), ..Brings::default() };
        let Some(came) = Guest::come(&tcp, &name, number, brings).await else { return };
        let mut guest = {
            let mut ledger = ledger.borrow_mut();
            let fate = ledger.invites[place].tried.get_mut(&number).unwrap();
            match came {
                Ok(guest) => {
                    *fate = Fate::Confirmed;
                    ledger.confirm(What::Redemption);
                    guest
                }
                Err(code) => {
                    assert_eq!(code, ErrorCode::BadInvite);
                    *fate = Fate::Refused;
                    continue;
                }
            }
        };
        ledger.borrow_mut().names.insert(name.clone(), Fate::Asked);
        let register = ClientMessage::Register { password: password(&name).unwrap() };
        match guest.request(register).await {
            Some(ServerMessage::Registered { .. }) => {}
            None => return,
            other => panic!("{other:?}"),
        }
        ledger.borrow_mut().names.insert(name, Fate::Confirmed);
        ledger.borrow_mut().confirm(What::Name);
    }
}

// ---- what is there after the next start -----------------------------------------------------

impl Server {
    /// Whether this device comes in without an invite.
    async fn knows(&self, device: u64) -> bool {
        let name = format!("as {device}");
        match Guest::come(&self.tcp, &name, device, Brings::default()).await.expect("an answer") {
            Ok(guest) => {
                guest.leave().await;
                true
            }
            Err(code) => {
                assert_eq!(code, ErrorCode::ServerPassword);
                false
            }
        }
    }

    async fn comes_with(&self, number: u64, token: &InviteToken) -> bool {
        let brings = Brings { invite: Some(token.clone()), ..Brings::default() };
        let came = Guest::come(&self.tcp, &format!("late {number}"), number, brings).await;
        match came.expect("an answer") {
            Ok(guest) => {
                guest.leave().await;
                true
            }
            Err(code) => {
                assert_eq!(code, ErrorCode::BadInvite);
                false
            }
        }
    }

    async fn check(&self, ledger: &mut Ledger) {
        let owner = Guest::come(&self.tcp, "Olga", OWNER, Brings::default()).await;
        let mut owner = owner.expect("an answer").expect("the owner is known");
        assert!(owner.standing_operator);
        let rooms = match owner.request(ClientMessage::ListRooms).await {
            Some(ServerMessage::Rooms { rooms, more: false, .. }) => rooms,
            other => panic!("{other:?}"),
        };
        owner.leave().await;
        let sanctions = self.sanctions().await;
        settle(&mut ledger.rooms, |name| {
            rooms.iter().any(|room| room.name.as_str() == name && room.locked)
        });
        settle(&mut ledger.bans, |name| {
            sanctions.iter().any(|sanction| sanction.target == format!("name {name}"))
        });
        self.check_invites(ledger).await;
        self.check_names(ledger).await;
        if let Some((name, _)) = ledger.bans.iter().rfind(|(_, fate)| **fate == Fate::Confirmed) {
            let banned = Guest::come(&self.tcp, name, 1_000_000, Brings::default()).await;
            assert_eq!(banned.expect("an answer").err(), Some(ErrorCode::Banned), "{name}");
        }
    }

    async fn check_invites(&self, ledger: &mut Ledger) {
        let listed = self.invites().await;
        let mut invites = std::mem::take(&mut ledger.invites);
        for given in &mut invites {
            let mut used = 0;
            for (device, fate) in &mut given.tried {
                let known = self.knows(*device).await;
                used += u32::from(known);
                match fate {
                    Fate::Asked => *fate = if known { Fate::Confirmed } else { Fate::Refused },
                    Fate::Confirmed => assert!(known, "device {device} of invite {}", given.id),
                    Fate::Refused => assert!(!known, "device {device} of invite {}", given.id),
                }
            }
            assert!(used <= given.uses, "invite {} was used {used} times", given.id);
            let left = listed.iter().find(|one| one.id == given.id).map(|one| one.uses_left);
            match given.revoked {
                Some(Fate::Confirmed) => assert_eq!(left, None, "{} is revoked", given.id),
                Some(_) if left.is_none() => given.revoked = Some(Fate::Confirmed),
                _ => {
                    given.revoked = None;
                    assert_eq!(left.unwrap_or(0), given.uses - used, "invite {}", given.id);
                }
            }
            // Good for those that are left, and for nobody else.
            let revoked = given.revoked.is_some();
            let left = if revoked { 0 } else { given.uses - used };
            for k in 0..=left {
                let came = self.comes_with(ledger.number(), &given.token).await;
                assert_eq!(came, k < left, "invite {}: {k} of {left}", given.id);
            }
        }
        // They are used up now, and are not looked at again.
    }

    async fn check_names(&self, ledger: &mut Ledger) {
        let mut last = None;
        for (name, fate) in &mut ledger.names {
            let stranger = Guest::come(&self.tcp, name, 1_000_000, Brings::default()).await;
            let code = stranger.expect("an answer").err().expect("the server is closed");
            let kept = code == ErrorCode::NameRegistered;
            assert!(kept || code == ErrorCode::ServerPassword, "{name}: {code:?}");
            assert!(kept || *fate == Fate::Asked, "{name} was confirmed");
            *fate = if kept { Fate::Confirmed } else { Fate::Refused };
            last = last.or(kept.then(|| name.clone()));
        }
        ledger.names.retain(|_, fate| *fate == Fate::Confirmed);
        // The password came with the name.
        if let Some(name) = last {
            let brings = Brings { password: password(&name), ..Brings::default() };
            let owner = Guest::come(&self.tcp, &name, 1_000_000 + ledger.number(), brings).await;
            owner.expect("an answer").expect("the password is right").leave().await;
        }
    }
}

/// What was confirmed is there; what was only asked for is noted as it turned out.
fn settle(asked: &mut BTreeMap<String, Fate>, there: impl Fn(&str) -> bool) {
    for (name, fate) in asked.iter() {
        assert!(*fate != Fate::Confirmed || there(name), "{name} was confirmed, and is gone");
    }
    asked.retain(|name, fate| {
        *fate = Fate::Confirmed;
        there(name)
    });
}

fn database_is_whole(state: &Path) {
    let database = rusqlite::Connection::open(state.join("parlor.db")).unwrap();
    let ask = |what: &str| {
        let answer = database.query_row(what, [], |row| row.get::<_, String>(0));
        answer.unwrap_or_else(|error| error.to_string())
    };
    assert_eq!(ask("PRAGMA integrity_check"), "ok");
    let loose: i64 = database
        .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(loose, 0);
}

#[actix::test]
async fn what_was_confirmed_survives_a_kill_and_what_was_not_is_never_half_done() {
    let mut random = Random::from_env(23);
    let state = state::fresh();
    let mut server = Server::start(&state);
    let line = server.running.wait_for("owner's line", DEADLINE, |line| {
        line.strip_prefix("to become this server's operator (once): parlor '").map(str::to_owned)
    });
    let token = line.trim_end_matches('\'').parse::<Invite>().unwrap().token;
    let brings = Brings { invite: Some(token), ..Brings::default() };
    let owner = Guest::come(&server.tcp, "Olga", OWNER, brings).await;
    owner.expect("an answer").expect("let in").leave().await;
    let ledger = Shared::default();
    for (round, moment) in ROUNDS.into_iter().enumerate() {
        let before = ledger.borrow().confirmed;
        let mut busy = vec![actix_rt::spawn(console(state.clone(), Rc::clone(&ledger)))];
        for _ in 0..3 {
            busy.push(actix_rt::spawn(guests(server.tcp.clone(), Rc::clone(&ledger))));
        }
        let enough = before + 5 + random.below(20);
        let reached = || {
            let ledger = ledger.borrow();
            ledger.confirmed >= enough && (moment.is_none() || ledger.last == moment)
        };
        until("changes", || std::future::ready(reached())).await;
        if moment.is_none() {
            tokio::time::sleep(Duration::from_micros(random.below(8000) as u64)).await;
        }
        let Server { running, .. } = server;
        drop(running);
        for task in busy {
            tokio::time::timeout(DEADLINE, task).await.expect("it ends with the server").unwrap();
        }
        server = Server::start(&state);
        let mut asked = ledger.take();
        let confirmed = asked.confirmed - before;
        println!("round {round}: {confirmed} confirmed, {} in the middle", asked.unanswered());
        server.check(&mut asked).await;
        database_is_whole(&state);
        assert!(asked.bans.len() > round && asked.rooms.len() > round);
        ledger.replace(asked);
    }
    assert!(!ledger.borrow().names.is_empty());
}
