//! The rules, driven by hand.

use super::*;
use crate::net::secret::Secret;

const DAY: u64 = 86_400_000;

fn name(text: &str) -> UserName {
    UserName::parse(text).unwrap()
}

fn room(text: &str) -> RoomName {
    RoomName::parse(text).unwrap()
}

fn record(text: &str) -> PasswordRecord {
    PasswordRecord(text.to_owned())
}

fn device(k: u8) -> Option<DeviceId> {
    Some(DeviceId([k; 32]))
}

fn token(k: u8) -> InviteToken {
    Secret::new([k; 32])
}

fn from(address: &str) -> Option<IpAddr> {
    Some(address.parse().unwrap())
}

fn code(denial: &Denial) -> ErrorCode {
    match denial {
        Denial::Refused(Refusal(message)) => match &**message {
            ServerMessage::Error { code, .. } => *code,
            other => panic!("{other:?}"),
        },
        Denial::Verify(verify) => panic!("{verify:?}"),
    }
}

/// Comes in as a server would let him: passwords compare as texts.
fn come(
    core: &mut AccessCore,
    who: &str,
    claim: &Claim<'_>,
    guess: &str,
    now: u64,
) -> Result<Option<IdentityId>, ErrorCode> {
    let mut proofs = Proofs::default();
    loop {
        match core.review(&name(who), claim, &proofs, now) {
            Ok(grant) => return Ok(core.settle(&grant, claim.device, &name(who), now)),
            Err(Denial::Verify(question)) => {
                let fits = question.record.0 == guess;
                proofs.add(question, fits);
                if fits {
                    core.was_right(claim.address);
                }
            }
            Err(denial) => return Err(code(&denial)),
        }
    }
}

fn terms(uses: u32) -> InviteTerms {
    InviteTerms { uses, ..InviteTerms::default() }
}

#[test]
fn an_open_server_lets_anyone_in_and_remembers_nobody() {
    let mut core = AccessCore::default();
    let claim = Claim { device: device(1), ..Claim::default() };
    assert_eq!(come(&mut core, "ann", &claim, "", 0), Ok(None));
    assert_eq!(core.take_changes(), []);
}

#[test]
fn a_one_time_invite_is_good_for_one_device_and_that_one_comes_back_without() {
    let mut core = AccessCore::new(Snapshot::default(), Some(record("door")));
    core.invite(&token(9), terms(1), "op", 0).unwrap();
    let invited = token(9);
    let ann = Claim { device: device(1), invite: Some(&invited), ..Claim::default() };
    let eve = Claim { device: device(2), invite: Some(&invited), ..Claim::default() };
    assert_eq!(
        come(&mut core, "bob", &Claim { device: None, ..ann.clone() }, "", 1),
        Err(ErrorCode::DeviceNeeded)
    );
    let id = come(&mut core, "ann", &ann, "", 1).unwrap();
    assert!(id.is_some());
    assert_eq!(come(&mut core, "eve", &eve, "", 2), Err(ErrorCode::BadInvite));
    let again = Claim { invite: None, ..ann.clone() };
    assert_eq!(come(&mut core, "ann", &again, "", 3), Ok(id), "the device is known");
    assert_eq!(come(&mut core, "ann", &ann, "", 4), Ok(id), "the same line once more");
    let bare = Claim { invite: None, ..eve };
    assert_eq!(come(&mut core, "eve", &bare, "", 5), Err(ErrorCode::ServerPassword));
    let wrong = Claim { server_password: true, ..bare };
    assert_eq!(come(&mut core, "eve", &wrong, "dor", 5), Err(ErrorCode::BadServerPassword));
    assert_eq!(come(&mut core, "eve", &wrong, "door", 5), Ok(None));
}

#[test]
fn counted_expired_and_revoked_invites() {
    let mut core = AccessCore::default();
    let two = core.invite(&token(1), terms(2), "op", 0).unwrap();
    let day = InviteTerms { until_ms: Some(DAY), ..terms(5) };
    core.invite(&token(2), day, "op", 0).unwrap();
    let (first, second) = (token(1), token(2));
    for (k, expected) in [(1, true), (2, true), (3, false)] {
        let claim = Claim { device: device(k), invite: Some(&first), ..Claim::default() };
        assert_eq!(come(&mut core, &format!("p{k}"), &claim, "", 0).is_ok(), expected);
    }
    assert_eq!(core.invites(0).len(), 1, "used up");
    let claim = Claim { device: device(4), invite: Some(&second), ..Claim::default() };
    assert_eq!(come(&mut core, "p4", &claim, "", DAY), Err(ErrorCode::InviteExpired));
    assert!(come(&mut core, "p4", &claim, "", DAY - 1).is_ok());
    core.revoke_invite(two, "op", 0).unwrap();
    assert!(core.revoke_invite(two, "op", 0).is_err());
    let known = Claim { device: device(1), invite: Some(&first), ..Claim::default() };
    assert_eq!(come(&mut core, "p1", &known, "", 0), Err(ErrorCode::BadInvite));
}

#[test]
fn an_expired_invite_is_called_so_for_a_while_and_lets_those_in_who_have_used_it() {
    let mut core = AccessCore::default();
    let day = InviteTerms { until_ms: Some(DAY), ..terms(5) };
    core.invite(&token(1), day, "op", 0).unwrap();
    let line = token(1);
    let with = |k| Claim { device: device(k), invite: Some(&line), ..Claim::default() };
    let ann = come(&mut core, "ann", &with(1), "", 0).unwrap();
    core.expire(10 * DAY);
    assert_eq!(core.invites(10 * DAY), []);
    assert_eq!(come(&mut core, "bob", &with(2), "", 10 * DAY), Err(ErrorCode::InviteExpired));
    assert_eq!(come(&mut core, "ann", &with(1), "", 10 * DAY), Ok(ann));
    core.take_changes();
    core.expire(40 * DAY);
    assert_eq!(core.take_changes().len(), 1, "forgotten in the end");
    assert_eq!(come(&mut core, "bob", &with(2), "", 40 * DAY), Err(ErrorCode::BadInvite));
}

#[test]
fn invites_that_have_expired_keep_no_new_one_out() {
    let mut core = AccessCore::default();
    for k in 0..2 * INVITES_MAX as u64 {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&k.to_be_bytes());
        let brief = InviteTerms { until_ms: Some(k + 1), ..terms(1) };
        core.invite(&Secret::new(bytes), brief, "op", k).unwrap();
    }
}

/// One use of an address' allowance, and nothing more for an hour.
fn one_an_hour() -> AccessCore {
    let mut core = AccessCore::default();
    core.limit_newcomers(Rate { per_second: 1.0 / 3600.0, burst: 1.0 });
    core.invite(&token(9), terms(100), "op", 0).unwrap();
    core
}

#[test]
fn an_address_brings_no_more_new_people_by_invite_than_it_may() {
    let mut core = one_an_hour();
    let line = token(9);
    let with = |k, address| {
        let address = from(address);
        Claim { device: device(k), invite: Some(&line), address, ..Claim::default() }
    };
    let first = come(&mut core, "p1", &with(1, "192.0.2.1"), "", 0).unwrap();
    let second = with(2, "192.0.2.1");
    assert_eq!(come(&mut core, "p2", &second, "", 0), Err(ErrorCode::TooManyNewcomers));
    let denial = core.review(&name("p2"), &second, &Proofs::default(), 600_000).unwrap_err();
    let Denial::Refused(Refusal(message)) = denial else { panic!("{denial:?}") };
    let expected = ServerMessage::error(ErrorCode::TooManyNewcomers, [("retry_s", "3001".into())]);
    assert_eq!(*message, expected, "when to try again");
    assert_eq!(core.invites(0)[0].uses_left, 99, "a refusal uses nothing");
    // Who is known comes in as before, others do from elsewhere, and the wait has an end.
    assert_eq!(come(&mut core, "p1", &with(1, "192.0.2.1"), "", 0), Ok(first));
    assert!(come(&mut core, "p3", &with(3, "192.0.2.2"), "", 0).is_ok());
    assert!(come(&mut core, "p2", &second, "", 3_600_000).is_ok());
    for k in 10..30 {
        assert!(come(&mut core, &format!("p{k}"), &with(k, "127.0.0.1"), "", 0).is_ok());
    }
}

#[test]
fn an_address_registers_no_more_names_of_new_people_than_it_may() {
    let mut core = one_an_hour();
    let facts = |k, address| Facts { address: from(address), device: device(k), identity: None };
    let mut register = |who: &str, facts: &Facts, now| {
        let registered = core.register(&name(who), facts, record("pw"), now);
        registered.map_err(|refusal| code(&refusal.into()))
    };
    let here = facts(1, "192.0.2.1");
    let ann = register("ann", &here, 0).unwrap();
    let bob = facts(2, "192.0.2.1");
    assert_eq!(register("bob", &bob, 0), Err(ErrorCode::TooManyNewcomers));
    // Another name or password for one who is known brings nobody.
    let known = Facts { identity: Some(ann), ..here };
    assert_eq!(register("anna", &known, 0), Ok(ann));
    assert!(register("bob", &facts(2, "2001:db8::1"), 0).is_ok());
    assert!(register("carl", &facts(3, "192.0.2.1"), 3_600_000).is_ok());
    for k in 10..30 {
        assert!(register(&format!("p{k}"), &facts(k, "::1"), 0).is_ok());
    }
}

#[test]
fn an_owner_s_invite_makes_an_operator_whom_nobody_can_lock_out() {
    let mut core = AccessCore::default();
    core.invite(&token(1), InviteTerms { operator: true, ..terms(1) }, "console", 0).unwrap();
    let owner = token(1);
    let address = from("192.0.2.7");
    let claim = Claim { device: device(1), invite: Some(&owner), address, ..Claim::default() };
    let id = come(&mut core, "ann", &claim, "", 0).unwrap();
    assert_eq!(core.role(id), Some(Role::Operator));
    let ban = SanctionRecord {
        id: 0,
        kind: SanctionKind::Ban,
        subjects: vec![Subject::Network("192.0.2.0/24".parse().unwrap())],
        label: "192.0.2.0/24".to_owned(),
        room: None,
        until_ms: Some(DAY),
        by: "mod".to_owned(),
        reason: None,
    };
    core.sanction(ban, 0).unwrap();
    let claim = Claim { invite: None, ..claim };
    assert_eq!(come(&mut core, "ann", &claim, "", 1), Ok(id));
    let other = Claim { device: device(2), ..claim };
    assert_eq!(come(&mut core, "eve", &other, "", 1), Err(ErrorCode::Banned));
    assert!(come(&mut core, "eve", &other, "", DAY).is_ok(), "the ban has an end");
}

#[test]
fn a_registered_name_is_its_owner_s_alone_and_opens_with_its_password_anywhere() {
    let mut core = AccessCore::default();
    let ann = Facts { device: device(1), ..Facts::default() };
    let id = core.register(&name("Pace"), &ann, record("secret"), 0).unwrap();
    let same = Claim { device: device(1), ..Claim::default() };
    let other = Claim { device: device(2), ..Claim::default() };
    assert_eq!(come(&mut core, "PACE", &same, "", 0), Ok(Some(id)));
    assert_eq!(come(&mut core, "pace", &other, "", 0), Err(ErrorCode::NameRegistered));
    assert_eq!(come(&mut core, "расе", &other, "", 0), Err(ErrorCode::NameLooksTaken));
    let login = Claim { password: true, ..other.clone() };
    assert_eq!(come(&mut core, "pace", &login, "guess", 0), Err(ErrorCode::BadPassword));
    assert_eq!(come(&mut core, "pace", &login, "secret", 0), Ok(Some(id)));
    assert_eq!(come(&mut core, "pace", &other, "", 0), Ok(Some(id)), "this device is known now");
    let bob = Facts { device: device(3), ..Facts::default() };
    assert!(core.register(&name("pace"), &bob, record("x"), 0).is_err());
    assert!(core.check_name(&name("расе"), None).is_err());
    core.unregister(&name("pace"), "ann", 0).unwrap();
    assert!(core.register(&name("pace"), &bob, record("x"), 0).is_ok());
}

#[test]
fn guessing_a_password_is_slow() {
    let mut core = AccessCore::new(Snapshot::default(), Some(record("door")));
    let eve = Claim { server_password: true, address: from("203.0.113.5"), ..Claim::default() };
    let mut outcomes = Vec::new();
    for second in 0..60 {
        outcomes.push(come(&mut core, "eve", &eve, "wrong", second * 1000));
    }
    let guesses = outcomes.iter().filter(|o| **o == Err(ErrorCode::BadServerPassword)).count();
    assert!((5..=10).contains(&guesses), "{guesses} guesses in a minute");
    assert_eq!(
        come(&mut core, "eve", &eve, "door", 60_000),
        Err(ErrorCode::TooManyAttempts),
        "the right one does not count either"
    );
    let ann = Claim { address: from("203.0.113.6"), ..eve };
    assert_eq!(come(&mut core, "ann", &ann, "door", 60_000), Ok(None));
}

#[test]
fn a_room_s_password_opens_it_and_so_do_its_moderators_and_invites() {
    let mut core = AccessCore::default();
    core.set_room_password(&room("Cave"), Some(record("stone"))).unwrap();
    let enter = |core: &mut AccessCore, facts: &Facts, guess: Option<&str>| {
        let mut proofs = Proofs::default();
        loop {
            let given = guess.is_some();
            match core.review_room(&room("cave"), &name("x"), facts, given, &proofs, 0) {
                Ok(()) => return Ok(()),
                Err(Denial::Verify(question)) => {
                    let fits = Some(question.record.0.as_str()) == guess;
                    proofs.add(question, fits);
                }
                Err(denial) => return Err(code(&denial)),
            }
        }
    };
    let guest = Facts::default();
    assert_eq!(enter(&mut core, &guest, None), Err(ErrorCode::RoomPassword));
    assert_eq!(enter(&mut core, &guest, Some("ston")), Err(ErrorCode::BadRoomPassword));
    assert_eq!(enter(&mut core, &guest, Some("stone")), Ok(()));
    let terms = InviteTerms { room: Some(room("cave")), ..terms(1) };
    core.invite(&token(1), terms, "op", 0).unwrap();
    let line = token(1);
    let claim = Claim { device: device(1), invite: Some(&line), ..Claim::default() };
    let identity = come(&mut core, "ann", &claim, "", 0).unwrap();
    let ann = Facts { identity, device: device(1), ..Facts::default() };
    assert_eq!(enter(&mut core, &ann, None), Ok(()));
    core.set_room_password(&room("Cave"), Some(record("new"))).unwrap();
    assert_eq!(enter(&mut core, &ann, None), Err(ErrorCode::RoomPassword), "a new lock");
    core.set_moderator(&room("Cave"), identity.unwrap(), true).unwrap();
    assert_eq!(core.room_role(identity, &room("CAVE")), Some(Role::Moderator));
    assert_eq!(enter(&mut core, &ann, None), Ok(()));
    core.set_room_password(&room("Cave"), None).unwrap();
    assert!(core.kept_room(&room("Cave")).is_some(), "kept for its moderator");
    core.set_moderator(&room("Cave"), identity.unwrap(), false).unwrap();
    assert!(core.kept_room(&room("Cave")).is_none());
}

#[test]
fn a_ban_meets_the_device_the_name_and_what_looks_like_it() {
    let mut core = AccessCore::default();
    let ban = SanctionRecord {
        id: 0,
        kind: SanctionKind::Ban,
        subjects: vec![Subject::Device(DeviceId([5; 32])), Subject::Name(name("pace").keys())],
        label: "pace".to_owned(),
        room: Some(room("hall")),
        until_ms: None,
        by: "op".to_owned(),
        reason: Some("noise".to_owned()),
    };
    let id = core.sanction(ban, 0).unwrap();
    let meets = |core: &AccessCore, who: &str, device, place: &str| {
        let facts = Facts { device, ..Facts::default() };
        let place = room(place);
        core.sanctioned(SanctionKind::Ban, &name(who), &facts, Some(&place), 0).is_some()
    };
    assert!(meets(&core, "PACE", None, "Hall"));
    assert!(meets(&core, "расе", None, "hall"));
    assert!(meets(&core, "other", device(5), "hall"));
    assert!(!meets(&core, "other", device(6), "hall"));
    assert!(!meets(&core, "pace", device(5), "cellar"), "only from that room");
    core.rename_room(&room("hall"), &room("cellar"));
    assert!(meets(&core, "pace", device(5), "cellar"), "a ban moves with its room");
    assert_eq!(core.lift(id).unwrap().id, id);
    assert!(core.lift(id).is_err());
}

#[test]
fn an_identity_keeps_a_bounded_number_of_devices() {
    let mut core = AccessCore::default();
    let ann = Facts { device: device(0), ..Facts::default() };
    let id = core.register(&name("ann"), &ann, record("p"), 0).unwrap();
    for k in 1..=IDENTITY_DEVICES_MAX as u8 {
        let login = Claim { device: device(k), password: true, ..Claim::default() };
        assert_eq!(come(&mut core, "ann", &login, "p", 0), Ok(Some(id)));
    }
    let oldest = Claim { device: device(0), ..Claim::default() };
    assert_eq!(come(&mut core, "ann", &oldest, "", 0), Err(ErrorCode::NameRegistered));
    assert_eq!(core.devices.len(), IDENTITY_DEVICES_MAX);
}
