//! A member's voice socket, and what happens to datagrams between it and the server: both ways they are lost, doubled,
//! delayed past others, cut short, bent, and said again.

use super::random::Random;
use super::tally::Tally;
use parlor::net::udp::{Receiver, Watch};
use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Datagrams that went up and may be said again.
const REMEMBERED_MAX: usize = 32;
/// A delay lets others overtake, and is over before anybody is asked whether all is well.
const DELAY_MS_MAX: u64 = 300;

/// How bad it is, each in 1/1000 of the datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    /// Lost.
    pub lost: u32,
    /// Doubled.
    pub doubled: u32,
    /// Late, so that others overtake.
    pub late: u32,
    /// Cut short.
    pub truncated: u32,
    /// A bit or more of it turned.
    pub flipped: u32,
    /// An older one said again beside it.
    pub replayed: u32,
}

impl Weather {
    /// A storm of random strength.
    pub fn storm(random: &mut Random) -> Self {
        let mut share = |most| u32::try_from(random.below(most)).unwrap_or(0);
        Self {
            lost: share(200),
            doubled: share(60),
            late: share(100),
            truncated: share(40),
            flipped: share(40),
            replayed: share(60),
        }
    }
}

/// A datagram that arrives at the member.
pub struct Arrival {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Not as the server sent it.
    pub altered: bool,
}

struct Late {
    due: Instant,
    down: bool,
    bytes: Vec<u8>,
    altered: bool,
}

/// The socket and the faults.
pub struct Wire {
    socket: UdpSocket,
    server: SocketAddr,
    late: Vec<Late>,
    recent: VecDeque<Vec<u8>>,
}

/// What receivers are told.
pub const WATCH: Watch = Watch { times: true, drops: false, destinations: false };

/// A socket whose datagrams the kernel notes the time of.
pub fn socket(server: SocketAddr) -> anyhow::Result<UdpSocket> {
    let any = if server.is_ipv6() { "[::1]:0" } else { "127.0.0.1:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    // For the option that it sets; one receiver serves all sockets.
    drop(Receiver::watching(&socket, WATCH)?);
    Ok(socket)
}

impl Wire {
    /// A wire to the server's voice port.
    pub fn new(server: SocketAddr) -> anyhow::Result<Self> {
        let (late, recent) = (Vec::new(), VecDeque::new());
        Ok(Self { socket: socket(server)?, server, late, recent })
    }

    /// The socket.
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// From now on the server sees another port. The socket before, so that nobody else gets its port.
    pub fn change_port(&mut self) -> anyhow::Result<UdpSocket> {
        Ok(std::mem::replace(&mut self.socket, socket(self.server)?))
    }

    /// Gives the socket up.
    pub fn into_socket(self) -> UdpSocket {
        self.socket
    }

    fn emit(&self, bytes: &[u8]) {
        // What the system does not take is lost, as on any network.
        let _ = self.socket.send_to(bytes, self.server);
    }

    /// Sends a datagram, as far as the weather lets it.
    pub fn up(
        &mut self,
        bytes: &[u8],
        weather: &Weather,
        random: &mut Random,
        now: Instant,
        tally: &mut Tally,
    ) {
        tally.count("datagrams up");
        if random.per_mille(weather.replayed)
            && let Some(old) = self.recent.get(random.below(self.recent.len()))
        {
            tally.count("datagrams replayed");
            self.emit(old);
        }
        if self.recent.len() >= REMEMBERED_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(bytes.to_vec());
        for Late { due, bytes, .. } in fates(bytes, weather, random, now, tally) {
            match due > now {
                true => self.late.push(Late { due, down: false, bytes, altered: true }),
                false => self.emit(&bytes),
            }
        }
    }

    /// What becomes of a datagram that the server has sent; what is late comes out of `due`.
    pub fn down(
        &mut self,
        bytes: &[u8],
        weather: &Weather,
        random: &mut Random,
        now: Instant,
        tally: &mut Tally,
    ) -> Vec<Arrival> {
        let (late, at_once): (Vec<_>, Vec<_>) =
            fates(bytes, weather, random, now, tally).into_iter().partition(|fate| fate.due > now);
        self.late.extend(late.into_iter().map(|late| Late { down: true, ..late }));
        at_once.into_iter().map(|Late { bytes, altered, .. }| Arrival { bytes, altered }).collect()
    }

    /// Sends and delivers what was late and is due now.
    pub fn due(&mut self, now: Instant) -> Vec<Arrival> {
        if self.late.is_empty() {
            return Vec::new();
        }
        let (due, late): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.late).into_iter().partition(|late| late.due <= now);
        self.late = late;
        let mut arrived = Vec::new();
        for Late { down, bytes, altered, .. } in due {
            match down {
                true => arrived.push(Arrival { bytes, altered }),
                false => self.emit(&bytes),
            }
        }
        arrived
    }

    /// Nothing is on its way.
    pub fn is_idle(&self) -> bool {
        self.late.is_empty()
    }
}

/// What comes out at the other end for one datagram, and when.
fn fates(
    bytes: &[u8],
    weather: &Weather,
    random: &mut Random,
    now: Instant,
    tally: &mut Tally,
) -> Vec<Late> {
    let intact = |due| Late { due, down: false, bytes: bytes.to_vec(), altered: false };
    if random.per_mille(weather.lost) {
        tally.count("datagrams lost");
        return Vec::new();
    }
    let mut out = Vec::new();
    if random.per_mille(weather.truncated) {
        tally.count("datagrams truncated");
        let cut = bytes.get(..random.below(bytes.len())).unwrap_or_default().to_vec();
        out.push(Late { bytes: cut, altered: true, ..intact(now) });
    } else if random.per_mille(weather.flipped) {
        tally.count("datagrams bent");
        let mut bent = bytes.to_vec();
        // An odd number of turns: it cannot be what it was.
        for _ in 0..=2 * random.below(3) {
            let at = random.below(bent.len());
            if let Some(byte) = bent.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        out.push(Late { bytes: bent, altered: true, ..intact(now) });
    } else if random.per_mille(weather.late) {
        tally.count("datagrams reordered");
        out.push(intact(now + Duration::from_millis(random.between(20, DELAY_MS_MAX))));
    } else {
        out.push(intact(now));
    }
    if random.per_mille(weather.doubled) {
        tally.count("datagrams doubled");
        out.push(intact(now));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use parlor::net::clock;

    #[test]
    fn in_fair_weather_every_datagram_arrives_once_and_whole() {
        let mut random = Random::new(1);
        let (now, mut tally) = (clock::now(), Tally::default());
        let fates = fates(b"datagram", &Weather::default(), &mut random, now, &mut tally);
        let [only] = fates.as_slice() else { panic!("{}", fates.len()) };
        assert_eq!((only.bytes.as_slice(), only.altered, only.due), (&b"datagram"[..], false, now));
    }

    #[test]
    fn what_is_altered_is_never_what_it_was() {
        let mut random = Random::new(2);
        let weather = Weather { truncated: 500, flipped: 1000, ..Weather::default() };
        for _ in 0..2000 {
            let now = clock::now();
            for fate in fates(b"datagram", &weather, &mut random, now, &mut Tally::default()) {
                assert!(fate.altered && fate.bytes != b"datagram");
            }
        }
    }
}
