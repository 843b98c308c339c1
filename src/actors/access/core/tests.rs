//! The rules, driven by hand.

use super::*;
use crate::net::limits::INVITES_MAX;
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
                if fits {
                    core.was_right(claim.address, &question, now);
                }
                proofs.add(question, fits);
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

// ---- identities ---------------------------------------------------------------------------

fn on(k: u8) -> Facts {
    Facts { device: device(k), ..Facts::default() }
}

/// Whether the server knows this one as an operator when he comes on this device.
fn operates(core: &mut AccessCore, who: &str, k: u8) -> bool {
    let id = come(core, who, &Claim { device: device(k), ..Claim::default() }, "", 0).unwrap();
    core.role(id) == Some(Role::Operator)
}

fn make_owner(core: &mut AccessCore, who: &str, k: u8) -> IdentityId {
    core.invite(&token(1), InviteTerms { operator: true, ..terms(1) }, CONSOLE, 0).unwrap();
    let line = token(1);
    let claim = Claim { device: device(k), invite: Some(&line), ..Claim::default() };
    come(core, who, &claim, "", 0).unwrap().unwrap()
}

#[test]
fn an_identity_that_nobody_has_a_use_for_goes_with_its_name() {
    let mut core = AccessCore::default();
    for k in 0..10 {
        let facts = if k % 2 == 0 { on(k) } else { Facts::default() };
        let id = core.register(&name("eve"), &facts, record("p"), 0).unwrap();
        core.take_changes();
        core.unregister(&name("eve"), "eve", 0).unwrap();
        assert!(core.take_changes().contains(&Change::IdentityGone(id)));
        // Her session still says who she was.
        let stale = Facts { identity: Some(id), ..facts };
        let again = core.register(&name("eva"), &stale, record("p"), 0).unwrap();
        assert_ne!(again, id);
        core.unregister(&name("eva"), "eva", 0).unwrap();
    }
    assert_eq!((core.identities.len(), core.devices.len(), core.of_identity.len()), (0, 0, 0));
}

#[test]
fn an_identity_with_a_role_an_invite_a_room_or_a_ban_stays_when_its_name_goes() {
    let mut core = AccessCore::default();
    let owner = make_owner(&mut core, "ann", 1);
    core.register(&name("ann"), &on(1), record("p"), 0).unwrap();
    let mut register = |who: &str, k| core.register(&name(who), &on(k), record("p"), 0).unwrap();
    let (max, bob, dan) = (register("max", 2), register("bob", 3), register("dan", 4));
    core.set_moderator(&room("hall"), max, true).unwrap();
    let ban = SanctionRecord {
        id: 0,
        kind: SanctionKind::Ban,
        subjects: vec![Subject::Identity(bob)],
        label: "bob".to_owned(),
        room: None,
        until_ms: None,
        by: "ann".to_owned(),
        reason: None,
    };
    core.sanction(ban, 0).unwrap();
    for who in ["ann", "max", "bob", "dan"] {
        core.unregister(&name(who), "ann", 0).unwrap();
    }
    let left: Vec<IdentityId> = core.identities.keys().copied().collect();
    assert_eq!(left, [owner, max, bob]);
    assert!(!core.devices.contains_key(&DeviceId([4; 32])), "{dan:?}");
    // Where there is a password, a device that is known lets one in.
    let mut locked = AccessCore::new(Snapshot::default(), Some(record("door")));
    locked.register(&name("eve"), &on(5), record("p"), 0).unwrap();
    locked.unregister(&name("eve"), "eve", 0).unwrap();
    assert_eq!(locked.identities.len(), 1);
}

#[test]
fn names_that_anyone_registers_leave_places_to_those_who_are_invited() {
    let mut core = AccessCore::default();
    for k in 0..IDENTITIES_REGISTERED_MAX as u64 {
        let id = core.fresh_id();
        let id = IdentityId(id);
        let identity = Identity { id, name: None, password: None, operator: false, created_ms: k };
        core.identities.insert(id, identity);
    }
    let refused = core.register(&name("eve"), &on(1), record("p"), 0).unwrap_err();
    assert_eq!(code(&refused.into()), ErrorCode::TooMany);
    core.invite(&token(9), terms(1), "op", 0).unwrap();
    let line = token(9);
    let claim = Claim { device: device(2), invite: Some(&line), ..Claim::default() };
    assert!(come(&mut core, "ann", &claim, "", 0).unwrap().is_some());
    assert!(core.make_known(&on(3), 0).is_ok());
}

#[test]
fn whoever_logs_in_on_another_s_device_leaves_it_to_him() {
    let mut core = AccessCore::default();
    make_owner(&mut core, "ann", 1);
    let bob = core.register(&name("bob"), &on(2), record("b"), 0).unwrap();
    let login = Claim { device: device(1), password: true, ..Claim::default() };
    assert_eq!(come(&mut core, "bob", &login, "b", 0), Ok(Some(bob)), "for this session");
    assert!(operates(&mut core, "ann", 1));
    // Nor do an invite or a registration take it away.
    core.invite(&token(5), terms(1), "op", 0).unwrap();
    let line = token(5);
    come(&mut core, "bob", &Claim { invite: Some(&line), ..login.clone() }, "b", 0).unwrap();
    let as_bob = Facts { identity: Some(bob), ..on(1) };
    core.register(&name("bobby"), &as_bob, record("b"), 0).unwrap();
    assert!(operates(&mut core, "ann", 1) && core.has_operator());
    // Whoever is here on a known device, and was not known when he came, is its owner.
    assert_eq!(core.make_known(&on(2), 0), Ok(bob));
}

#[test]
fn an_operator_who_can_never_come_again_is_none() {
    let mut core = AccessCore::default();
    let id = core.register(&name("ann"), &Facts::default(), record("p"), 0).unwrap();
    core.set_operator(id, true);
    assert!(core.has_operator());
    core.unregister(&name("ann"), "ann", 0).unwrap();
    assert!(!core.has_operator(), "a start makes another owner's invite");
}

#[test]
fn an_operator_s_password_opens_the_door_that_his_network_is_banned_from() {
    let mut core = AccessCore::default();
    make_owner(&mut core, "ann", 1);
    core.register(&name("ann"), &on(1), record("p"), 0).unwrap();
    core.register(&name("bob"), &on(2), record("b"), 0).unwrap();
    let ban = SanctionRecord {
        id: 0,
        kind: SanctionKind::Ban,
        subjects: vec![Subject::Network("192.0.2.0/24".parse().unwrap())],
        label: "192.0.2.0/24".to_owned(),
        room: None,
        until_ms: None,
        by: "ann".to_owned(),
        reason: None,
    };
    core.sanction(ban, 0).unwrap();
    let bare = Claim { device: device(7), address: from("192.0.2.9"), ..Claim::default() };
    let login = Claim { password: true, ..bare.clone() };
    assert_eq!(come(&mut core, "ann", &bare, "", 0), Err(ErrorCode::Banned));
    assert_eq!(come(&mut core, "ann", &login, "guess", 0), Err(ErrorCode::BadPassword));
    assert_eq!(come(&mut core, "bob", &login, "b", 0), Err(ErrorCode::Banned));
    let id = come(&mut core, "ann", &login, "p", 0).unwrap();
    assert_eq!(core.role(id), Some(Role::Operator));
}

#[test]
fn nobody_goes_by_a_name_that_the_log_has_for_the_server() {
    let mut core = AccessCore::default();
    let claim = Claim { device: device(1), ..Claim::default() };
    // The third is written with Cyrillic letters where there are any.
    for who in ["console", "CONSOLE", "соnsоlе", "First Start"] {
        assert_eq!(come(&mut core, who, &claim, "", 0), Err(ErrorCode::BadName), "{who}");
        assert!(core.check_name(&name(who), None).is_err(), "{who}");
        assert!(core.register(&name(who), &on(1), record("p"), 0).is_err(), "{who}");
    }
    assert!(come(&mut core, "Consuela", &claim, "", 0).is_ok());
}

// ---- what an invite opens, and how long ---------------------------------------------------

/// Whether somebody on this device goes into the den without its password.
fn gets_in(core: &mut AccessCore, k: u8) -> bool {
    let facts = Facts { identity: core.devices.get(&DeviceId([k; 32])).copied(), ..on(k) };
    core.review_room(&room("den"), &name("x"), &facts, false, &Proofs::default(), 0).is_ok()
}

/// A server with a password, a den with one, and invites to the den: of the console, and of its moderator.
fn den() -> (AccessCore, IdentityId) {
    let mut core = AccessCore::new(Snapshot::default(), Some(record("door")));
    let max = core.register(&name("max"), &on(1), record("p"), 0).unwrap();
    core.set_room_password(&room("den"), Some(record("old"))).unwrap();
    core.set_moderator(&room("den"), max, true).unwrap();
    let to_den = InviteTerms { room: Some(room("Den")), ..terms(9) };
    core.invite(&token(1), to_den.clone(), CONSOLE, 0).unwrap();
    core.invite(&token(2), InviteTerms { maker: Some(max), ..to_den }, "max", 0).unwrap();
    (core, max)
}

fn redeem(core: &mut AccessCore, line: u8, k: u8) -> Result<Option<IdentityId>, ErrorCode> {
    let token = token(line);
    let claim = Claim { device: device(k), invite: Some(&token), ..Claim::default() };
    come(core, &format!("p{k}"), &claim, "", 0)
}

#[test]
fn an_invite_to_a_room_does_not_open_another_of_that_name() {
    let (mut core, _) = den();
    redeem(&mut core, 1, 10).unwrap();
    redeem(&mut core, 2, 11).unwrap();
    assert!(gets_in(&mut core, 10) && gets_in(&mut core, 11));
    core.forget_room(&room("DEN"));
    core.set_room_password(&room("den"), Some(record("new"))).unwrap();
    assert!(!gets_in(&mut core, 10) && !gets_in(&mut core, 11));
    assert_eq!(redeem(&mut core, 2, 12), Err(ErrorCode::BadInvite), "the moderator's");
    redeem(&mut core, 1, 13).unwrap();
    assert!(!gets_in(&mut core, 13), "the console's still opens the server, and only that");
}

#[test]
fn a_new_password_of_a_room_shuts_out_what_was_to_open_the_old_one() {
    let (mut core, _) = den();
    core.set_room_password(&room("den"), Some(record("new"))).unwrap();
    assert_eq!(redeem(&mut core, 2, 12), Err(ErrorCode::BadInvite));
    redeem(&mut core, 1, 13).unwrap();
    assert!(!gets_in(&mut core, 13));
    let later = InviteTerms { room: Some(room("den")), ..terms(1) };
    core.invite(&token(3), later, CONSOLE, 0).unwrap();
    redeem(&mut core, 3, 14).unwrap();
    assert!(gets_in(&mut core, 14), "what is made afterwards opens it");
}

#[test]
fn whoever_keeps_order_no_longer_leaves_no_invites_behind() {
    let (mut core, max) = den();
    core.set_moderator(&room("den"), max, false).unwrap();
    assert_eq!(redeem(&mut core, 2, 12), Err(ErrorCode::BadInvite));
    redeem(&mut core, 1, 13).unwrap();
    assert!(gets_in(&mut core, 13), "the console's is as it was");
    core.set_operator(max, true);
    let his = InviteTerms { operator: true, maker: Some(max), ..terms(1) };
    core.invite(&token(4), his, "max", 0).unwrap();
    core.set_operator(max, false);
    assert_eq!(redeem(&mut core, 4, 14), Err(ErrorCode::BadInvite));
}

// ---- guesses ------------------------------------------------------------------------------

#[test]
fn a_password_that_was_not_compared_is_no_guess() {
    let mut core = AccessCore::new(Snapshot::default(), Some(record("door")));
    let ann = Claim { server_password: true, address: from("203.0.113.5"), ..Claim::default() };
    for second in 0..100 {
        let review = core.review(&name("ann"), &ann, &Proofs::default(), second);
        let Err(Denial::Verify(question)) = review else { panic!("{review:?}") };
        core.was_not_compared(ann.address, &question);
    }
}

#[test]
fn an_address_registers_so_many_names_whoever_it_is() {
    let mut core = AccessCore::default();
    let here = Facts { address: from("192.0.2.1"), ..on(1) };
    core.register(&name("ann"), &here, record("p"), 0).unwrap();
    for _ in 0..REGISTRATION_BURST {
        core.begin_registering(&name("ann"), &here, 0).unwrap();
    }
    let refused = core.begin_registering(&name("ann"), &here, 0).unwrap_err();
    assert_eq!(code(&refused.into()), ErrorCode::TooFast);
    assert!(core.begin_registering(&name("ann"), &here, 3_600_000).is_ok());
    for _ in 0..2 * REGISTRATION_BURST {
        core.begin_registering(&name("bob"), &on(2), 0).unwrap();
    }
}

#[test]
fn a_room_s_sanctions_take_next_to_no_time_to_look_at() {
    let mut core = AccessCore::default();
    for k in 0..256u32 {
        let ban = SanctionRecord {
            id: 0,
            kind: SanctionKind::Ban,
            subjects: vec![Subject::Name(name(&format!("eve {k}")).keys())],
            label: "eve".to_owned(),
            room: Some(room("Дом отдыха")),
            until_ms: None,
            by: "op".to_owned(),
            reason: None,
        };
        core.sanction(ban, 0).unwrap();
    }
    let (ann, place) = (name("ann"), room("дом отдыха"));
    let begun = crate::net::clock::now();
    for _ in 0..200 {
        let met = core.sanctioned(SanctionKind::Ban, &ann, &Facts::default(), Some(&place), 0);
        assert_eq!(met, None);
    }
    let look = begun.elapsed() / 200;
    println!("{look:?} for a look at 256");
    assert!(look.as_micros() < 400, "{look:?}");
}
