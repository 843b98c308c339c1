//! Opening the gate at the start: what the store holds, the server's password, and the first invites.

use super::attempts::Origin;
use super::core::{AccessCore, FIRST_START, InviteTerms, Snapshot};
use super::password::{HashError, Hasher};
use super::store::{NotWritten, Store, StoreError};
use crate::actors::lobby::core::Refusal;
use crate::net::invite::{Invite, InviteToken, Issuer};
use crate::net::limits::{GUEST_INVITE_LIFETIME, GUEST_INVITE_USES};
use crate::net::message::ServerMessage;
use crate::net::name::RoomName;
use crate::net::secret::{NoRandomness, Password, Secret};
use std::path::PathBuf;

/// Where a guest's invite leads.
const GUEST_ROOM: &str = "general";

/// Who may come in, and where that is kept.
pub struct Gate {
    /// The rules, with what the store held.
    pub access: AccessCore,
    /// Where changes go.
    pub store: Store,
    /// Compares passwords; shared with the connections.
    pub hasher: Hasher,
    /// What stands in invites; none without TLS, where a token would be shown to everyone.
    pub issuer: Option<Issuer>,
}

/// Invites of a start, to be shown to whoever started the server.
#[derive(Debug, Default)]
pub struct FirstInvites {
    /// Good once: makes an operator. While there is none, each start makes a new one and revokes the last.
    pub owner: Option<Invite>,
    /// For friends. Made at the very first start.
    pub guest: Option<Invite>,
}

/// Why the gate stays shut.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk refuses.
    #[error("{0}; see that its disk is not full")]
    NotWritten(#[from] NotWritten),
    /// The server's password cannot be hashed.
    #[error("the server's password: {0}")]
    Password(#[from] HashError),
    /// The system has no randomness.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// As many invites as there may be.
    #[error("no invite can be made: {0:?}")]
    Refused(Box<ServerMessage>),
}

impl Gate {
    /// Open to anyone, and nothing is kept.
    #[must_use]
    pub fn open() -> Self {
        let (access, store) = (AccessCore::default(), Store::ephemeral());
        Self { access, store, hasher: Hasher::default(), issuer: None }
    }

    /// As the store in this file says, or with none.
    ///
    /// # Errors
    /// The store cannot be used, or the password cannot be hashed.
    pub async fn from_store(
        store: Option<PathBuf>,
        password: Option<Password>,
        issuer: Option<Issuer>,
    ) -> Result<Self, GateError> {
        let hasher = Hasher::default();
        let record = match password {
            Some(password) => Some(hasher.hash(Origin::of(None), password).await?),
            None => None,
        };
        let (store, snapshot) = match store {
            Some(path) => Store::open(path)?,
            None => (Store::ephemeral(), Snapshot::default()),
        };
        Ok(Self { access: AccessCore::new(snapshot, record), store, hasher, issuer })
    }

    /// Makes the invites that a start owes; they are in the store before they are returned.
    ///
    /// # Errors
    /// The disk or the system refuses.
    pub async fn first_invites(&mut self, now_ms: u64) -> Result<FirstInvites, GateError> {
        let mut made = FirstInvites::default();
        if self.issuer.is_none() || self.access.has_operator() {
            return Ok(made);
        }
        let first = self.access.is_new();
        let stale = self.access.invites(now_ms).into_iter();
        for invite in stale.filter(|invite| invite.operator && invite.by == FIRST_START) {
            let _ = self.access.revoke_invite(invite.id, FIRST_START, now_ms);
        }
        let owner = InviteTerms { operator: true, uses: 1, ..InviteTerms::default() };
        made.owner = self.invite(owner, now_ms)?;
        if first {
            let lifetime = u64::try_from(GUEST_INVITE_LIFETIME.as_millis()).unwrap_or(u64::MAX);
            let guest = InviteTerms {
                room: RoomName::parse(GUEST_ROOM).ok(),
                operator: false,
                uses: GUEST_INVITE_USES,
                until_ms: Some(now_ms.saturating_add(lifetime)),
                maker: None,
            };
            made.guest = self.invite(guest, now_ms)?;
        }
        self.store.commit(self.access.take_changes()).on_disk().await?;
        Ok(made)
    }

    fn invite(&mut self, terms: InviteTerms, now_ms: u64) -> Result<Option<Invite>, GateError> {
        let token: InviteToken = Secret::random()?;
        let room = terms.room.clone();
        self.access
            .invite(&token, terms, FIRST_START, now_ms)
            .map_err(|Refusal(message)| GateError::Refused(message))?;
        Ok(self.issuer.as_ref().map(|issuer| issuer.invite(room, token)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::access::core::{Claim, Proofs};
    use crate::net::address::HostPort;
    use crate::net::device::DeviceId;
    use crate::net::name::UserName;

    fn issuer() -> Option<Issuer> {
        let server = HostPort { host: "voice.example".to_owned(), port: Some(8888) };
        Some(Issuer { server, fingerprint: None })
    }

    async fn start(path: &std::path::Path) -> (Gate, FirstInvites) {
        let mut gate = Gate::from_store(Some(path.to_owned()), None, issuer()).await.unwrap();
        let invites = gate.first_invites(0).await.unwrap();
        (gate, invites)
    }

    #[tokio::test]
    async fn each_start_without_an_operator_makes_one_owner_s_invite_and_the_first_a_guest_s() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("parlor.db");
        let (first, invites) = start(&path).await;
        assert_eq!(first.access.invites(0).len(), 2);
        let guest = invites.guest.unwrap();
        assert_eq!(guest.room.unwrap().as_str(), "general");
        let lost = invites.owner.unwrap().token;
        drop(first);
        let (mut second, invites) = start(&path).await;
        assert!(invites.guest.is_none());
        let owner = invites.owner.unwrap().token;
        assert_ne!(owner, lost);
        let name = UserName::parse("ann").unwrap();
        let mut redeem = |token| {
            let claim =
                Claim { device: Some(DeviceId([1; 32])), invite: Some(token), ..Claim::default() };
            let grant = second.access.review(&name, &claim, &Proofs::default(), 0).ok()?;
            second.access.settle(&grant, claim.device, &name, 0)
        };
        assert_eq!(redeem(&lost), None, "revoked");
        assert!(redeem(&owner).is_some());
        second.store.commit(second.access.take_changes()).on_disk().await.unwrap();
        drop(second);
        let (_, invites) = start(&path).await;
        assert!(invites.owner.is_none() && invites.guest.is_none());
    }

    #[tokio::test]
    async fn without_tls_there_are_no_invites() {
        let mut gate = Gate::from_store(None, None, None).await.unwrap();
        let invites = gate.first_invites(0).await.unwrap();
        assert!(invites.owner.is_none() && invites.guest.is_none());
    }
}
