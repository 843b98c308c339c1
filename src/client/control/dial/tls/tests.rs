//! The dialer against servers, honest and not, over streams in memory.

use super::*;
use crate::client::control::dial::Trust;
use crate::client::event::{ErrorKind, Event};
use crate::client::texts;
use crate::net::device::{ChannelBinding, DeviceKey};
use crate::net::fingerprint::Fingerprint;
use crate::net::secret::Secret;
use crate::net::tls::test_support::{self_signed, server};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsAcceptor;

const HOST: &str = "chat.example";

/// A client with a state directory of its own, and authorities that the test chooses.
struct Client {
    dialer: TlsDialer,
    _home: tempfile::TempDir,
}

/// What the client made of a server, and what the server heard of the client after the handshake.
struct Outcome {
    dialed: Result<(Trust, Option<ChannelBinding>), DialError>,
    heard: Option<(Vec<u8>, ChannelBinding)>,
}

impl Client {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let state = ClientState::open(Some(home.path().join("state"))).unwrap();
        let authorities = Authorities::default();
        authorities.0.set(None).unwrap();
        let dialer = TlsDialer {
            target: TcpDialer { host: HOST.to_owned(), port: 8888 },
            expect: Expect::Nothing,
            state,
            authorities: Arc::new(authorities),
        };
        Self { dialer, _home: home }
    }

    fn trusting(mut self, authority: &Authority) -> Self {
        self.trust(authority);
        self
    }

    fn trust(&mut self, authority: &Authority) {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.clone()).unwrap();
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), tls::provider());
        let authorities = Authorities::default();
        authorities.0.set(Some(verifier.build().unwrap())).unwrap();
        self.dialer.authorities = Arc::new(authorities);
    }

    fn expecting(mut self, expect: Expect) -> Self {
        self.dialer.expect = expect;
        self
    }

    async fn secure(
        &self,
        near: DuplexStream,
    ) -> Result<Dialed<TlsStream<DuplexStream>>, DialError> {
        self.dialer.secure(near, "10.0.0.9:8888".parse().unwrap()).await
    }

    /// Connects, and says a secret as soon as it may.
    async fn meet(&self, config: Arc<ServerConfig>) -> Outcome {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let listening = async {
            let mut stream = TlsAcceptor::from(config).accept(far).await.ok()?;
            let binding = tls::channel_binding(stream.get_ref().1)?;
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard).await;
            Some((heard, binding))
        };
        let speaking = async {
            let dialed = self.secure(near).await;
            let Dialed { mut stream, trust, binding, .. } = dialed?;
            stream.write_all(b"secret").await.unwrap();
            stream.shutdown().await.unwrap();
            Ok((trust, binding))
        };
        let (heard, dialed) = tokio::join!(listening, speaking);
        Outcome { dialed, heard }
    }

    async fn trust_in(&self, certified: &CertifiedKey) -> Result<Trust, LocalError> {
        match self.meet(server(certified)).await.dialed {
            Ok((trust, _)) => Ok(trust),
            Err(DialError::Untrusted { code, .. }) => Err(code),
            Err(DialError::Unreachable(why)) => panic!("{why}"),
        }
    }

    fn remembered(&self) -> String {
        std::fs::read_to_string(self.dialer.state.known_servers()).unwrap_or_default()
    }
}

/// A certificate authority.
struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn vouches(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertifiedKey {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        CertifiedKey::from_der(vec![certificate.der().clone()], der, &tls::provider()).unwrap()
    }

    fn vouches_for(&self, name: &str) -> CertifiedKey {
        self.vouches(name, |_| {})
    }
}

fn print(certified: &CertifiedKey) -> Fingerprint {
    tls::fingerprint(certified.end_entity_cert().unwrap()).unwrap()
}

#[tokio::test]
async fn a_server_is_remembered_at_first_use_and_known_from_then_on() {
    let client = Client::new();
    let it = self_signed("parlor-server");
    assert_eq!(client.trust_in(&it).await, Ok(Trust::FirstUse(print(&it))));
    assert!(client.remembered().contains(&format!("{HOST}:8888 {}", print(&it))));
    assert_eq!(client.trust_in(&it).await, Ok(Trust::Known));
}

#[tokio::test]
async fn a_changed_key_is_refused_with_what_to_do_and_nothing_is_sent_to_it() {
    let client = Client::new();
    let (it, other) = (self_signed("parlor-server"), self_signed("parlor-server"));
    client.trust_in(&it).await.unwrap();
    let outcome = client.meet(server(&other)).await;
    assert!(outcome.heard.is_none(), "not even the handshake is brought to its end");
    let Err(DialError::Untrusted { code: LocalError::KeyChanged, args }) = outcome.dialed else {
        panic!("{:?}", outcome.dialed.map(|(trust, _)| trust));
    };
    let file = client.dialer.state.known_servers().display().to_string();
    assert_eq!((&args["old"], &args["new"]), (&print(&it).to_string(), &print(&other).to_string()));
    assert_eq!((&args["file"], args["line"].as_str()), (&file, "3"));
    assert_eq!(args["server"], format!("{HOST}:8888"));
    assert_eq!(client.trust_in(&it).await, Ok(Trust::Known), "the one before is still known");
}

#[tokio::test]
async fn a_named_key_is_held_to_from_the_start() {
    let (it, other) = (self_signed("x"), self_signed("x"));
    let expect = Expect::Key { fingerprint: print(&it), from_now_on: true };
    let client = Client::new().expecting(expect);
    let outcome = client.meet(server(&other)).await;
    assert!(outcome.heard.is_none());
    assert!(matches!(outcome.dialed, Err(DialError::Untrusted { code: LocalError::OtherKey, .. })));
    assert!(!client.remembered().contains("SHA256:"));
    assert_eq!(client.trust_in(&it).await, Ok(Trust::Known));
    let client = client.expecting(Expect::Nothing);
    assert_eq!(client.trust_in(&other).await, Err(LocalError::KeyChanged));
}

#[tokio::test]
async fn who_shows_a_certificate_without_holding_its_key_is_not_believed() {
    let client = Client::new();
    let (it, thief) = (self_signed("x"), self_signed("x"));
    let stolen = CertifiedKey::new(it.cert.clone(), Arc::clone(&thief.key));
    // At first use nobody knows better, but the signature of the handshake.
    let outcome = client.meet(server(&stolen)).await;
    assert!(outcome.heard.is_none());
    assert!(matches!(outcome.dialed, Err(DialError::Unreachable(_))));
    assert!(!client.remembered().contains("SHA256:"), "{}", client.remembered());
    client.trust_in(&it).await.unwrap();
    let outcome = client.meet(server(&stolen)).await;
    assert!(outcome.heard.is_none() && outcome.dialed.is_err());
}

#[tokio::test]
async fn a_certificate_that_an_authority_vouches_for_may_be_renewed_with_another_key() {
    let authority = Authority::new();
    let client = Client::new().trusting(&authority);
    for _ in 0..2 {
        let trust = client.trust_in(&authority.vouches_for(HOST)).await;
        assert_eq!(trust, Ok(Trust::Certificate));
    }
    assert!(client.remembered().contains(&format!("{HOST}:8888 ca\n")));
    assert!(!client.remembered().contains("SHA256:"));
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let authority = Authority::new();
    let client = Client::new().trusting(&authority);
    let other = authority.vouches_for("other.example");
    assert_eq!(client.trust_in(&other).await, Err(LocalError::CertificateForOthers));
    client.trust_in(&authority.vouches_for(HOST)).await.unwrap();
    assert_eq!(client.trust_in(&other).await, Err(LocalError::CertificateLost));
}

#[tokio::test]
async fn a_server_known_by_its_certificate_is_not_taken_without_a_good_one() {
    let authority = Authority::new();
    let client = Client::new().trusting(&authority);
    client.trust_in(&authority.vouches_for(HOST)).await.unwrap();
    let expired = authority.vouches(HOST, |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let stranger = Authority::new().vouches_for(HOST);
    for bad in [&*self_signed(HOST), &expired, &stranger] {
        assert_eq!(client.trust_in(bad).await, Err(LocalError::CertificateLost));
    }
    let again = client.trust_in(&authority.vouches_for(HOST)).await;
    assert_eq!(again, Ok(Trust::Certificate));
}

#[tokio::test]
async fn a_pinned_key_gives_way_to_no_certificate_until_the_user_says_so() {
    let authority = Authority::new();
    let mut client = Client::new();
    let before = self_signed(HOST);
    client.trust_in(&before).await.unwrap();
    client.trust(&authority);
    let after = authority.vouches_for(HOST);
    let outcome = client.meet(server(&after)).await;
    assert!(outcome.heard.is_none(), "nothing is sent to it");
    let Err(DialError::Untrusted { code: LocalError::KeyChanged, args }) = outcome.dialed else {
        panic!("{:?}", outcome.dialed.map(|(trust, _)| trust));
    };
    assert_eq!(
        (&args["old"], &args["new"]),
        (&print(&before).to_string(), &print(&after).to_string())
    );
    let code = ErrorKind::Local(LocalError::KeyChanged);
    let words = texts::words(&Event::Error { code, args, fatal: true }).concat();
    assert!(words.contains("authority vouches") && words.contains("remove line 3"), "{words}");
    assert_eq!(client.trust_in(&before).await, Ok(Trust::Known), "the one before is still known");
    // The line is gone: it is known by its certificate, and there is no way back.
    std::fs::remove_file(client.dialer.state.known_servers()).unwrap();
    assert_eq!(client.trust_in(&after).await, Ok(Trust::Certificate));
    assert_eq!(client.trust_in(&before).await, Err(LocalError::CertificateLost));
}

#[tokio::test]
async fn who_must_be_vouched_for_is_not_taken_at_first_use() {
    let authority = Authority::new();
    let client = Client::new().trusting(&authority).expecting(Expect::Vouched);
    assert_eq!(client.trust_in(&self_signed(HOST)).await, Err(LocalError::NotVouched));
    let vouched = client.trust_in(&authority.vouches_for(HOST)).await;
    assert_eq!(vouched, Ok(Trust::Certificate));
}

#[tokio::test]
async fn both_ends_of_a_connection_have_the_same_binding_and_no_other_connection_has_it() {
    let client = Client::new();
    let it = self_signed("x");
    let mut seen = Vec::new();
    for _ in 0..2 {
        let outcome = client.meet(server(&it)).await;
        let (heard, theirs) = outcome.heard.unwrap();
        let ours = outcome.dialed.unwrap().1.unwrap();
        assert_eq!((heard.as_slice(), &ours), (&b"secret"[..], &theirs));
        seen.push(ours);
    }
    assert_ne!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_relay_between_us_and_the_server_cannot_use_our_proof() {
    let device = DeviceKey::from_seed(&Secret::new([5; 32])).unwrap();
    // The client meets the relay for the server, at first use.
    let (relay, honest) = (self_signed(HOST), self_signed(HOST));
    let outcome = Client::new().meet(server(&relay)).await;
    let (_, at_relay) = outcome.heard.unwrap();
    let proof = device.prove(&outcome.dialed.unwrap().1.unwrap());
    assert_eq!(proof.verify(&at_relay), Some(device.id()), "to the relay itself it is good");
    // The relay goes on to the server, as the client would.
    let onward = Client::new().meet(server(&honest)).await;
    let (_, at_server) = onward.heard.unwrap();
    assert_eq!(proof.verify(&at_server), None);
}

#[tokio::test]
async fn a_plain_answer_is_told_as_what_it_is_and_never_followed() {
    let client = Client::new();
    let goodbye =
        crate::net::message::ServerMessage::goodbye(crate::net::message::GoodbyeReason::Protocol);
    let frame = crate::net::frame::encode(&crate::net::message::Envelope::event(goodbye)).unwrap();
    for answer in [frame.to_vec(), b"220 mail.example ESMTP\r\n".to_vec()] {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let server = async {
            far.write_all(&answer).await.unwrap();
            let mut heard = Vec::new();
            far.shutdown().await.unwrap();
            let _ = far.read_to_end(&mut heard).await;
            heard
        };
        let (dialed, heard) = tokio::join!(client.secure(near), server);
        let error = dialed.err().unwrap();
        assert!(matches!(error, DialError::Untrusted { code: LocalError::NoTls, .. }), "{error:?}");
        // A first flight and an alert, both in records of TLS.
        assert_eq!(heard[0], tls::HANDSHAKE_RECORD);
    }
}

#[tokio::test]
async fn a_server_of_something_else_is_not_taken_for_ours() {
    let it = self_signed("x");
    let mut config = (*server(&it)).clone();
    config.alpn_protocols.clear();
    let outcome = Client::new().meet(Arc::new(config)).await;
    let error = outcome.dialed.map(|(trust, _)| trust).unwrap_err();
    assert!(matches!(error, DialError::Untrusted { code: LocalError::NotParlor, .. }), "{error:?}");
    assert_eq!(outcome.heard.unwrap().0, b"");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_in_the_handshake_is_given_up_in_time() {
    let client = Client::new();
    let (near, _far) = tokio::io::duplex(64 * 1024);
    let begun = tokio::time::Instant::now();
    let error = client.secure(near).await.err().unwrap();
    assert!(matches!(&error, DialError::Unreachable(why) if why.contains("10 s")), "{error:?}");
    assert!(begun.elapsed() < HANDSHAKE_TIMEOUT + Duration::from_secs(1));
}

#[tokio::test]
async fn a_damaged_line_of_known_servers_is_an_error_and_no_first_use() {
    let client = Client::new();
    let file = client.dialer.state.known_servers();
    std::fs::write(&file, format!("{HOST}:8888 SHA256:cut-o\n")).unwrap();
    let trust = client.trust_in(&self_signed("x")).await;
    assert_eq!(trust, Err(LocalError::KnownServersDamaged));
}
