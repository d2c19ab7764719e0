//! What every log store owes to groups that come and go.

use crate::conformance::{refusal, three_records};
use crate::harness::{
    DirectoryDisk, Disk, Harness, MemoryDisk, append, compact, conformance, entries, hard_state, record,
};
use crate::tame_disk::TameDisk;
use raftyard::store::{GroupRecord, LogStore, Refusal, StoreError};
use raftyard_groups::{GroupId, Incarnation, LogId, LogIndex, Membership, NodeId, Recovered};

conformance!(
    a_destroyed_group_leaves_its_tombstone_and_nothing_else,
    several_groups_are_destroyed_at_once_or_none,
    a_new_life_begins_with_nothing_of_the_old,
    an_older_life_does_not_come_back,
    the_same_life_comes_back_a_term_later_and_knows_what_it_forgot,
    an_imported_group_begins_after_its_base,
    a_rebuilt_group_keeps_its_log_in_a_new_life,
);

const G: GroupId = GroupId(1);

/// With hard state, log and base, in several records.
fn lived_in<D: Disk>() -> Harness<D> {
    let mut h = three_records::<D>();
    let mut write = compact(1, 6, 1, entries(13, 2, 4));
    write.hard_state = Some(hard_state(7, Some(2)));
    h.write(&[write]);
    h
}

/// The record of a group in another incarnation than the harness's own.
fn record_as(group: u64, incarnation: u64) -> GroupRecord {
    GroupRecord {
        incarnation: Incarnation(incarnation),
        ..record(group)
    }
}

fn a_destroyed_group_leaves_its_tombstone_and_nothing_else<D: Disk>() {
    let mut h = lived_in::<D>();
    let tombstones = h.destroy(&[1]);
    assert_eq!(tombstones[0].hard_state, hard_state(7, Some(2)));
    assert_eq!(tombstones[0].last, LogId::new(4, 14));
    h.check_logs();
    h.reopen();
    h.check_logs();
    assert_eq!(refusal(&h.store().inspect(G).unwrap_err()), Refusal::UnknownGroup);
    h.check_refused(&[append(1, entries(15, 1, 4))]);
    let error = h.store().destroy(&[G]).unwrap_err();
    assert_eq!(refusal(&error), Refusal::UnknownGroup);
    // The others go on.
    h.write_and_check(&[append(0, entries(13, 1, 1))]);
}

fn several_groups_are_destroyed_at_once_or_none<D: Disk>() {
    let mut h = lived_in::<D>();
    for bad in [[0, 1, 9], [0, 1, 0]] {
        let error = h.store().destroy(&bad.map(GroupId)).unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{error}");
        h.check_logs();
        h.reopen();
    }
    h.destroy(&[2, 0, 1]);
    h.reopen();
}

fn a_new_life_begins_with_nothing_of_the_old<D: Disk>() {
    let mut h = lived_in::<D>();
    h.destroy(&[1]);
    for incarnation in [5, 6, 9] {
        h.create(&record_as(1, incarnation));
        assert_eq!(h.check_read(G, 1, u64::MAX, usize::MAX), []);
        h.reopen();
        assert_eq!(h.store().inspect(G).unwrap().state, Recovered::default());
        h.write_and_check(&[append(1, entries(1, 3, 1))]);
        h.destroy(&[1]);
    }
    h.reopen();
}

fn an_older_life_does_not_come_back<D: Disk>() {
    let mut h = Harness::<D>::new();
    h.create(&record_as(1, 5));
    h.destroy(&[1]);
    for old in [0, 1, 4] {
        let error = h.store().create(&[record(2), record_as(1, old)]).unwrap_err();
        let reason = Refusal::Destroyed {
            destroyed: Incarnation(5),
            wanted: Incarnation(old),
        };
        assert_eq!(refusal(&error), reason);
        let error = h.store().import(&record_as(1, old), LogId::new(1, 1)).unwrap_err();
        assert_eq!(refusal(&error), reason);
        h.reopen();
    }
}

/// A replica that was removed and joins the same life of the group again.
fn the_same_life_comes_back_a_term_later_and_knows_what_it_forgot<D: Disk>() {
    let mut h = lived_in::<D>();
    let incarnation = record(1).incarnation.0;
    h.destroy(&[1]);
    h.reopen();
    h.create(&record_as(1, incarnation));
    h.reopen();
    let state = h.store().inspect(G).unwrap().state;
    assert_eq!(state.hard_state, hard_state(8, None));
    assert_eq!((state.last, state.forgotten), (LogIndex(0), LogId::new(4, 14)));
    h.write_and_check(&[append(1, entries(1, 2, 1))]);
    // Again, before it has caught up: what it acknowledged in its first life still counts.
    assert_eq!(h.destroy(&[1])[0].last, LogId::new(4, 14));
    h.create(&record_as(1, incarnation));
    assert_eq!(h.store().inspect(G).unwrap().state.hard_state, hard_state(9, None));
    h.reopen();
    let error = h
        .store()
        .import(&record_as(2, incarnation), LogId::new(1, 1))
        .unwrap_err();
    assert_eq!(refusal(&error), Refusal::Exists);
}

fn an_imported_group_begins_after_its_base<D: Disk>() {
    let mut h = lived_in::<D>();
    h.destroy(&[1]);
    h.import(&record_as(1, 8), LogId::new(3, 5));
    h.check_logs();
    h.reopen();
    assert_eq!(h.store().inspect(G).unwrap().state.hard_state, hard_state(3, None));
    h.check_refused(&[append(1, entries(1, 1, 3))]);
    h.write_and_check(&[append(1, entries(6, 2, 3))]);
    h.write_and_check(&[append(1, entries(6, 1, 4))]);
    let error = h.store().import(&record_as(1, 9), LogId::new(3, 5)).unwrap_err();
    assert_eq!(refusal(&error), Refusal::Exists);
    h.import(&record(9), LogId::new(1, 1));
    h.reopen();
}

fn a_rebuilt_group_keeps_its_log_in_a_new_life<D: Disk>() {
    let mut h = lived_in::<D>();
    let mut new = record_as(1, 77);
    new.membership = Membership::of_voters([NodeId(3)]).unwrap();
    h.rebuild(&new);
    h.check_logs();
    h.reopen();
    h.check_logs();
    assert_eq!(h.store().inspect(G).unwrap().state.hard_state, hard_state(7, None));
    for old in [0, 76, 77] {
        let error = h.store().rebuild(&record_as(1, old)).unwrap_err();
        assert!(matches!(refusal(&error), Refusal::NotLater { .. }), "{error}");
    }
    let error = h.store().rebuild(&record_as(8, 5)).unwrap_err();
    assert_eq!(refusal(&error), Refusal::UnknownGroup);
    h.write_and_check(&[append(1, entries(14, 3, 8))]);
    h.write_and_check(&[compact(1, 10, 1, Vec::new())]);
    h.rebuild(&record_as(0, 4));
    h.destroy(&[0, 1]);
    h.reopen();
}

/// Nothing was begun: all is as it was, and the store takes what comes.
#[test]
fn a_log_that_cannot_be_read_is_not_rebuilt_and_the_store_goes_on() {
    let mut h = lived_in::<TameDisk>();
    let later = record_as(1, 90);
    h.disk().files().failing_reads = 1;
    let error = h.store().rebuild(&later).unwrap_err();
    assert!(matches!(error, StoreError::Unread { .. }), "{error}");
    h.write_and_check(&[append(0, entries(13, 1, 1))]);
    h.rebuild(&later);
    h.check_logs();
    h.reopen();
    h.check_logs();
}
