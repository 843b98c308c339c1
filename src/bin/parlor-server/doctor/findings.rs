//! What the facts mean for friends outside, and what to do. Knows no network.

use super::probe::{Outcome, Probes};
use parlor::actors::public::{Reach, reach};
use parlor::net::address::{HostPort, UDP_PORT};
use std::net::{IpAddr, SocketAddr};

/// What was found on this machine and at the address that friends use.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// A server runs, and its addresses are these.
    pub(crate) running: bool,
    pub(crate) tcp: SocketAddr,
    pub(crate) udp: SocketAddr,
    /// Addresses that this machine sends from.
    pub(crate) own: Vec<IpAddr>,
    /// The address that friends use, if one is known.
    pub(crate) resolved: Option<Resolved>,
    /// Firewalls that may be in force.
    pub(crate) firewall: Vec<&'static str>,
}

/// What came of the address that friends use.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub(crate) named: HostPort,
    pub(crate) tcp_port: u16,
    pub(crate) addresses: Result<Vec<IpAddr>, String>,
    pub(crate) probes: Vec<Probes>,
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// As it should be.
    Good,
    /// Worth to know.
    Note,
    /// To be done, or not to be known from here.
    Do,
    /// Stands in friends' way for sure.
    Bad,
}

impl Level {
    /// The word in front of a line and in JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Do => "to-do",
            Self::Bad => "problem",
        }
    }
}

/// One line of the doctor's.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) text: String,
}

fn finding(level: Level, text: impl Into<String>) -> Finding {
    Finding { level, text: text.into() }
}

/// What the facts mean, in the order in which to read it.
pub(crate) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut found = vec![match facts.running {
        true => {
            finding(Level::Good, format!("a server runs: tcp {}, udp {}", facts.tcp, facts.udp))
        }
        false => finding(
            Level::Note,
            format!(
                "no server answers in this state directory; looking at tcp {} and udp {}",
                facts.tcp, facts.udp
            ),
        ),
    }];
    for (transport, flag, at) in [("TCP", "tcp", facts.tcp), ("UDP", "udp", facts.udp)] {
        found.extend(listening(transport, flag, at));
    }
    found.extend(facts.own.iter().map(|address| own(*address)));
    found.extend(six(facts));
    match &facts.resolved {
        Some(resolved) => found.extend(outside(facts, resolved)),
        None => found.push(finding(
            Level::Do,
            "say how friends get here: --public-address HOST, a name or this network's public \
             address (the router's page shows it); then it can be tried",
        )),
    }
    found.extend(open(facts));
    found.push(finding(
        Level::Note,
        "from the inside nobody can see it all: for certainty let a friend outside try: parlor '<invite>' \
         (parlor-server invite makes one)",
    ));
    found
}

/// Whether an address that is listened at can be reached at all.
fn listening(transport: &str, flag: &str, at: SocketAddr) -> Option<Finding> {
    let ip = at.ip();
    if ip.is_unspecified() {
        return None;
    }
    match reach(ip) {
        Reach::Machine => Some(finding(
            Level::Bad,
            format!(
                "{transport} is listened for at {at}, which this machine alone reaches; start with --{flag} 0.0.0.0:{}",
                at.port()
            ),
        )),
        Reach::Network => Some(finding(
            Level::Note,
            format!(
                "{transport} is listened for at {at}, in your network; the router must forward to it"
            ),
        )),
        Reach::Provider => Some(finding(
            Level::Bad,
            format!(
                "{transport} is listened for at {at}, an address of your provider's own network. {SHARED}"
            ),
        )),
        Reach::World => None,
    }
}

const SHARED: &str = "Many customers share one public IPv4 address there, and no router setting of yours lets friends in: \
    ask the provider for a public address, use IPv6, or run the server at a host that has one";

/// What an address of this machine is worth.
fn own(address: IpAddr) -> Finding {
    match reach(address) {
        Reach::Machine => finding(Level::Note, format!("this machine is {address}: no network")),
        Reach::Network => finding(
            Level::Note,
            format!(
                "this machine is {address} in its own network; from outside the router stands before it"
            ),
        ),
        Reach::Provider => finding(Level::Do, format!("this machine is {address}. {SHARED}")),
        Reach::World => {
            finding(Level::Good, format!("this machine has the public address {address}"))
        }
    }
}

/// A public IPv6 address that the server does not use.
fn six(facts: &Facts) -> Option<Finding> {
    let public = |ip: &&IpAddr| ip.is_ipv6() && reach(**ip) == Reach::World;
    let own = facts.own.iter().find(public)?;
    (facts.tcp.is_ipv4() || facts.udp.is_ipv4()).then(|| {
        let (tcp, udp) = (facts.tcp.port(), facts.udp.port());
        finding(
            Level::Note,
            format!("{own} could be used, too: start with --tcp [::]:{tcp} --udp [::]:{udp}"),
        )
    })
}

/// The address that friends use.
fn outside(facts: &Facts, resolved: &Resolved) -> Vec<Finding> {
    let named = &resolved.named;
    let addresses = match &resolved.addresses {
        Ok(addresses) if !addresses.is_empty() => addresses,
        Ok(_) => return vec![finding(Level::Bad, format!("{named} has no address"))],
        Err(error) => {
            let text = format!(
                "{} cannot be found: {error}; correct the name or its DNS entry",
                named.host
            );
            return vec![finding(Level::Bad, text)];
        }
    };
    let mut found = Vec::new();
    let public = addresses.iter().any(|address| reach(*address) == Reach::World);
    for address in addresses {
        let level = if public { Level::Do } else { Level::Bad };
        found.push(match reach(*address) {
            Reach::World => finding(
                Level::Good,
                format!("friends go to {named}, that is {address}, a public address"),
            ),
            Reach::Machine => {
                finding(level, format!("{named} is {address}: every machine's own; {NAME_IT}"))
            }
            Reach::Network => finding(
                level,
                format!("{named} is {address}, which only your own network reaches; {NAME_IT}"),
            ),
            Reach::Provider => finding(level, format!("{named} is {address}. {SHARED}")),
        });
    }
    for probes in &resolved.probes {
        let here = facts.own.contains(&probes.address) || reach(probes.address) == Reach::Machine;
        found.push(tried(
            "TCP",
            probes.address,
            resolved.tcp_port,
            &probes.tcp,
            here,
            facts.running,
        ));
        found.push(tried(
            "UDP",
            probes.address,
            facts.udp.port(),
            &probes.udp,
            here,
            facts.running,
        ));
    }
    found
}

const NAME_IT: &str = "name the public one with --public-address HOST";

/// Many routers do not let a network's own machines in through their outside.
const HAIRPIN: &str =
    "this alone means little: many routers do not turn around what comes from inside (hairpin)";

fn tried(
    transport: &str,
    ip: IpAddr,
    port: u16,
    outcome: &Outcome,
    here: bool,
    running: bool,
) -> Finding {
    let what = format!("{transport} to {}", SocketAddr::new(ip, port));
    match outcome {
        Outcome::Arrived | Outcome::Answered if here => finding(
            Level::Good,
            format!("{what} works on this machine itself; firewalls before it were not tried"),
        ),
        Outcome::Arrived => {
            finding(Level::Good, format!("{what} arrives here, through the router"))
        }
        Outcome::Answered => finding(
            Level::Note,
            format!(
                "{what} is answered; from here it cannot be seen whether by this server or by the router itself"
            ),
        ),
        Outcome::Refused => finding(
            Level::Do,
            format!("{what} is refused: is the port forwarded to this machine? But {HAIRPIN}"),
        ),
        Outcome::Silence if running && transport == "UDP" => finding(
            Level::Note,
            format!(
                "{what} is not answered, as it should be: the server answers nobody whom it does not know. \
                Stop the server and run doctor again to try UDP"
            ),
        ),
        Outcome::Silence => finding(Level::Do, format!("{what}: nothing comes back; {HAIRPIN}")),
        Outcome::PortTaken => finding(
            Level::Do,
            format!(
                "{what} was not tried: the port cannot be taken here. If a server uses it, name its --state-dir"
            ),
        ),
        Outcome::Failed(why) => finding(Level::Do, format!("{what} cannot be tried: {why}")),
    }
}

/// What to open on the router and on this machine.
fn open(facts: &Facts) -> Vec<Finding> {
    let (tcp, udp) = (facts.tcp.port(), facts.udp.port());
    let mut found = Vec::new();
    let outside = facts.resolved.as_ref().map_or(tcp, |resolved| resolved.tcp_port);
    let direct = facts.own.iter().any(|ip| ip.is_ipv4() && reach(*ip) == Reach::World);
    let inside = match facts.tcp.ip() {
        ip if !ip.is_unspecified() && reach(ip) == Reach::Network => Some(ip),
        _ => facts.own.iter().copied().find(|ip| reach(*ip) == Reach::Network),
    };
    if let Some(inside) = inside.filter(|_| !direct) {
        found.push(finding(
            Level::Do,
            format!(
                "on the router, forward TCP port {outside} to {inside} port {tcp}, and UDP port {udp} to {inside} port {udp} \
                 (both; for UDP the same number outside), and give this machine that address for good"
            ),
        ));
    }
    if tcp == 0 || udp == 0 {
        let text = format!(
            "port 0 is another one at each start; choose fixed ports, for example {UDP_PORT} for UDP"
        );
        found.push(finding(Level::Do, text));
    }
    for firewall in &facts.firewall {
        let how = match *firewall {
            "ufw" => format!("sudo ufw allow {tcp}/tcp; sudo ufw allow {udp}/udp"),
            "firewalld" => format!(
                "sudo firewall-cmd --permanent --add-port={tcp}/tcp --add-port={udp}/udp; sudo firewall-cmd --reload"
            ),
            _ => format!(
                "look with 'sudo nft list ruleset'; where input is dropped: tcp dport {tcp} accept, udp dport {udp} accept"
            ),
        };
        found.push(finding(
            Level::Note,
            format!("{firewall} is on this machine; if it is in force: {how}"),
        ));
    }
    if cfg!(windows) {
        found.push(finding(
            Level::Note,
            format!(
                "in an administrator's PowerShell: New-NetFirewallRule -DisplayName Parlor -Direction Inbound -Action Allow \
                 -Protocol TCP -LocalPort {tcp}; the same with -Protocol UDP -LocalPort {udp}"
            ),
        ));
    } else if cfg!(target_os = "macos") {
        found.push(finding(
            Level::Note,
            "if the firewall asks, let parlor-server accept connections",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            running: true,
            tcp: "0.0.0.0:8888".parse().unwrap(),
            udp: "0.0.0.0:8889".parse().unwrap(),
            own: vec!["192.168.1.9".parse().unwrap()],
            resolved: None,
            firewall: vec!["ufw"],
        }
    }

    fn named(address: &str, tcp: Outcome, udp: Outcome) -> Option<Resolved> {
        let address: IpAddr = address.parse().unwrap();
        Some(Resolved {
            named: HostPort::parse("voice.example").unwrap(),
            tcp_port: 9000,
            addresses: Ok(vec![address]),
            probes: vec![Probes { address, tcp, udp }],
        })
    }

    fn level(facts: &Facts, words: &str) -> Level {
        let found = findings(facts);
        let mut hits = found.iter().filter(|finding| finding.text.contains(words));
        hits.next().unwrap_or_else(|| panic!("nothing says '{words}': {found:#?}")).level
    }

    fn bad(facts: &Facts) -> bool {
        findings(facts).iter().any(|finding| finding.level == Level::Bad)
    }

    #[test]
    fn behind_a_router_it_says_what_to_forward_and_to_open() {
        let facts =
            Facts { resolved: named("8.8.8.8", Outcome::Answered, Outcome::Silence), ..facts() };
        assert_eq!(level(&facts, "forward TCP port 9000 to 192.168.1.9 port 8888"), Level::Do);
        assert_eq!(level(&facts, "UDP port 8889 to 192.168.1.9 port 8889"), Level::Do);
        assert_eq!(level(&facts, "ufw allow 8888/tcp; sudo ufw allow 8889/udp"), Level::Note);
        assert!(!bad(&facts));
    }

    #[test]
    fn listening_on_loopback_keeps_friends_out() {
        let facts = Facts { tcp: "127.0.0.1:8888".parse().unwrap(), ..facts() };
        assert_eq!(level(&facts, "--tcp 0.0.0.0:8888"), Level::Bad);
    }

    #[test]
    fn an_address_that_customers_share_is_a_problem_no_router_mends() {
        let facts =
            Facts { resolved: named("100.64.3.4", Outcome::Silence, Outcome::Silence), ..facts() };
        assert_eq!(level(&facts, "share one public IPv4 address"), Level::Bad);
    }

    #[test]
    fn a_private_public_address_or_a_name_without_address_is_a_problem() {
        let private =
            Facts { resolved: named("10.0.0.1", Outcome::Arrived, Outcome::Arrived), ..facts() };
        assert_eq!(level(&private, "only your own network reaches"), Level::Bad);
        let mut unknown = named("8.8.8.8", Outcome::Silence, Outcome::Silence);
        if let Some(resolved) = &mut unknown {
            resolved.addresses = Err("no such host".to_owned());
        }
        let facts = Facts { resolved: unknown, ..facts() };
        assert_eq!(level(&facts, "cannot be found: no such host"), Level::Bad);
    }

    #[test]
    fn silence_on_the_way_through_the_router_is_no_proof() {
        let silent = named("8.8.8.8", Outcome::Silence, Outcome::Silence);
        let facts = Facts { resolved: silent, running: false, ..facts() };
        assert_eq!(level(&facts, "TCP to 8.8.8.8:9000: nothing comes back"), Level::Do);
        assert_eq!(level(&facts, "hairpin"), Level::Do);
        assert!(!bad(&facts));
    }

    #[test]
    fn a_machine_with_a_public_address_needs_no_router() {
        let own = vec!["8.8.8.8".parse().unwrap()];
        let resolved = named("8.8.8.8", Outcome::Answered, Outcome::Silence);
        let facts = Facts { own, resolved, ..facts() };
        assert!(
            findings(&facts).iter().all(|finding| !finding.text.contains("on the router, forward"))
        );
        assert_eq!(level(&facts, "works on this machine itself"), Level::Good);
    }

    #[test]
    fn without_an_address_it_asks_for_one_and_always_for_a_friend_outside() {
        assert_eq!(level(&facts(), "--public-address HOST"), Level::Do);
        assert_eq!(level(&facts(), "let a friend outside try"), Level::Note);
    }
}
