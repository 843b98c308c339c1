//! What was written is read back, whatever happens in between.

use super::*;
use crate::actors::access::core::{AccessCore, Claim, Denial, Facts, InviteTerms, Proofs};
use crate::net::secret::Secret;
use std::collections::BTreeSet;

fn name(text: &str) -> UserName {
    UserName::parse(text).unwrap()
}

fn room(text: &str) -> RoomName {
    RoomName::parse(text).unwrap()
}

/// A core with something of everything.
fn lived_in() -> AccessCore {
    let mut core = AccessCore::default();
    let ann = Facts { device: Some(DeviceId([1; 32])), ..Facts::default() };
    let id = core.register(&name("Änn"), &ann, PasswordRecord("$p$".to_owned()), 5).unwrap();
    core.set_operator(id, true);
    core.set_room_password(&room("Höhle"), Some(PasswordRecord("$r$".to_owned()))).unwrap();
    core.set_moderator(&room("höhle"), id, true).unwrap();
    let token = Secret::new([3; 32]);
    let terms = InviteTerms {
        room: Some(room("Höhle")),
        operator: false,
        uses: 3,
        until_ms: Some(9_000_000_000_000),
        maker: Some(id),
    };
    core.invite(&token, terms, "Änn", 6).unwrap();
    let bob = Claim { device: Some(DeviceId([2; 32])), invite: Some(&token), ..Claim::default() };
    let grant = core.review(&name("bob"), &bob, &Proofs::default(), 7).unwrap();
    core.settle(&grant, bob.device, &name("bob"), 7);
    let subjects = vec![
        Subject::Identity(id),
        Subject::Device(DeviceId([9; 32])),
        Subject::Name(name("расе").keys()),
        Subject::Network("2001:db8::/64".parse().unwrap()),
    ];
    for kind in [SanctionKind::Ban, SanctionKind::Mute] {
        let record = SanctionRecord {
            id: 0,
            kind,
            subjects: subjects.clone(),
            label: "расе".to_owned(),
            room: None,
            until_ms: None,
            by: "Änn".to_owned(),
            reason: Some("noise; 'quotes'".to_owned()),
        };
        core.sanction(record, 8).unwrap();
    }
    core.rename_room(&room("Höhle"), &room("Cave"));
    core
}

#[cfg(unix)]
#[test]
fn the_store_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("parlor.db");
    let (_store, _) = Store::open(path).unwrap();
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
}

#[test]
fn everything_is_read_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let mut core = lived_in();
    let changes = core.take_changes();
    Database::open(&path).unwrap().write(changes.iter()).unwrap();
    let mut database = Database::open(&path).unwrap();
    let snapshot = database.read().unwrap();
    assert_eq!(snapshot.identities.len(), 2);
    assert_eq!(snapshot.devices.len(), 2);
    assert_eq!((snapshot.invites.len(), snapshot.invites[0].uses_left), (1, 2));
    assert_eq!(snapshot.invites[0].used_by.len(), 1);
    assert_eq!(snapshot.invites[0].room, Some(room("Cave")));
    assert_eq!(snapshot.invites[0].maker, core.owner_of(&name("änn")));
    assert_eq!(snapshot.sanctions.len(), 2);
    assert_eq!(snapshot.sanctions[0].subjects.len(), 4);
    assert_eq!(snapshot.rooms.len(), 1);
    assert_eq!((snapshot.rooms[0].moderators.len(), snapshot.rooms[0].admitted.len()), (1, 1));
    // A core made of it goes on with fresh numbers, and writes the same again.
    let again = AccessCore::new(snapshot.clone(), None);
    assert_eq!(again.sanctions(0), core.sanctions(0));
    assert_eq!(again.invites(0), core.invites(0));
    assert!(again.owner_of(&name("änn")).is_some());
    let highest = snapshot.sanctions.iter().map(|s| s.id).max().unwrap();
    assert!(snapshot.next_id > highest);
    assert_eq!(database.audit().unwrap().len(), 3);
}

#[test]
fn what_is_taken_away_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let mut core = lived_in();
    for sanction in core.sanctions(0) {
        core.lift(sanction.id).unwrap();
    }
    for invite in core.invites(0) {
        core.revoke_invite(invite.id, "x", 0).unwrap();
    }
    core.forget_room(&room("cave"));
    core.unregister(&name("änn"), "x", 0).unwrap();
    let changes = core.take_changes();
    let mut database = Database::open(&path).unwrap();
    database.write(changes.iter()).unwrap();
    let snapshot = database.read().unwrap();
    assert_eq!((snapshot.invites.len(), snapshot.sanctions.len(), snapshot.rooms.len()), (0, 0, 0));
    assert_eq!(snapshot.identities.iter().filter_map(|i| i.name.clone()).count(), 0);
    let rest: i64 = database
        .connection
        .query_row(
            "SELECT (SELECT count(*) FROM subjects) + (SELECT count(*) FROM redemptions) \
             + (SELECT count(*) FROM room_people)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(rest, 0);
}

#[tokio::test]
async fn a_commit_is_on_disk_when_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let (mut store, snapshot) = Store::open(path.clone()).unwrap();
    let mut core = AccessCore::new(snapshot, None);
    let mut expected = BTreeSet::new();
    for k in 0..50u8 {
        let id = core.invite(&Secret::new([k; 32]), InviteTerms::default(), "op", 0).unwrap();
        store.commit(core.take_changes()).on_disk().await.unwrap();
        expected.insert(id);
        // Another connection sees what a restart after a kill would see.
        let seen = Database::open(&path).unwrap().read().unwrap();
        assert_eq!(seen.invites.iter().map(|i| i.id).collect::<BTreeSet<_>>(), expected);
    }
    assert_eq!(store.audit(3).count(), 3);
    drop(store);
    let (store, _) = Store::open(path).unwrap();
    assert_eq!(store.audit(100).count(), 50);
}

#[test]
fn a_newer_or_damaged_store_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    Database::open(&path)
        .unwrap()
        .connection
        .pragma_update(None, "user_version", SCHEMA_VERSION + 1)
        .unwrap();
    let error = Store::open(path.clone()).unwrap_err().to_string();
    assert!(error.contains("newer") && error.contains("store.sqlite"), "{error}");
    std::fs::write(&path, b"this is no database, and much longer than a header would be").unwrap();
    let error = Store::open(path.clone()).unwrap_err().to_string();
    assert!(error.contains("cannot be used"), "{error}");
    assert!(std::fs::read(&path).unwrap().starts_with(b"this is no database"));
}

/// Has the store refuse new identities, as a full disk would, until it is told otherwise.
fn refuse_identities(path: &Path, refuse: bool) {
    let trigger = match refuse {
        true => {
            "CREATE TRIGGER full BEFORE INSERT ON identities BEGIN SELECT RAISE(ABORT, 'full'); END"
        }
        false => "DROP TRIGGER full",
    };
    Database::open(path).unwrap().connection.execute_batch(trigger).unwrap();
}

fn on(device: u8) -> Facts {
    Facts { device: Some(DeviceId([device; 32])), ..Facts::default() }
}

fn secret() -> PasswordRecord {
    PasswordRecord("$p$".to_owned())
}

#[tokio::test]
async fn what_the_disk_refused_is_said_and_written_before_what_follows_when_it_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let (mut store, _) = Store::open(path.clone()).unwrap();
    refuse_identities(&path, true);
    let mut core = AccessCore::default();
    let id = core.register(&name("ann"), &on(1), secret(), 0).unwrap();
    assert_eq!(store.commit(core.take_changes()).on_disk().await, Err(NotWritten));
    assert!(store.refuses() && !store.overfull());
    // Another device of hers stands on what was refused.
    let login = Claim { device: Some(DeviceId([2; 32])), password: true, ..Claim::default() };
    let mut proofs = Proofs::default();
    let Err(Denial::Verify(question)) = core.review(&name("ann"), &login, &proofs, 0) else {
        panic!("no password is asked for")
    };
    proofs.add(question, true);
    let grant = core.review(&name("ann"), &login, &proofs, 0).unwrap();
    assert_eq!(core.settle(&grant, login.device, &name("ann"), 0), Some(id));
    assert_eq!(store.commit(core.take_changes()).on_disk().await, Err(NotWritten));
    refuse_identities(&path, false);
    store.retry();
    drop(store);
    let kept = Database::open(&path).unwrap().read().unwrap();
    assert_eq!(kept.identities.len(), 1);
    assert_eq!(kept.devices, [(DeviceId([1; 32]), id), (DeviceId([2; 32]), id)]);
}

#[tokio::test]
async fn whoever_stands_on_what_was_refused_waits_for_it_and_nobody_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let (mut store, _) = Store::open(path.clone()).unwrap();
    let mut core = AccessCore::default();
    let bob = core.register(&name("bob"), &on(1), secret(), 0).unwrap();
    assert_eq!(store.commit(core.take_changes()).on_disk().await, Ok(()));
    refuse_identities(&path, true);
    let ann = core.register(&name("ann"), &on(2), secret(), 0).unwrap();
    assert_eq!(store.commit(core.take_changes()).on_disk().await, Err(NotWritten));
    assert_eq!(store.commit_of(Some(ann), Vec::new()).on_disk().await, Err(NotWritten));
    assert_eq!(store.commit_of(Some(bob), Vec::new()).on_disk().await, Ok(()));
    assert_eq!(store.commit_of(None, Vec::new()).on_disk().await, Ok(()));
    refuse_identities(&path, false);
    assert_eq!(store.commit_of(Some(ann), Vec::new()).on_disk().await, Ok(()));
    assert!(!store.refuses());
}

#[test]
fn a_change_that_contradicts_the_store_takes_no_other_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let mut core = AccessCore::default();
    core.register(&name("ann"), &on(1), secret(), 0).unwrap();
    let good = core.take_changes();
    let stray = [Change::Device(DeviceId([9; 32]), IdentityId(77))];
    let mut database = Database::open(&path).unwrap();
    let batches = [&stray[..], &good[..]];
    let (written, refused) = database.write_batches(batches.into_iter());
    assert_eq!((written, refused), (vec![Err(NotWritten), Ok(())], None));
    assert_eq!(database.read().unwrap().devices.len(), 1);
}

#[test]
fn while_the_store_refuses_no_invite_is_used_up_and_no_name_is_registered() {
    let mut core = AccessCore::default();
    core.invite(&Secret::new([1; 32]), InviteTerms::default(), "op", 0).unwrap();
    core.store_refuses(true);
    core.take_changes();
    let token = Secret::new([1; 32]);
    let claim = Claim { device: Some(DeviceId([2; 32])), invite: Some(&token), ..Claim::default() };
    assert!(core.review(&name("ann"), &claim, &Proofs::default(), 0).is_err());
    assert!(core.register(&name("ann"), &on(3), secret(), 0).is_err());
    assert_eq!(core.take_changes(), []);
    core.store_refuses(false);
    assert!(core.review(&name("ann"), &claim, &Proofs::default(), 0).is_ok());
}

#[test]
fn a_store_of_the_first_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(SCHEMA).unwrap();
    old.execute("INSERT INTO invites VALUES (7, ?1, NULL, 0, 1, NULL, 'op')", [[9u8; 32]]).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);
    for _ in 0..2 {
        let kept = Database::open(&path).unwrap().read().unwrap();
        assert_eq!(kept.invites.iter().map(|i| (i.id, i.maker)).collect::<Vec<_>>(), [(7, None)]);
    }
}

#[test]
fn what_users_do_for_themselves_pushes_nothing_out_of_the_log_that_keepers_of_order_did() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.sqlite");
    let (mut store, _) = Store::open(path.clone()).unwrap();
    let mut core = AccessCore::default();
    core.note(0, "ann", "ban", "eve", "noise");
    let mut noted = 1;
    while noted <= AUDIT_ENTRIES_MAX + AUDIT_ROUTINE_MAX {
        core.register(&name("eve"), &on(1), secret(), 0).unwrap();
        core.unregister(&name("eve"), "eve", 0).unwrap();
        noted += 2;
    }
    core.unregister(&name("eve"), "eve", 0).unwrap_err();
    let changes = core.take_changes();
    // In two pieces, so that the bound is met across them, too.
    let (first, second) = changes.split_at(changes.len() / 2);
    drop(store.commit(first.to_vec()));
    drop(store.commit(second.to_vec()));
    let told = |store: &Store| {
        let entries: Vec<_> = store.audit(usize::MAX).cloned().collect();
        (entries.len(), entries[0].by.clone(), entries[0].action.clone())
    };
    let expected = (1 + AUDIT_ROUTINE_MAX as usize, "ann".to_owned(), "ban".to_owned());
    assert_eq!(told(&store), expected);
    drop(store);
    assert_eq!(told(&Store::open(path).unwrap().0), expected, "and after a restart");
}

#[test]
fn what_somebody_with_a_role_does_for_himself_is_none_of_the_users_entries() {
    let mut core = AccessCore::default();
    let id = core.register(&name("ann"), &on(1), secret(), 0).unwrap();
    core.set_operator(id, true);
    core.register(&name("ann"), &on(1), secret(), 0).unwrap();
    let routine = core.take_changes().into_iter().filter_map(|change| match change {
        Change::Audit { routine, .. } => Some(routine),
        _ => None,
    });
    assert_eq!(routine.collect::<Vec<_>>(), [true, false]);
}
