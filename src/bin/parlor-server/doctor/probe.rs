//! Tries the ways to an address of the server's own, from the inside.

use parlor::net::secret::Secret;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long a connection or a datagram may be under way.
const PATIENCE: Duration = Duration::from_secs(3);

/// What came of trying an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// What was sent there arrived here.
    Arrived,
    /// Something answers there; whether it is this server is not known.
    Answered,
    /// Refused: there is a machine, and nothing listens.
    Refused,
    /// Nothing came back.
    Silence,
    /// The port could not be taken for the trial.
    PortTaken,
    /// The system cannot send there.
    Failed(String),
}

/// What came of trying one of the addresses.
#[derive(Debug, Clone)]
pub(crate) struct Probes {
    pub(crate) address: IpAddr,
    pub(crate) tcp: Outcome,
    pub(crate) udp: Outcome,
}

fn failed(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Outcome::Refused,
        io::ErrorKind::TimedOut => Outcome::Silence,
        _ => Outcome::Failed(error.to_string()),
    }
}

/// Connects to `to`. Where no server runs, listens itself at `at`, and so knows what arrived.
pub(crate) async fn tcp(to: SocketAddr, at: SocketAddr, running: bool) -> Outcome {
    if running {
        return match timeout(PATIENCE, TcpStream::connect(to)).await {
            Ok(Ok(_)) => Outcome::Answered,
            Ok(Err(error)) => failed(&error),
            Err(_) => Outcome::Silence,
        };
    }
    let Ok(listener) = TcpListener::bind(at).await else { return Outcome::PortTaken };
    let Ok(token) = Secret::<16>::random() else { return Outcome::Failed("no randomness".into()) };
    let send = async {
        let mut stream = TcpStream::connect(to).await?;
        stream.write_all(token.expose()).await?;
        // Until the other end has closed it: then it has been read.
        stream.read(&mut [0]).await
    };
    let arrive = async {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else {
                return std::future::pending().await;
            };
            let mut bytes = [0; 16];
            let read = timeout(PATIENCE, stream.read_exact(&mut bytes)).await;
            if matches!(read, Ok(Ok(_))) && token.matches(&bytes) {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = arrive => Outcome::Arrived,
        // It ended without having arrived here: refused, or somebody else has answered.
        Ok(sent) = timeout(PATIENCE, send) => match sent {
            Ok(_) => Outcome::Answered,
            Err(error) => failed(&error),
        },
        () = tokio::time::sleep(PATIENCE) => Outcome::Silence,
    }
}

/// Sends a datagram to `to`. Where no server runs, waits for it itself at `at`. A server that runs
/// answers nobody whom it does not know, so that only a refusal says anything.
pub(crate) async fn udp(to: SocketAddr, at: SocketAddr, running: bool) -> Outcome {
    match udp_exchange(to, at, running).await {
        Ok(outcome) => outcome,
        Err(error) => failed(&error),
    }
}

async fn udp_exchange(to: SocketAddr, at: SocketAddr, running: bool) -> io::Result<Outcome> {
    let Ok(token) = Secret::<16>::random() else {
        return Ok(Outcome::Failed("no randomness".into()));
    };
    let listener = match running {
        true => None,
        false => match UdpSocket::bind(at).await {
            Ok(listener) => Some(listener),
            Err(_) => return Ok(Outcome::PortTaken),
        },
    };
    let any: IpAddr = match to {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let sender = UdpSocket::bind((any, 0)).await?;
    sender.connect(to).await?;
    sender.send(token.expose()).await?;
    let mut answer = [0; 16];
    let arrive = async {
        let Some(listener) = &listener else { return std::future::pending().await };
        let mut bytes = [0; 17];
        loop {
            let read = listener.recv(&mut bytes).await.unwrap_or(0);
            if bytes.get(..read).is_some_and(|bytes| token.matches(bytes)) {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = arrive => Ok(Outcome::Arrived),
        heard = sender.recv(&mut answer) => heard.map(|_| Outcome::Answered),
        () = tokio::time::sleep(PATIENCE) => Ok(Outcome::Silence),
    }
}

/// The firewalls whose tools are on this machine; whether they are in force only root could tell.
pub(crate) fn firewall() -> Vec<&'static str> {
    let tools: &[(&str, &str)] =
        &[("ufw", "ufw"), ("firewall-cmd", "firewalld"), ("nft", "nftables")];
    let places = ["/usr/sbin", "/sbin", "/usr/bin"].map(std::path::Path::new);
    tools
        .iter()
        .filter(|(tool, _)| places.iter().any(|place| place.join(tool).exists()))
        .map(|(_, name)| *name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn free_port() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }

    #[tokio::test]
    async fn what_comes_back_to_the_trial_s_own_ports_has_arrived() {
        let at = free_port().await;
        assert_eq!(tcp(at, at, false).await, Outcome::Arrived);
        assert_eq!(udp(at, at, false).await, Outcome::Arrived);
    }

    #[tokio::test]
    async fn another_s_answer_is_not_taken_for_an_arrival() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = other.local_addr().unwrap();
        tokio::spawn(async move { while other.accept().await.is_ok() {} });
        let outcome = tcp(to, "127.0.0.1:0".parse().unwrap(), false).await;
        assert_ne!(outcome, Outcome::Arrived);
        assert_eq!(tcp(to, to, true).await, Outcome::Answered);
        assert_eq!(tcp(to, to, false).await, Outcome::PortTaken);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_closed_port_refuses() {
        let at = free_port().await;
        assert_eq!(tcp(at, at, true).await, Outcome::Refused);
        assert_eq!(udp(at, at, true).await, Outcome::Refused);
    }
}
