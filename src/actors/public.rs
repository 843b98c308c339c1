//! Which address stands in invites: the one that the operator names, or the best guess.

use crate::net::address::HostPort;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Where friends reach a server that listens at `tcp`.
#[must_use]
pub fn address(named: Option<&HostPort>, tcp: SocketAddr) -> HostPort {
    match named {
        Some(named) => HostPort { host: named.host.clone(), port: named.port.or(Some(tcp.port())) },
        None => HostPort { host: reachable(tcp.ip()).to_string(), port: Some(tcp.port()) },
    }
}

/// The address itself, or, for one that stands for all, the one that this machine sends from.
fn reachable(listening: IpAddr) -> IpAddr {
    if !listening.is_unspecified() {
        return listening;
    }
    own_addresses().first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// The addresses that this machine sends from, IPv4 first. Nothing is sent to find them.
#[must_use]
pub fn own_addresses() -> Vec<IpAddr> {
    let own: &[(IpAddr, SocketAddr)] = &[
        // To nobody: addresses that are kept for examples. Connecting such a socket sends nothing.
        (Ipv4Addr::UNSPECIFIED.into(), (Ipv4Addr::new(192, 0, 2, 1), 9).into()),
        (Ipv6Addr::UNSPECIFIED.into(), (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into()),
    ];
    let sends_from = |(from, to): &(IpAddr, SocketAddr)| {
        let socket = UdpSocket::bind((*from, 0)).ok()?;
        socket.connect(to).ok()?;
        let address = socket.local_addr().ok()?.ip();
        (!address.is_unspecified()).then_some(address)
    };
    own.iter().filter_map(sends_from).collect()
}

/// Who can reach an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This machine alone.
    Machine,
    /// The network that it is in (RFC 1918, RFC 4193, link-local).
    Network,
    /// The customers of one provider, who share its addresses (RFC 6598).
    Provider,
    /// Everyone.
    World,
}

/// Who can reach this address.
#[must_use]
pub fn reach(address: IpAddr) -> Reach {
    match address.to_canonical() {
        address if address.is_loopback() => Reach::Machine,
        IpAddr::V4(v4) if v4.is_private() || v4.is_link_local() => Reach::Network,
        IpAddr::V4(v4) if v4.octets().starts_with(&[100]) && v4.octets()[1] & 0xc0 == 64 => {
            Reach::Provider
        }
        IpAddr::V6(v6) if v6.is_unique_local() || v6.is_unicast_link_local() => Reach::Network,
        _ => Reach::World,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_names_stands_and_the_port_is_the_one_listened_at() {
        let tcp = "0.0.0.0:7000".parse().unwrap();
        let named = HostPort::parse("voice.example").unwrap();
        assert_eq!(address(Some(&named), tcp).to_string(), "voice.example:7000");
        let named = HostPort::parse("voice.example:9").unwrap();
        assert_eq!(address(Some(&named), tcp).to_string(), "voice.example:9");
        let one = "127.0.0.1:5".parse().unwrap();
        assert_eq!(address(None, one).to_string(), "127.0.0.1:5");
        assert!(!address(None, tcp).host.starts_with("0."));
    }

    #[test]
    fn reach_is_told_by_the_address() {
        for (text, expected) in [
            ("127.0.0.1", Reach::Machine),
            ("::1", Reach::Machine),
            ("192.168.1.9", Reach::Network),
            ("fd00::1", Reach::Network),
            ("100.64.0.1", Reach::Provider),
            ("100.128.0.1", Reach::World),
            ("8.8.8.8", Reach::World),
            ("2001:4860::8888", Reach::World),
            ("::ffff:10.0.0.1", Reach::Network),
        ] {
            assert_eq!(reach(text.parse().unwrap()), expected, "{text}");
        }
    }
}
