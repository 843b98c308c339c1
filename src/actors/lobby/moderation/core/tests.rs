//! The rules, driven by hand: who may do what over whom, and what comes of it.

use super::*;
use crate::actors::access::core::{AccessCore, Claim, Denial, Proofs};
use crate::actors::lobby::core::Ask;
use crate::net::address::HostPort;
use crate::net::device::DeviceId;
use crate::net::moderation::{SanctionKind, Target};
use crate::net::secret::Secret;
use proptest::prelude::*;
use std::net::IpAddr;
use std::sync::Arc;

const HOUR: u64 = 3600;
/// Ann and Otto are operators, Max and Mia moderators of the hall, Carl of the cellar; Bob and Dan
/// are guests, and Nik has no device.
const PEOPLE: [(&str, &str); 8] = [
    ("Ann", "hall"),
    ("Otto", "hall"),
    ("Max", "hall"),
    ("Mia", "hall"),
    ("Carl", "cellar"),
    ("Bob", "hall"),
    ("Dan", "cellar"),
    ("Nik", "hall"),
];

fn issuer() -> Issuer {
    Issuer { server: HostPort::parse("voice.example:8888").unwrap(), fingerprint: None }
}

fn session(name: &str) -> SessionId {
    let place = PEOPLE.iter().position(|(person, _)| *person == name).unwrap();
    SessionId(place as u64 + 1)
}

fn come(core: &mut LobbyCore, session: SessionId, name: &str, device: bool) -> Result<(), Denial> {
    let k = session.0 as u8;
    let claim = Claim {
        address: Some(IpAddr::from([192, 0, 2, k])),
        device: device.then_some(DeviceId([k; 32])),
        ..Claim::default()
    };
    let ask = Ask { session, name, resume: None, fresh: Secret::new([k; 32]), claim };
    core.admit(ask, &Proofs::default(), 0).map(|_| ())
}

fn world() -> LobbyCore {
    let mut core = LobbyCore::new(0, AccessCore::default(), Arc::default());
    for (name, room) in PEOPLE {
        come(&mut core, session(name), name, name != "Nik").unwrap();
        core.place(session(name), room).unwrap().unwrap();
    }
    for name in ["Ann", "Otto"] {
        run(&mut core, None, &grant(name, Role::Operator, None)).unwrap();
    }
    for (name, room) in [("Max", "hall"), ("Mia", "hall"), ("Carl", "cellar")] {
        run(&mut core, None, &grant(name, Role::Moderator, Some(room))).unwrap();
    }
    core
}

fn grant(name: &str, role: Role, room: Option<&str>) -> Moderation {
    Moderation::Grant { name: name.to_owned(), role, room: room.map(str::to_owned) }
}

fn by(who: Option<&str>) -> Orderer {
    who.map_or(Orderer::Console, |who| Orderer::Session(session(who)))
}

/// Decides an order of someone, or of the console, as the lobby does.
fn run(core: &mut LobbyCore, who: Option<&str>, order: &Moderation) -> Result<Decision, ErrorCode> {
    at(core, who, order, 0)
}

fn at(
    core: &mut LobbyCore,
    who: Option<&str>,
    order: &Moderation,
    now_ms: u64,
) -> Result<Decision, ErrorCode> {
    let issuer = issuer();
    let supplies =
        |password| Supplies { issuer: Some(&issuer), token: Some(Secret::new([9; 32])), password };
    let decided = match decide(core, by(who), order, supplies(None), now_ms) {
        Ok(Decision::Hash(password)) => {
            let record = PasswordRecord(password.expose().to_owned());
            decide(core, by(who), order, supplies(Some(record)), now_ms)
        }
        decided => decided,
    };
    decided.map_err(|Refusal(message)| match *message {
        ServerMessage::Error { code, .. } => code,
        other => panic!("{other:?}"),
    })
}

fn actions(decision: Result<Decision, ErrorCode>) -> Vec<Action> {
    match decision {
        Ok(Decision::Done { actions, .. }) => actions,
        other => panic!("{other:?}"),
    }
}

fn sanction_id(decision: Result<Decision, ErrorCode>) -> u64 {
    match decision {
        Ok(Decision::Done { report: Report::Sanctioned { id, .. }, .. }) => id,
        other => panic!("{other:?}"),
    }
}

fn kick(name: &str) -> Moderation {
    Moderation::Kick { name: name.to_owned(), reason: None }
}

fn ban(target: Target, room: Option<&str>, seconds: Option<u64>) -> Moderation {
    Moderation::Ban { target, room: room.map(str::to_owned), seconds, reason: None }
}

fn ban_user(name: &str, room: Option<&str>) -> Moderation {
    ban(Target::User(name.to_owned()), room, None)
}

fn mute(name: &str, seconds: Option<u64>) -> Moderation {
    Moderation::Mute { name: name.to_owned(), seconds, reason: None }
}

/// Everything that can be done to somebody, or said about him.
fn orders_over(name: &str) -> Vec<(&'static str, Moderation)> {
    let name = || name.to_owned();
    vec![
        ("kick", kick(&name())),
        ("ban", ban_user(&name(), None)),
        ("ban from hall", ban_user(&name(), Some("hall"))),
        ("ban from cellar", ban_user(&name(), Some("cellar"))),
        ("ban name", ban(Target::Name(name()), None, None)),
        ("ban name from hall", ban(Target::Name(name()), Some("hall"), None)),
        ("ban address of", ban(Target::AddressOf(name()), None, None)),
        ("ban address of from hall", ban(Target::AddressOf(name()), Some("hall"), None)),
        ("mute", mute(&name(), None)),
        ("move", Moderation::Move { name: name(), room: "attic".to_owned() }),
        ("rename", Moderation::RenameUser { name: name(), to: "Zed".to_owned() }),
        ("revoke operator", Moderation::Revoke { name: name(), role: Role::Operator, room: None }),
        (
            "revoke moderator",
            Moderation::Revoke {
                name: name(),
                role: Role::Moderator,
                room: Some("hall".to_owned()),
            },
        ),
        ("make operator", grant(&name(), Role::Operator, None)),
        ("make moderator", grant(&name(), Role::Moderator, Some("hall"))),
    ]
}

/// Everything that is done to nobody in particular.
fn orders_at_large() -> Vec<(&'static str, Moderation)> {
    let invite = |room: Option<&str>, uses, days: u64, operator| Moderation::Invite {
        room: room.map(str::to_owned),
        seconds: Some(days * 24 * HOUR),
        uses: Some(uses),
        operator,
    };
    let password = |room: &str| Moderation::RoomPassword {
        room: room.to_owned(),
        password: Password::new("sesame".to_owned()).ok(),
    };
    let network = || Target::Network("198.51.100.0/24".to_owned());
    vec![
        ("ban network", ban(network(), None, None)),
        ("ban network from hall", ban(network(), Some("hall"), None)),
        ("ban address", ban(Target::Address("198.51.100.9".to_owned()), None, None)),
        ("close hall", Moderation::CloseRoom { room: "hall".to_owned(), reason: None }),
        (
            "rename hall",
            Moderation::RenameRoom { room: "hall".to_owned(), to: "Great hall".to_owned() },
        ),
        ("password of hall", password("hall")),
        ("password of cellar", password("cellar")),
        ("invite to hall", invite(Some("hall"), 10, 7, false)),
        ("invite many to hall", invite(Some("hall"), 11, 7, false)),
        ("invite to hall for long", invite(Some("hall"), 1, 8, false)),
        ("invite to cellar", invite(Some("cellar"), 1, 1, false)),
        ("invite to room here", invite(None, 1, 1, false)),
        ("invite operator", invite(Some("hall"), 1, 1, true)),
        ("forget name", Moderation::ForgetName { name: "Nobody".to_owned() }),
        ("audit", Moderation::Audit { last: 10 }),
    ]
}

#[test]
fn who_may_do_what_over_whom() {
    use ErrorCode::{NotAllowed, NotOverHim};
    // A moderator of the hall over somebody in the hall may do exactly this.
    let of_the_room = ["kick", "ban from hall", "ban name from hall", "mute"];
    for who in ["Ann", "Max", "Carl", "Bob", "Nik"] {
        for (whom, _) in PEOPLE {
            for (what, order) in orders_over(whom) {
                let granting = what.starts_with("make");
                let operator = ["Ann", "Otto"].contains(&whom);
                let expected = match who {
                    "Ann" if granting && whom == "Nik" => Err(ErrorCode::DeviceNeeded),
                    "Ann" if granting => Ok(()),
                    "Ann" if operator => Err(NotOverHim),
                    "Ann" if what.starts_with("revoke") && ["Bob", "Dan"].contains(&whom) => {
                        Err(ErrorCode::NobodyKnown)
                    }
                    "Ann" if what.starts_with("revoke") && whom == "Nik" => {
                        Err(ErrorCode::NobodyKnown)
                    }
                    "Ann" => Ok(()),
                    // He is no moderator of the room that they are in, if he acts where they are.
                    "Max"
                        if ["kick", "mute"].contains(&what) && ["Carl", "Dan"].contains(&whom) =>
                    {
                        Err(NotAllowed)
                    }
                    "Max" if of_the_room.contains(&what) => match whom {
                        "Ann" | "Otto" | "Max" | "Mia" => Err(NotOverHim),
                        _ => Ok(()),
                    },
                    "Carl" if ["kick", "mute"].contains(&what) && whom == "Dan" => Ok(()),
                    "Carl" if ["kick", "mute"].contains(&what) && whom == "Carl" => Err(NotOverHim),
                    "Carl" if what == "ban from cellar" => match whom {
                        "Ann" | "Otto" | "Carl" => Err(NotOverHim),
                        _ => Ok(()),
                    },
                    _ => Err(NotAllowed),
                };
                let came = run(&mut world(), Some(who), &order).map(|_| ());
                assert_eq!(came, expected, "{who}: {what} {whom}");
            }
        }
    }
}

#[test]
fn who_may_do_what_to_the_server_and_its_rooms() {
    use ErrorCode::{NotAllowed, TooMany};
    for who in ["Ann", "Max", "Carl", "Bob", "Nik"] {
        for (what, order) in orders_at_large() {
            let expected = match (who, what) {
                ("Ann", "forget name") => Err(ErrorCode::NotRegistered),
                ("Ann", _) => Ok(()),
                ("Max", "password of hall" | "invite to hall" | "invite to room here") => Ok(()),
                ("Max", "invite many to hall" | "invite to hall for long") => Err(TooMany),
                ("Carl", "password of cellar" | "invite to cellar" | "invite to room here") => {
                    Ok(())
                }
                _ => Err(NotAllowed),
            };
            let came = run(&mut world(), Some(who), &order).map(|_| ());
            assert_eq!(came, expected, "{who}: {what}");
        }
    }
}

#[test]
fn the_console_may_do_everything_but_ban_an_operator_before_he_is_none() {
    for (what, order) in orders_over("Ann") {
        // Others may come from an operator's address.
        let address = what.starts_with("ban address of");
        let sanction = (what.starts_with("ban") && !address) || what == "mute";
        let expected = if sanction { Err(ErrorCode::NotOverHim) } else { Ok(()) };
        assert_eq!(run(&mut world(), None, &order).map(|_| ()), expected, "{what}");
    }
    let mut core = world();
    run(
        &mut core,
        None,
        &Moderation::Revoke { name: "Ann".to_owned(), role: Role::Operator, room: None },
    )
    .unwrap();
    let banned = actions(run(&mut core, None, &ban_user("Ann", None)));
    assert!(matches!(banned[..], [Action::SendAway { .. }]), "{banned:?}");
}

#[test]
fn an_operator_kicks_out_of_the_server_and_a_moderator_out_of_the_room() {
    let of = |who| match &actions(run(&mut world(), Some(who), &kick("Bob")))[..] {
        [one] => one.clone(),
        other => panic!("{other:?}"),
    };
    let Action::SendAway { session: away, reason, goodbye } = of("Ann") else { panic!() };
    assert_eq!(
        (away, reason, goodbye.0),
        (session("Bob"), LeaveReason::Kicked, GoodbyeReason::Kicked)
    );
    let Action::TakeOut { session: out, reason, by, .. } = of("Max") else { panic!() };
    assert_eq!((out, reason, by.as_str()), (session("Bob"), LeaveReason::Kicked, "Max"));
}

#[test]
fn a_ban_meets_everyone_whom_it_describes_but_no_operator() {
    let mut core = world();
    let order = ban(Target::Network("192.0.2.99/24".to_owned()), None, Some(HOUR));
    let met = actions(run(&mut core, Some("Ann"), &order));
    assert_eq!(met.len(), PEOPLE.len() - 2, "everyone but the two operators");
    for action in met {
        let Action::SendAway { session: met, goodbye, .. } = action else { panic!("{action:?}") };
        assert!(![session("Ann"), session("Otto")].contains(&met));
        let ServerMessage::Goodbye { until_ms, .. } = goodbye.1 else { panic!() };
        assert_eq!(until_ms, Some(HOUR * 1000));
    }
    assert!(come(&mut core, SessionId(77), "new", false).is_err());
    core.access.expire(HOUR * 1000);
    assert_eq!(core.access.sanctions(HOUR * 1000), []);
}

#[test]
fn networks_too_wide_and_texts_that_are_no_address_are_refused() {
    let mut core = world();
    let bad = [
        "0.0.0.0/0",
        "10.0.0.0/7",
        "::/0",
        "2001:db8::/31",
        "1.2.3.4",
        "x/8",
        "::ffff:1.2.3.0/120",
    ];
    for text in bad {
        let order = ban(Target::Network(text.to_owned()), None, None);
        assert_eq!(run(&mut core, None, &order), Err(ErrorCode::BadTarget), "{text}");
    }
    for text in ["", "example.org", "1.2.3.4/32"] {
        let order = ban(Target::Address(text.to_owned()), None, None);
        assert_eq!(run(&mut core, None, &order), Err(ErrorCode::BadTarget), "{text}");
    }
    for (text, label) in [("10.1.2.3/8", "10.0.0.0/8"), ("2001:db8:1::/32", "2001:db8::/32")] {
        run(&mut core, None, &ban(Target::Network(text.to_owned()), None, None)).unwrap();
        assert_eq!(core.access.sanctions(0).last().unwrap().target, label);
    }
    for (text, label) in [("2001:db8::77", "2001:db8::/64"), ("::ffff:9.8.7.6", "9.8.7.6/32")] {
        run(&mut core, None, &ban(Target::Address(text.to_owned()), None, None)).unwrap();
        assert_eq!(core.access.sanctions(0).last().unwrap().target, label);
    }
}

#[test]
fn a_silence_follows_its_device_through_a_new_session_and_name_and_has_an_end() {
    let mut core = world();
    let reviewed = actions(run(&mut core, Some("Ann"), &mute("Bob", Some(HOUR))));
    assert_eq!(reviewed, [Action::Review(session("Bob"))]);
    assert!(core.standing(session("Bob"), 0).silenced);
    core.remove(session("Bob"));
    come(&mut core, session("Bob"), "Robert", true).unwrap();
    assert!(core.standing(session("Bob"), HOUR * 1000 - 1).silenced);
    assert!(!core.standing(session("Bob"), HOUR * 1000).silenced);
}

#[test]
fn a_moderator_s_silence_holds_in_his_room_and_an_operator_s_everywhere() {
    let mut core = world();
    run(&mut core, Some("Max"), &mute("Bob", None)).unwrap();
    run(&mut core, Some("Ann"), &mute("Nik", None)).unwrap();
    for name in ["Bob", "Nik"] {
        assert!(core.standing(session(name), 0).silenced);
        core.vacate(session(name));
        core.place(session(name), "attic").unwrap();
    }
    assert!(!core.standing(session("Bob"), 0).silenced);
    assert!(core.standing(session("Nik"), 0).silenced);
    let unmute = |name: &str| Moderation::Unmute { name: name.to_owned() };
    core.vacate(session("Nik"));
    core.place(session("Nik"), "hall").unwrap();
    let not_his = run(&mut core, Some("Max"), &unmute("Nik"));
    assert_eq!(not_his, Err(ErrorCode::BadTarget), "an operator's silence is not his to lift");
    assert_eq!(actions(run(&mut core, Some("Ann"), &unmute("Nik"))).len(), 1);
    assert!(!core.standing(session("Nik"), 0).silenced);
}

#[test]
fn a_moderator_sees_and_lifts_what_is_of_his_room_alone_and_nothing_that_meets_himself() {
    let mut core = world();
    let of_hall = sanction_id(run(&mut core, Some("Ann"), &ban_user("Bob", Some("hall"))));
    let of_server = sanction_id(run(&mut core, Some("Ann"), &ban_user("Nik", None)));
    let of_max = sanction_id(run(&mut core, Some("Ann"), &ban_user("Max", Some("hall"))));
    let listed = |core: &mut LobbyCore, who| match run(core, Some(who), &Moderation::ListSanctions)
    {
        Ok(Decision::Done { report: Report::Sanctions { sanctions, .. }, .. }) => {
            sanctions.iter().map(|sanction| sanction.id).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(listed(&mut core, "Ann"), [of_hall, of_server, of_max]);
    assert_eq!(listed(&mut core, "Max"), [of_hall, of_max]);
    assert!(listed(&mut core, "Carl").is_empty());
    let mut lift = |who, id| run(&mut core, Some(who), &Moderation::Lift { id }).map(|_| ());
    assert_eq!(lift("Max", of_server), Err(ErrorCode::NoSuchEntry));
    assert_eq!(lift("Carl", of_hall), Err(ErrorCode::NoSuchEntry));
    assert_eq!(lift("Bob", of_hall), Err(ErrorCode::NotAllowed));
    assert_eq!(lift("Max", of_max), Err(ErrorCode::NotOverHim));
    assert_eq!(lift("Mia", of_max), Ok(()));
    assert_eq!(lift("Max", of_hall), Ok(()));
    assert_eq!(lift("Ann", of_server), Ok(()));
}

#[test]
fn where_somebody_comes_from_is_shown_to_operators_alone() {
    let mut core = world();
    let network = Target::Network("198.51.100.0/24".to_owned());
    for target in [Target::AddressOf("Bob".to_owned()), network, Target::Name("Zoe".to_owned())] {
        sanction_id(run(&mut core, Some("Ann"), &ban(target, Some("hall"), None)));
    }
    let mut shown = |who| match run(&mut core, who, &Moderation::ListSanctions) {
        Ok(Decision::Done { report: Report::Sanctions { sanctions, .. }, .. }) => {
            sanctions.into_iter().map(|sanction| sanction.target).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(shown(Some("Max")), ["an address", "an address", "name Zoe"]);
    let whole = ["192.0.2.6/32 (Bob)", "198.51.100.0/24", "name Zoe"];
    assert_eq!(shown(Some("Ann")), whole);
    assert_eq!(shown(None), whole);
    // What else tells addresses, the log, is not theirs.
    assert_eq!(
        run(&mut core, Some("Max"), &Moderation::Audit { last: 9 }),
        Err(ErrorCode::NotAllowed)
    );
}

#[test]
fn a_moderator_sees_and_revokes_the_invites_of_his_room_alone() {
    let mut core = world();
    let mut invite = |who, room: Option<&str>| {
        let room = room.map(str::to_owned);
        let order = Moderation::Invite { room, seconds: None, uses: None, operator: false };
        match run(&mut core, who, &order) {
            Ok(Decision::Done { report: Report::Invited { id, line }, .. }) => (id, line),
            other => panic!("{other:?}"),
        }
    };
    let (everywhere, _) = invite(Some("Ann"), None);
    let (hall, line) = invite(Some("Max"), None);
    assert!(line.starts_with("parlor://voice.example:8888/hall#."), "{line}");
    let seen = |core: &mut LobbyCore, who| match run(core, Some(who), &Moderation::ListInvites) {
        Ok(Decision::Done { report: Report::Invites { invites, .. }, .. }) => {
            invites.iter().map(|invite| invite.id).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(seen(&mut core, "Ann"), [everywhere, hall]);
    assert_eq!(seen(&mut core, "Mia"), [hall]);
    let mut revoke =
        |who, id| run(&mut core, Some(who), &Moderation::RevokeInvite { id }).map(|_| ());
    assert_eq!(revoke("Max", everywhere), Err(ErrorCode::NoSuchEntry));
    assert_eq!(revoke("Carl", hall), Err(ErrorCode::NoSuchEntry));
    assert_eq!(revoke("Mia", hall), Ok(()));
    let until = core.access.invites(0)[0].until_ms;
    assert_eq!(until, Some(7 * 24 * HOUR * 1000), "a week, if nothing else is said");
}

#[test]
fn one_moderator_cannot_fill_the_server_s_lists() {
    let mut core = world();
    let mut bans = 0;
    while run(&mut core, Some("Max"), &ban_user("Bob", Some("hall"))).is_ok() {
        bans += 1;
    }
    assert_eq!(bans, crate::net::limits::ROOM_SANCTIONS_MAX);
    let order = Moderation::Invite { room: None, seconds: None, uses: None, operator: false };
    let issuer = issuer();
    let mut invites = 0u8;
    loop {
        // Each with a token of its own.
        let token = Some(Secret::new([invites; 32]));
        let supplies = Supplies { issuer: Some(&issuer), token, password: None };
        if decide(&mut core, by(Some("Max")), &order, supplies, 0).is_err() {
            break;
        }
        invites += 1;
    }
    assert_eq!(usize::from(invites), ROOM_INVITES_MAX);
    assert!(run(&mut core, Some("Ann"), &ban_user("Bob", None)).is_ok());
}

#[test]
fn a_room_takes_its_name_its_moderators_and_its_bans_along() {
    let mut core = world();
    sanction_id(run(&mut core, Some("Max"), &ban_user("Dan", Some("hall"))));
    let rename = |to: &str| Moderation::RenameRoom { room: "HALL".to_owned(), to: to.to_owned() };
    assert_eq!(run(&mut core, Some("Ann"), &rename("Cellar")), Err(ErrorCode::RoomLooksTaken));
    assert_eq!(run(&mut core, Some("Ann"), &rename("\u{7}")), Err(ErrorCode::BadRoom));
    actions(run(&mut core, Some("Ann"), &rename("Hall")));
    actions(run(&mut core, Some("Ann"), &rename("Library")));
    assert!(core.find_room("hall").is_none());
    let max = core.facts(session("Max")).unwrap().identity;
    let library = RoomName::parse("library").unwrap();
    assert_eq!(core.access.room_role(max, &library), Some(Role::Moderator));
    let refused = core.review_join(session("Dan"), "library", false, &Proofs::default(), 0);
    assert!(refused.is_err());
}

#[test]
fn a_closed_room_is_forgotten_with_all_that_was_kept_of_it() {
    let mut core = world();
    run(&mut core, Some("Max"), &ban_user("Dan", Some("hall"))).unwrap();
    let close = Moderation::CloseRoom { room: "hall".to_owned(), reason: None };
    let todo = actions(run(&mut core, Some("Ann"), &close));
    assert!(matches!(&todo[..], [Action::Empty { .. }, Action::Settle(_)]), "{todo:?}");
    let hall = RoomName::parse("hall").unwrap();
    assert!(core.access.kept_room(&hall).is_none());
    assert_eq!(core.access.sanctions(0), []);
}

#[test]
fn reasons_are_one_printable_line_of_bounded_length() {
    assert_eq!(worded(Some(" a\nb\u{1b} ")), Ok(Some("a b\u{FFFD}".to_owned())));
    assert_eq!(worded(Some("  ")), Ok(None));
    assert_eq!(worded(Some(&"ж".repeat(REASON_CHARS_MAX))).map(|_| ()), Ok(()));
    assert!(worded(Some(&"x".repeat(REASON_CHARS_MAX + 1))).is_err());
}

#[test]
fn the_log_tells_who_did_what_and_no_password_and_no_token() {
    use crate::actors::access::core::Change;
    let mut core = world();
    core.access.take_changes();
    for (_, order) in orders_at_large() {
        let _ = run(&mut core, Some("Ann"), &order);
    }
    let kick = Moderation::Kick { name: "Bob".to_owned(), reason: Some("noise".to_owned()) };
    run(&mut core, Some("Ann"), &kick).unwrap();
    let log: Vec<_> = core.access.take_changes().into_iter().collect();
    let log: Vec<_> = log
        .into_iter()
        .filter_map(|change| match change {
            Change::Audit { entry, .. } => Some(entry),
            _ => None,
        })
        .collect();
    let last = log.last().unwrap();
    let told = (last.by.as_str(), last.action.as_str(), last.target.as_str(), last.detail.as_str());
    assert_eq!(told, ("Ann", "kick", "Bob", "noise"));
    let all = format!("{log:?}");
    assert!(all.contains("room password") && all.contains("invite"), "{all}");
    let token = issuer().invite(None, Secret::new([9; 32])).to_string();
    let token = token.rsplit('.').next().unwrap();
    assert!(!all.contains("sesame") && !all.contains(token), "{all}");
}

#[test]
fn whoever_has_given_up_his_name_can_be_given_a_role_while_he_is_here() {
    let mut core = world();
    let bob = session("Bob");
    let (name, facts) = (UserName::parse("Bob").unwrap(), core.facts(bob).unwrap().clone());
    let record = PasswordRecord("x".to_owned());
    let id = core.access.register(&name, &facts, record, 0).unwrap();
    core.set_identity(bob, id);
    core.unregister(&name, "Bob", 0).unwrap();
    run(&mut core, Some("Ann"), &grant("Bob", Role::Moderator, Some("hall"))).unwrap();
    assert_eq!(core.standing(bob, 0).room_role, Some(Role::Moderator));
}

#[test]
fn a_moderator_s_invites_go_with_his_role() {
    let mut core = world();
    let room = Some("hall".to_owned());
    let invite = Moderation::Invite { room, seconds: None, uses: None, operator: false };
    let made = run(&mut core, Some("Max"), &invite).unwrap();
    let Decision::Done { report: Report::Invited { id, .. }, .. } = made else {
        panic!("{made:?}")
    };
    assert!(core.access.invite_record(id).is_some());
    let (name, room) = ("Max".to_owned(), Some("hall".to_owned()));
    let revoke = Moderation::Revoke { name, role: Role::Moderator, room };
    run(&mut core, Some("Ann"), &revoke).unwrap();
    assert!(core.access.invite_record(id).is_none());
}

fn any_order() -> impl Strategy<Value = Moderation> {
    let whom = (0..PEOPLE.len()).prop_map(|k| PEOPLE[k].0);
    let picked = any::<prop::sample::Index>();
    (whom, picked, prop::bool::ANY).prop_map(|(whom, pick, at_large)| {
        let mut orders = if at_large { orders_at_large() } else { orders_over(whom) };
        orders.swap_remove(pick.index(orders.len())).1
    })
}

proptest! {
    #[test]
    fn whatever_others_order_an_operator_is_untouched(
        orders in prop::collection::vec((0..6usize, any_order()), 1..40)
    ) {
        let mut core = world();
        let others = ["Max", "Mia", "Carl", "Bob", "Dan", "Nik"];
        for (who, order) in orders {
            let Ok(Decision::Done { actions, .. }) = run(&mut core, Some(others[who]), &order) else {
                continue;
            };
            for action in actions {
                let met = match &action {
                    Action::SendAway { session, .. }
                    | Action::TakeOut { session, .. }
                    | Action::PutInto { session, .. }
                    | Action::NameUser { session, .. }
                    | Action::Review(session) => Some(*session),
                    Action::Settle(_) => None,
                    Action::Empty { .. } | Action::NameRoom { .. } => {
                        panic!("an operator is in there: {action:?}")
                    }
                };
                prop_assert!(![Some(session("Ann")), Some(session("Otto"))].contains(&met));
            }
            for name in ["Ann", "Otto"] {
                let facts = core.facts(session(name)).unwrap().clone();
                prop_assert_eq!(core.access.role(facts.identity), Some(Role::Operator));
                prop_assert_eq!(core.member(session(name)).unwrap().1.as_str(), name);
                prop_assert!(!core.standing(session(name), 0).silenced);
                let joined = core.review_join(session(name), "hall", false, &Proofs::default(), 0);
                prop_assert!(joined.is_ok());
            }
            let wide = core.access.sanctions(0).iter().any(|sanction| sanction.room.is_none());
            prop_assert!(!wide, "only operators act on the whole server");
            let made = core.access.kept_rooms().flat_map(|room| &room.moderators).count();
            prop_assert_eq!(made, 3, "only operators make moderators");
        }
    }
}

#[test]
fn the_kinds_of_sanctions_are_kept_apart() {
    let mut core = world();
    run(&mut core, Some("Ann"), &mute("Bob", None)).unwrap();
    run(&mut core, Some("Ann"), &ban_user("Dan", None)).unwrap();
    let kinds: Vec<_> = core.access.sanctions(0).iter().map(|sanction| sanction.kind).collect();
    assert_eq!(kinds, [SanctionKind::Mute, SanctionKind::Ban]);
    assert!(come(&mut core, SessionId(50), "Bobby", true).is_ok());
}
