//! Whether a server is believed: what is remembered of it, what it shows, what was expected. Pure.
//!
//! A server is known by its key (pinned at first use, or named by the user), or by its name, where
//! an authority of this system's trust vouches for its certificate. What was once known by a
//! certificate is never taken for known by a key that nobody vouches for, and a key that differs
//! from the one remembered is refused.

use super::control::dial::Trust;
use crate::net::address::HostPort;
use crate::net::fingerprint::Fingerprint;
use std::fmt;
use std::net::IpAddr;

/// What stands in place of a fingerprint where authorities vouch for a server.
const CERTIFICATE: &str = "ca";
/// What a new file begins with.
const HEADING: &str = "# The servers that parlor knows: HOST:PORT and the fingerprint of its key, or \"ca\" where a\n\
                       # certificate authority vouches for it. A line that is removed makes a server unknown again.\n";

/// A server as the user names it: what is remembered is remembered of this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerId(String);

impl ServerId {
    /// The server at this host and port. Ways of writing the same host are the same.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        let host = match host.parse::<IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => host.trim_end_matches('.').to_ascii_lowercase(),
        };
        Self(HostPort { host, port: Some(port) }.to_string())
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the user, or the way that he came, says of the server's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: a server that is not known yet is remembered.
    Nothing,
    /// This key and no other.
    Key {
        /// Its fingerprint.
        fingerprint: Fingerprint,
        /// The user says so himself: it takes the place of what is remembered.
        from_now_on: bool,
    },
    /// A server that is known, or vouched for; no first use.
    Vouched,
}

/// What is remembered of one server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// Its keys; several only if the user wrote them down.
    pub keys: Vec<Fingerprint>,
    /// Authorities vouch for it.
    pub certificate: bool,
    /// Number of the first line that says so, from 1.
    pub line: usize,
    /// Number of a line about it that says nothing, from 1.
    pub damaged: Option<usize>,
}

/// What a server shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Fingerprint of its key.
    pub fingerprint: Fingerprint,
    /// What the system's authorities say of its certificate.
    pub vouched: Vouched,
}

/// What the system's authorities say of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vouched {
    /// It is good for this host.
    Yes,
    /// Not that they know of; why.
    No(String),
    /// It is good, and for other hosts; which.
    ForOthers(String),
}

/// What is written down of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It is known by this key.
    Key(Fingerprint),
    /// It is known by its certificate.
    Certificate,
}

/// A server that is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Why.
    pub trust: Trust,
    /// What is to be written down in place of what was.
    pub remember: Option<Entry>,
}

/// Why a server is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It had another key.
    KeyChanged {
        /// The key before.
        known: Fingerprint,
        /// The key now.
        shown: Fingerprint,
        /// Where that is written.
        line: usize,
        /// An authority vouches for the key now; whoever has a certificate for its name would have that, too.
        vouched: bool,
    },
    /// It has not the key that was named.
    OtherKey {
        /// The key that was named.
        expected: Fingerprint,
        /// The key that it has.
        shown: Fingerprint,
    },
    /// It had a certificate that authorities vouched for.
    CertificateLost {
        /// What is wrong with what it shows.
        why: String,
        /// The key now.
        shown: Fingerprint,
        /// Where that is written.
        line: usize,
    },
    /// Its certificate is for other hosts; which.
    CertificateForOthers(String),
    /// Nobody vouches for it, and it is not known.
    Unknown {
        /// What is wrong with its certificate.
        why: String,
        /// Its key.
        shown: Fingerprint,
    },
    /// What is remembered of it cannot be read.
    Damaged {
        /// Which line.
        line: usize,
    },
}

/// Judges a server.
///
/// # Errors
/// It is not to be believed.
pub fn judge(expect: Expect, memory: &Memory, shown: &Shown) -> Result<Accepted, Refusal> {
    let Shown { fingerprint, vouched } = shown;
    let (shown, known) = (*fingerprint, memory.keys.contains(fingerprint));
    let accept = |trust, remember| Ok(Accepted { trust, remember });
    if let Expect::Key { fingerprint: expected, from_now_on } = expect {
        if expected != shown {
            return Err(Refusal::OtherKey { expected, shown });
        }
        let settled = known || (memory.certificate && *vouched == Vouched::Yes);
        let empty = *memory == Memory::default();
        let write = !settled && (empty || from_now_on);
        return accept(Trust::Known, write.then_some(Entry::Key(shown)));
    }
    if let Some(line) = memory.damaged {
        return Err(Refusal::Damaged { line });
    }
    if *vouched == Vouched::Yes {
        return match memory.keys.first() {
            _ if memory.certificate => accept(Trust::Certificate, None),
            // It was known by its key, and nobody can vouch for another in its place.
            Some(before) if !known => {
                Err(Refusal::KeyChanged { known: *before, shown, line: memory.line, vouched: true })
            }
            _ => accept(Trust::Certificate, Some(Entry::Certificate)),
        };
    }
    if known {
        return accept(Trust::Known, None);
    }
    let why = match vouched {
        Vouched::No(why) | Vouched::ForOthers(why) => why.clone(),
        Vouched::Yes => String::new(),
    };
    let line = memory.line;
    if memory.certificate {
        return Err(Refusal::CertificateLost { why, shown, line });
    }
    if let Some(known) = memory.keys.first() {
        return Err(Refusal::KeyChanged { known: *known, shown, line, vouched: false });
    }
    match (expect, vouched) {
        (_, Vouched::ForOthers(why)) => Err(Refusal::CertificateForOthers(why.clone())),
        (Expect::Nothing, _) => accept(Trust::FirstUse(shown), Some(Entry::Key(shown))),
        _ => Err(Refusal::Unknown { why, shown }),
    }
}

/// The file of known servers: one line for each, and whatever else stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownServers(Vec<String>);

impl KnownServers {
    /// Reads the file's text; without one there is only the heading.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Self {
        Self(text.unwrap_or(HEADING).lines().map(str::to_owned).collect())
    }

    /// What is remembered of a server.
    #[must_use]
    pub fn recall(&self, server: &ServerId) -> Memory {
        let mut memory = Memory::default();
        for (k, line) in self.0.iter().enumerate() {
            let mut words = line.split_whitespace();
            if !words.next().is_some_and(|word| is(server, word)) {
                continue;
            }
            if memory.line == 0 {
                memory.line = k + 1;
            }
            match (words.next(), words.next()) {
                (Some(CERTIFICATE), None) => memory.certificate = true,
                (Some(word), None) => match word.parse() {
                    Ok(fingerprint) => memory.keys.push(fingerprint),
                    Err(_) => memory.damaged = Some(k + 1),
                },
                _ => memory.damaged = Some(k + 1),
            }
        }
        memory
    }

    /// Writes down what a server is known by, in place of what was written of it.
    pub fn remember(&mut self, server: &ServerId, entry: Entry) {
        let line = match entry {
            Entry::Key(fingerprint) => format!("{server} {fingerprint}"),
            Entry::Certificate => format!("{server} {CERTIFICATE}"),
        };
        let about = |line: &String| line.split_whitespace().next().is_some_and(|w| is(server, w));
        let at = self.0.iter().position(about).unwrap_or(self.0.len());
        self.0.retain(|line| !about(line));
        self.0.insert(at.min(self.0.len()), line);
    }
}

/// Whether a word of the file names this server.
fn is(server: &ServerId, word: &str) -> bool {
    match HostPort::parse(word) {
        Ok(HostPort { host, port: Some(port) }) => ServerId::new(&host, port) == *server,
        _ => false,
    }
}

impl fmt::Display for KnownServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Fingerprint = Fingerprint::new([1; 32]);
    const B: Fingerprint = Fingerprint::new([2; 32]);

    fn shown(fingerprint: Fingerprint, vouched: Vouched) -> Shown {
        Shown { fingerprint, vouched }
    }

    fn alone(fingerprint: Fingerprint) -> Shown {
        shown(fingerprint, Vouched::No("unknown".to_owned()))
    }

    fn knows(keys: &[Fingerprint], certificate: bool) -> Memory {
        Memory { keys: keys.to_vec(), certificate, line: 3, damaged: None }
    }

    fn accepted(trust: Trust, remember: Option<Entry>) -> Result<Accepted, Refusal> {
        Ok(Accepted { trust, remember })
    }

    #[test]
    fn a_new_server_is_remembered_and_then_known() {
        let first = judge(Expect::Nothing, &Memory::default(), &alone(A));
        assert_eq!(first, accepted(Trust::FirstUse(A), Some(Entry::Key(A))));
        let then = judge(Expect::Nothing, &knows(&[A], false), &alone(A));
        assert_eq!(then, accepted(Trust::Known, None));
    }

    #[test]
    fn a_changed_key_is_refused_with_both_fingerprints_and_the_line() {
        let refused = judge(Expect::Nothing, &knows(&[A], false), &alone(B));
        let changed = |vouched| Err(Refusal::KeyChanged { known: A, shown: B, line: 3, vouched });
        assert_eq!(refused, changed(false));
        for expect in [Expect::Nothing, Expect::Vouched] {
            let refused = judge(expect, &knows(&[A], false), &shown(B, Vouched::Yes));
            assert_eq!(refused, changed(true), "whoever vouches for it");
        }
    }

    #[test]
    fn a_named_key_is_the_only_one_accepted_whoever_vouches_for_another() {
        let expect = Expect::Key { fingerprint: A, from_now_on: true };
        for memory in [Memory::default(), knows(&[B], false), knows(&[], true)] {
            let other = judge(expect, &memory, &shown(B, Vouched::Yes));
            assert_eq!(other, Err(Refusal::OtherKey { expected: A, shown: B }));
            assert_eq!(
                judge(expect, &memory, &alone(A)),
                accepted(Trust::Known, Some(Entry::Key(A)))
            );
        }
        assert_eq!(judge(expect, &knows(&[A], false), &alone(A)), accepted(Trust::Known, None));
    }

    #[test]
    fn a_key_that_another_named_for_us_does_not_replace_what_we_know() {
        let expect = Expect::Key { fingerprint: A, from_now_on: false };
        let new = judge(expect, &Memory::default(), &alone(A));
        assert_eq!(new, accepted(Trust::Known, Some(Entry::Key(A))));
        for memory in [knows(&[B], false), knows(&[], true)] {
            assert_eq!(judge(expect, &memory, &alone(A)), accepted(Trust::Known, None));
        }
    }

    #[test]
    fn a_certificate_may_change_its_key_and_may_not_be_lost() {
        let memory = knows(&[], true);
        for key in [A, B] {
            let renewed = judge(Expect::Nothing, &memory, &shown(key, Vouched::Yes));
            assert_eq!(renewed, accepted(Trust::Certificate, None));
        }
        for vouched in [Vouched::No("expired".to_owned()), Vouched::ForOthers("expired".to_owned())]
        {
            let refused = judge(Expect::Nothing, &memory, &shown(A, vouched));
            let why = "expired".to_owned();
            assert_eq!(refused, Err(Refusal::CertificateLost { why, shown: A, line: 3 }));
        }
    }

    #[test]
    fn a_server_with_a_good_certificate_is_known_by_it_from_now_on() {
        let good = |key| shown(key, Vouched::Yes);
        let certificate = Some(Entry::Certificate);
        let new = judge(Expect::Nothing, &Memory::default(), &good(A));
        assert_eq!(new, accepted(Trust::Certificate, certificate));
        let same_key = judge(Expect::Nothing, &knows(&[A], false), &good(A));
        assert_eq!(same_key, accepted(Trust::Certificate, certificate));
    }

    #[test]
    fn a_certificate_for_other_hosts_is_no_first_use() {
        let others = shown(A, Vouched::ForOthers("other.example".to_owned()));
        let refused = judge(Expect::Nothing, &Memory::default(), &others);
        assert_eq!(refused, Err(Refusal::CertificateForOthers("other.example".to_owned())));
        let pinned = judge(Expect::Nothing, &knows(&[A], false), &others);
        assert_eq!(pinned, accepted(Trust::Known, None));
    }

    #[test]
    fn who_must_be_vouched_for_is_not_taken_at_first_use() {
        let refused = judge(Expect::Vouched, &Memory::default(), &alone(A));
        assert!(matches!(refused, Err(Refusal::Unknown { shown: A, .. })));
        let known = judge(Expect::Vouched, &knows(&[A], false), &alone(A));
        assert_eq!(known, accepted(Trust::Known, None));
        let vouched = judge(Expect::Vouched, &Memory::default(), &shown(A, Vouched::Yes));
        assert!(vouched.is_ok());
    }

    #[test]
    fn a_line_that_cannot_be_read_opens_no_door() {
        let server = ServerId::new("a.example", 8888);
        for rest in ["", "SHA256:short", "ca more", "CA"] {
            let text = format!("# x\na.example:8888 {rest}\n");
            let memory = KnownServers::parse(Some(&text)).recall(&server);
            assert_eq!(memory.damaged, Some(2), "{text}");
            for vouched in [Vouched::Yes, Vouched::No(String::new())] {
                let refused = judge(Expect::Nothing, &memory, &shown(A, vouched));
                assert_eq!(refused, Err(Refusal::Damaged { line: 2 }), "{text}");
            }
        }
    }

    #[test]
    fn remembering_changes_one_line_and_keeps_all_others() {
        let text = format!("# mine\n\nb.example:1 {B}\nwhat is this\nA.example:8888 {A}\nlast\n");
        let mut known = KnownServers::parse(Some(&text));
        let server = ServerId::new("a.EXAMPLE.", 8888);
        assert_eq!(known.recall(&server).keys, [A]);
        assert_eq!(known.recall(&server).line, 5);
        known.remember(&server, Entry::Certificate);
        let expected = text.replace(&format!("A.example:8888 {A}"), "a.example:8888 ca");
        assert_eq!(known.to_string(), expected);
        known.remember(&server, Entry::Key(B));
        assert_eq!(known.recall(&server).keys, [B]);
        assert!(!known.recall(&server).certificate);
        known.remember(&ServerId::new("::1", 7), Entry::Key(A));
        assert!(known.to_string().ends_with(&format!("last\n[::1]:7 {A}\n")));
    }

    #[test]
    fn another_port_or_host_is_another_server() {
        let text = format!("a.example:1 {A}\n#a.example:2 {A}\n a.example:3 {A}\n");
        let known = KnownServers::parse(Some(&text));
        let empty = |host, port| known.recall(&ServerId::new(host, port)) == Memory::default();
        assert!(empty("a.example", 2) && empty("b.example", 1) && empty("a.example.org", 1));
        assert!(!empty("a.example", 1) && !empty("a.example", 3));
        assert_eq!(ServerId::new("0:0:0:0:0:0:0:1", 1), ServerId::new("::1", 1));
    }

    #[test]
    fn a_new_file_says_what_it_is() {
        let mut known = KnownServers::parse(None);
        known.remember(&ServerId::new("h", 1), Entry::Key(A));
        let text = known.to_string();
        assert!(text.starts_with('#') && text.ends_with(&format!("\nh:1 {A}\n")), "{text}");
    }
}
