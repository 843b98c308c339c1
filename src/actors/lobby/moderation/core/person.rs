//! Those who give orders, and those whom orders are meant for.

use super::{Orderer, not_allowed, refuse};
use crate::actors::access::core::{CONSOLE, Facts, IdentityId, SanctionRecord};
use crate::actors::lobby::core::{LobbyCore, Refusal};
use crate::net::ids::SessionId;
use crate::net::message::ErrorCode;
use crate::net::moderation::Role;
use crate::net::name::{RoomName, UserName, printable};

/// Whoever gives an order, as he stands now.
#[derive(Debug, Clone)]
pub struct Chair {
    /// What the audit log calls him.
    pub name: String,
    /// The room that he is in.
    pub room: Option<RoomName>,
    console: bool,
    operator: bool,
    keeps_order: bool,
    session: Option<SessionId>,
    facts: Facts,
}

/// Somebody whom an order is meant for.
#[derive(Debug, Clone)]
pub struct Person {
    /// His name.
    pub name: UserName,
    /// What is known of him.
    pub facts: Facts,
    session: Option<SessionId>,
}

impl Chair {
    /// Who gives this order.
    ///
    /// # Errors
    /// He has gone.
    pub fn of(core: &LobbyCore, by: Orderer) -> Result<Self, Refusal> {
        let Orderer::Session(session) = by else {
            return Ok(Self {
                name: CONSOLE.to_owned(),
                room: None,
                console: true,
                operator: true,
                keeps_order: true,
                session: None,
                facts: Facts::default(),
            });
        };
        let (_, name) = core.member(session).ok_or_else(not_allowed)?;
        let facts = core.facts(session).cloned().unwrap_or_default();
        let operator = core.access.role(facts.identity) == Some(Role::Operator);
        Ok(Self {
            name: name.to_string(),
            room: core.room_of(session).and_then(|id| core.room_name(id)).cloned(),
            console: false,
            operator,
            keeps_order: operator || core.access.moderates(facts.identity),
            session: Some(session),
            facts,
        })
    }

    /// Who he is; nobody if the server itself.
    #[must_use]
    pub fn identity(&self) -> Option<IdentityId> {
        self.facts.identity
    }

    /// Whether he keeps order anywhere at all; who does not is told nothing else.
    ///
    /// # Errors
    /// He does not.
    pub fn keeps_order(&self) -> Result<(), Refusal> {
        if self.keeps_order { Ok(()) } else { Err(not_allowed()) }
    }

    /// Whether he keeps order everywhere.
    ///
    /// # Errors
    /// He does not.
    pub fn operates(&self) -> Result<(), Refusal> {
        let needs = || refuse(ErrorCode::NotAllowed, [("needs", "operator".to_owned())]);
        if self.operator { Ok(()) } else { Err(needs()) }
    }

    /// Whether he keeps order in this room.
    ///
    /// # Errors
    /// He does not.
    pub fn moderates(&self, core: &LobbyCore, room: &RoomName) -> Result<(), Refusal> {
        let moderator = || core.access.room_role(self.facts.identity, room).is_some();
        if self.operator || moderator() { Ok(()) } else { Err(not_allowed()) }
    }

    /// Whether a sanction is meant for him.
    #[must_use]
    pub fn is_met_by(&self, record: &SanctionRecord) -> bool {
        UserName::parse(&self.name).is_ok_and(|name| record.meets(&name, &self.facts))
    }

    /// Whether these facts are his own.
    fn is(&self, facts: &Facts) -> bool {
        let identity = facts.identity.is_some() && facts.identity == self.facts.identity;
        identity || (facts.device.is_some() && facts.device == self.facts.device)
    }

    /// Whether he may act on somebody; `room` where he acts as its moderator.
    ///
    /// # Errors
    /// It is himself, an operator, or another moderator of the room.
    pub fn over(
        &self,
        core: &LobbyCore,
        person: &Person,
        room: Option<&RoomName>,
    ) -> Result<(), Refusal> {
        if self.console {
            return Ok(());
        }
        let himself =
            (person.session.is_some() && person.session == self.session) || self.is(&person.facts);
        let identity = person.facts.identity;
        let operator = core.access.role(identity) == Some(Role::Operator);
        let peer = !self.operator
            && room.is_some_and(|room| core.access.room_role(identity, room).is_some());
        if himself || operator || peer {
            return Err(refuse(ErrorCode::NotOverHim, [("name", person.name.to_string())]));
        }
        Ok(())
    }
}

impl Person {
    /// Whether he can be banned or silenced at all. Operators cannot, not even by the console, which takes
    /// the role away first: a ban that meets nobody would only look like one.
    ///
    /// # Errors
    /// He is an operator.
    pub fn refuse_operator(&self, core: &LobbyCore) -> Result<(), Refusal> {
        match core.access.role(self.facts.identity) {
            Some(Role::Operator) => {
                Err(refuse(ErrorCode::NotOverHim, [("name", self.name.to_string())]))
            }
            _ => Ok(()),
        }
    }

    /// A user who is here.
    ///
    /// # Errors
    /// Nobody here has this name.
    pub fn here(core: &LobbyCore, name: &str) -> Result<Self, Refusal> {
        let missing = || refuse(ErrorCode::NoSuchUser, [("name", printable(name))]);
        let session = core.find_user(name).ok_or_else(missing)?;
        let (_, name) = core.member(session).ok_or_else(missing)?;
        let facts = core.facts(session).cloned().unwrap_or_default();
        Ok(Self { name: name.clone(), facts, session: Some(session) })
    }

    /// A registered name's owner.
    #[must_use]
    pub fn known(name: UserName, id: IdentityId) -> Self {
        let facts = Facts { identity: Some(id), ..Facts::default() };
        Self { name, facts, session: None }
    }

    /// A user who is here, or whose name is registered.
    ///
    /// # Errors
    /// There is none.
    pub fn find(core: &LobbyCore, name: &str) -> Result<Self, Refusal> {
        if let Ok(here) = Self::here(core, name) {
            return Ok(here);
        }
        let missing = || refuse(ErrorCode::NobodyKnown, [("name", printable(name))]);
        let parsed = UserName::parse(name).map_err(|_| missing())?;
        let id = core.access.owner_of(&parsed).ok_or_else(missing)?;
        let name = core.access.registered_name(id).cloned().unwrap_or(parsed);
        Ok(Self::known(name, id))
    }

    /// His session.
    ///
    /// # Errors
    /// He is away.
    pub fn session(&self) -> Result<SessionId, Refusal> {
        let missing = || refuse(ErrorCode::NoSuchUser, [("name", self.name.to_string())]);
        self.session.ok_or_else(missing)
    }
}
