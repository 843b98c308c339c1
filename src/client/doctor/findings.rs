//! What the doctor's facts mean, line by line, and what to do. Pure: knows no network and no device.

use super::super::event::DeviceKind;
use serde::Serialize;

/// A microphone below this gives nothing at all, in dBFS.
const SILENT_DB: f32 = -90.0;
/// A microphone below this is hardly heard, in dBFS.
const QUIET_DB: f32 = -65.0;
/// Loss from here on is worth a word, ...
const LOSS: f32 = 0.015;
/// ... and from here on it is a problem that repair does not hide.
const LOSS_BAD: f32 = 0.2;
/// A round trip from here on is felt in talk, in ms.
const FAR_MS: f32 = 250.0;
/// A device's latency from here on is felt in talk, in ms.
const SLOW_DEVICE_MS: f32 = 80.0;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The microphone.
    pub input: Device,
    /// Its level over two seconds, dBFS: the loudest that was seen.
    pub level_db: f32,
    /// The loudspeaker.
    pub output: Device,
    /// The server, if one was named.
    pub server: Option<Server>,
}

/// How opening a device went.
#[derive(Debug, Clone, PartialEq)]
pub enum Device {
    /// It runs.
    Up {
        /// Name and format.
        description: String,
        /// Its latency in ms; 0 if the system does not tell.
        latency_ms: f32,
    },
    /// It cannot be opened; the sound system's words.
    Down(String),
}

impl Default for Device {
    fn default() -> Self {
        Self::Down("the sound system does not answer".to_owned())
    }
}

/// How far the way to the server goes. What follows a failure was not tried.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Server {
    /// As it was named.
    pub label: String,
    /// Addresses of its name, or why there are none.
    pub addresses: Option<Result<Vec<String>, String>>,
    /// The TCP connection: how long it took, in ms, or why there is none.
    pub tcp: Option<Result<f32, String>>,
    /// TLS: why the server is believed, or not. In words.
    pub tls: Option<Result<String, String>>,
    /// It lets us in, or what it says instead.
    pub welcome: Option<Result<(), String>>,
    /// Voice by UDP, after it was tried for some seconds.
    pub udp: Option<Udp>,
}

/// Voice by UDP.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Udp {
    /// The port.
    pub port: u16,
    /// Datagrams go both ways.
    pub works: bool,
    /// Round trip in ms.
    pub round_trip_ms: Option<f32>,
    /// Loss on the way up, 0 to 1.
    pub up: f32,
    /// Loss on the way down, 0 to 1.
    pub down: f32,
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Good,
    /// Worth to know.
    Note,
    /// Stands in the way of talking.
    Problem,
}

/// One line of the doctor's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about: `microphone`, `loudspeaker`, `name`, `tcp`, `tls`, `server`, `udp`, `line`.
    pub about: &'static str,
    /// How much it weighs.
    pub level: Level,
    /// What was found, and what to do.
    pub text: String,
}

/// What the facts mean, in the order in which to read it.
#[must_use]
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut found =
        vec![device(DeviceKind::Input, &facts.input), device(DeviceKind::Output, &facts.output)];
    if let Device::Up { .. } = facts.input {
        found.insert(1, level(facts.level_db));
    }
    match &facts.server {
        Some(server) => server_findings(server, &mut found),
        None => found.push(finding(
            "server",
            Level::Note,
            "no server was named: parlor doctor --server HOST looks at the way to it, too",
        )),
    }
    found
}

fn finding(about: &'static str, level: Level, text: impl Into<String>) -> Finding {
    Finding { about, level, text: text.into() }
}

fn device(kind: DeviceKind, device: &Device) -> Finding {
    let (about, flag) = match kind {
        DeviceKind::Input => ("microphone", "--input"),
        DeviceKind::Output => ("loudspeaker", "--output"),
    };
    match device {
        Device::Up { description, latency_ms } if *latency_ms >= SLOW_DEVICE_MS => finding(
            about,
            Level::Note,
            format!(
                "{description} runs, but takes {latency_ms:.0} ms: wireless ones do; a cable is quicker"
            ),
        ),
        Device::Up { description, latency_ms } => {
            let latency = match *latency_ms > 0.0 {
                true => format!(", {latency_ms:.0} ms"),
                false => String::new(),
            };
            finding(about, Level::Good, format!("{description}{latency}"))
        }
        Device::Down(why) => finding(
            about,
            Level::Problem,
            format!(
                "cannot be opened: {}. Plug one in, or choose another with {flag} (parlor --list-devices shows them)",
                why.trim_end_matches('.')
            ),
        ),
    }
}

fn level(db: f32) -> Finding {
    let about = "microphone";
    match db {
        db if db <= SILENT_DB => finding(
            about,
            Level::Problem,
            "nothing is heard from it: is it muted in the system, or by a switch of its own? May programs use it?",
        ),
        db if db <= QUIET_DB => finding(
            about,
            Level::Note,
            format!(
                "hardly anything is heard from it ({db:.0} dBFS in 2 s): say something; if you did, turn it up in the system"
            ),
        ),
        db => finding(about, Level::Good, format!("something is heard from it: {db:.0} dBFS")),
    }
}

fn server_findings(server: &Server, found: &mut Vec<Finding>) {
    let label = &server.label;
    match &server.addresses {
        Some(Ok(addresses)) => {
            found.push(finding("name", Level::Good, format!("{label} is {}", addresses.join(", "))))
        }
        Some(Err(why)) => found.push(finding(
            "name",
            Level::Problem,
            format!("{label} is not found: {why}. Is it written right, and is there a network?"),
        )),
        None => {}
    }
    match &server.tcp {
        Some(Ok(ms)) => {
            found.push(finding("tcp", Level::Good, format!("the server answers in {ms:.0} ms")));
        }
        Some(Err(why)) => found.push(finding(
            "tcp",
            Level::Problem,
            format!("no connection: {why}. Is the server running, the port right, and open in its firewall?"),
        )),
        None => {}
    }
    match &server.tls {
        Some(Ok(trust)) => found.push(finding("tls", Level::Good, trust.clone())),
        Some(Err(why)) => found.push(finding("tls", Level::Problem, why.clone())),
        None => {}
    }
    match &server.welcome {
        Some(Ok(())) => {
            found.push(finding("server", Level::Good, "it lets you in; you were in no room"));
        }
        Some(Err(why)) => found.push(finding(
            "server",
            Level::Problem,
            format!("it does not let you in, so the way of voice was not tried: {why}"),
        )),
        None => {}
    }
    if let Some(udp) = &server.udp {
        udp_findings(udp, found);
    }
}

fn udp_findings(udp: &Udp, found: &mut Vec<Finding>) {
    let port = udp.port;
    if !udp.works {
        return found.push(finding(
            "udp",
            Level::Problem,
            format!(
                "no datagram comes back from UDP port {port}: a firewall here, there or between keeps it shut. Voice will go \
                 through the control connection, which works, but later and with gaps. Let UDP {port} through"
            ),
        ));
    }
    found.push(finding("udp", Level::Good, format!("datagrams go both ways, port {port}")));
    let trip = udp.round_trip_ms.unwrap_or(0.0);
    let (up, down) = (udp.up * 100.0, udp.down * 100.0);
    let worst = udp.up.max(udp.down);
    let figures = format!("round trip {trip:.0} ms, loss {up:.1} % up and {down:.1} % down");
    found.push(match () {
        () if worst >= LOSS_BAD => finding(
            "line",
            Level::Problem,
            format!("{figures}: too much to be repaired. Use a cable instead of Wi-Fi, or another network"),
        ),
        () if worst >= LOSS => finding(
            "line",
            Level::Note,
            format!("{figures}: it will be repaired, at the cost of some delay; a cable instead of Wi-Fi often mends it"),
        ),
        () if trip >= FAR_MS => finding(
            "line",
            Level::Note,
            format!("{figures}: the server is far away, and people will talk into each other's words"),
        ),
        () => finding("line", Level::Good, figures),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Facts {
        let up = |name: &str| Device::Up { description: name.to_owned(), latency_ms: 10.0 };
        Facts {
            input: up("Mic"),
            level_db: -40.0,
            output: up("Speaker"),
            server: Some(Server {
                label: "example.org:8888".to_owned(),
                addresses: Some(Ok(vec!["192.0.2.1".to_owned()])),
                tcp: Some(Ok(12.0)),
                tls: Some(Ok("known".to_owned())),
                welcome: Some(Ok(())),
                udp: Some(Udp {
                    port: 8889,
                    works: true,
                    round_trip_ms: Some(20.0),
                    up: 0.0,
                    down: 0.0,
                }),
            }),
        }
    }

    fn server(facts: &mut Facts) -> &mut Server {
        facts.server.as_mut().unwrap()
    }

    fn udp(facts: &mut Facts) -> &mut Udp {
        server(facts).udp.as_mut().unwrap()
    }

    #[test]
    fn where_all_is_well_every_line_is_good() {
        let found = findings(&well());
        assert_eq!(found.len(), 9);
        assert!(found.iter().all(|finding| finding.level == Level::Good), "{found:?}");
    }

    #[test]
    fn each_trouble_has_a_line_that_says_what_to_do() {
        type Change = fn(&mut Facts);
        let cases: [(&str, Level, &str, Change); 13] = [
            ("microphone", Level::Problem, "Plug one in", |f| {
                f.input = Device::Down("gone".into())
            }),
            ("microphone", Level::Problem, "muted in the system", |f| f.level_db = -120.0),
            ("microphone", Level::Note, "turn it up", |f| f.level_db = -70.0),
            ("loudspeaker", Level::Problem, "--output", |f| f.output = Device::default()),
            ("loudspeaker", Level::Note, "a cable", |f| {
                f.output = Device::Up { description: "Buds".into(), latency_ms: 180.0 };
            }),
            ("server", Level::Note, "--server HOST", |f| f.server = None),
            ("name", Level::Problem, "written right", |f| {
                server(f).addresses = Some(Err("x".into()))
            }),
            ("tcp", Level::Problem, "firewall", |f| server(f).tcp = Some(Err("refused".into()))),
            ("tls", Level::Problem, "the key", |f| server(f).tls = Some(Err("the key".into()))),
            ("server", Level::Problem, "name is in use", |f| {
                server(f).welcome = Some(Err("name is in use".into()));
            }),
            ("udp", Level::Problem, "Let UDP 8889 through", |f| udp(f).works = false),
            ("line", Level::Note, "4.0 % up", |f| udp(f).up = 0.04),
            ("line", Level::Problem, "30.0 % down", |f| udp(f).down = 0.3),
        ];
        for (about, level, words, change) in cases {
            let mut facts = well();
            change(&mut facts);
            let found = findings(&facts);
            let said = found.iter().find(|f| f.level != Level::Good).expect(words);
            assert_eq!((said.about, said.level), (about, level), "{}", said.text);
            assert!(said.text.contains(words), "{words}: {}", said.text);
        }
    }

    #[test]
    fn what_was_not_tried_is_not_told() {
        let mut facts = well();
        let label = server(&mut facts).label.clone();
        *server(&mut facts) =
            Server { label, addresses: Some(Err("x".to_owned())), ..Server::default() };
        let about: Vec<_> = findings(&facts).iter().map(|finding| finding.about).collect();
        assert_eq!(about, ["microphone", "microphone", "loudspeaker", "name"]);
    }
}
