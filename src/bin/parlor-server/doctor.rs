//! `doctor`: whether friends outside can reach the server, and what to open for them.
//!
//! It looks at this machine, and at the one address that it is told; what it cannot know from the
//! inside it says. `findings` judges, `probe` looks.

mod findings;
mod probe;

use crate::args::Doctor;
use crate::{any, resolve, say, warn};
use findings::{Facts, Finding, Level, Resolved};
use parlor::actors::control_socket::ask;
use parlor::actors::public;
use parlor::net::address::{HostPort, TCP_PORT, UDP_PORT};
use parlor::net::moderation::{AdminReply, AdminRequest};
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

/// Something stands in friends' way for sure.
const EXIT_UNREACHABLE: u8 = 1;
const EXIT_USAGE: u8 = 2;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

pub(crate) async fn run(doctor: Doctor, directory: &Path, json: bool) -> ExitCode {
    let facts = match look(doctor, directory).await {
        Ok(facts) => facts,
        Err(error) => {
            warn(&format!("{error:#}"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let findings = findings::findings(&facts);
    show(&findings, json);
    if findings.iter().any(|finding| finding.level == Level::Bad) {
        ExitCode::from(EXIT_UNREACHABLE)
    } else {
        ExitCode::SUCCESS
    }
}

fn show(findings: &[Finding], json: bool) {
    if json {
        let findings: Vec<_> = findings
            .iter()
            .map(|Finding { level, text }| json!({ "level": level.word(), "text": text }))
            .collect();
        return say(&json!({ "type": "doctor", "findings": findings }).to_string());
    }
    for Finding { level, text } in findings {
        say(&format!("{:<8} {text}", level.word()));
    }
}

async fn look(doctor: Doctor, directory: &Path) -> anyhow::Result<Facts> {
    let Doctor { public_address, tcp, udp } = doctor;
    let status = ask(directory, &AdminRequest::Status).await;
    let (running, tcp, udp, public) = match status {
        Ok(AdminReply::Status { tcp, udp, public, .. }) => {
            (true, tcp.parse()?, udp.parse()?, HostPort::parse(&public).ok())
        }
        _ => {
            let tcp = resolve(&tcp.unwrap_or_else(|| any(TCP_PORT)), TCP_PORT).await?;
            let udp = resolve(&udp.unwrap_or_else(|| any(UDP_PORT)), UDP_PORT).await?;
            (false, tcp, udp, None)
        }
    };
    let named = public_address.or(public);
    let resolved = match &named {
        Some(named) => Some(look_at(named, running, tcp, udp).await),
        None => None,
    };
    let own = public::own_addresses();
    Ok(Facts { running, tcp, udp, own, resolved, firewall: probe::firewall() })
}

/// Looks up the address that friends use, and tries it.
async fn look_at(named: &HostPort, running: bool, tcp: SocketAddr, udp: SocketAddr) -> Resolved {
    let port = named.port.unwrap_or(tcp.port());
    let addresses = match tokio::net::lookup_host((named.host.as_str(), port)).await {
        Ok(addresses) => Ok(addresses.map(|at| at.ip()).take(ADDRESSES_MAX).collect::<Vec<_>>()),
        Err(error) => Err(error.to_string()),
    };
    let mut probes = Vec::new();
    for address in addresses.iter().flatten() {
        probes.push(probe::Probes {
            address: *address,
            tcp: probe::tcp((*address, port).into(), tcp, running).await,
            udp: probe::udp((*address, udp.port()).into(), udp, running).await,
        });
    }
    Resolved { named: named.clone(), tcp_port: port, addresses, probes }
}
