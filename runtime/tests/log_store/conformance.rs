//! What every log store owes.

use crate::harness::{
    DirectoryDisk, Disk, Harness, MemoryDisk, append, compact, conformance, entries, hard_state, install, membership,
    record, vote,
};
use bytes::Bytes;
use raftyard::store::{ENTRY_BYTES_MAX, GroupRecord, LogStore, Refusal, StoreError};
use raftyard_groups::{Entry, GroupId, Incarnation, LogId, LogIndex, Membership, NodeId, Payload, Persist, Term};
use std::sync::Arc;

conformance!(
    a_new_store_is_empty,
    created_groups_come_back_empty_in_order,
    a_group_is_created_once,
    appended_entries_are_read_back,
    reads_stop_at_their_limits,
    reads_cross_records,
    hard_state_alone,
    hard_state_with_entries,
    a_barrier_writes_nothing,
    several_groups_in_one_batch,
    truncation_at_a_record_boundary,
    truncation_inside_a_record,
    truncation_over_several_records,
    truncation_to_the_first_index,
    truncation_at_the_last_entry,
    a_shorter_log_can_grow_again,
    terms_make_runs,
    a_gap_is_refused,
    a_falling_term_is_refused,
    entries_in_disorder_are_refused,
    an_unknown_group_is_refused,
    a_group_twice_in_a_batch_is_refused,
    an_entry_too_large_is_refused,
    a_refused_batch_leaves_nothing_of_its_other_groups,
    compaction_anywhere_in_a_log_of_several_records,
    compaction_in_the_same_write_as_what_replaces_the_rest,
    an_installed_snapshot_drops_the_whole_log,
    a_base_that_cannot_be_is_refused,
    a_configuration_of_nobody_is_kept,
    a_truncated_configuration_is_forgotten,
    configurations_before_the_base_are_forgotten_but_for_the_one_in_force,
    an_installed_snapshot_brings_its_configuration,
    a_base_without_its_configuration_is_refused,
    a_rebuild_makes_no_ops_of_configurations,
);

const G: GroupId = GroupId(1);

fn a_new_store_is_empty<D: Disk>() {
    Harness::<D>::new().reopen();
}

fn created_groups_come_back_empty_in_order<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[7, u64::MAX, 0, 300, 256]);
    let mut joint = record(8);
    joint.membership = Membership::new([NodeId(1), NodeId(2)], [NodeId(2), NodeId(3)], [NodeId(4)]).unwrap();
    h.create(&joint);
    h.check_logs();
    h.reopen();
    h.check_logs();
}

fn a_group_is_created_once<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1]);
    h.write(&[append(1, entries(1, 3, 1))]);
    for _ in 0..2 {
        let error = h.store().create(&[record(2), record(1)]).unwrap_err();
        assert_eq!(refusal(&error), Refusal::Exists);
        h.check_logs();
        h.reopen();
    }
}

fn appended_entries_are_read_back<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1]);
    h.write_and_check(&[append(1, entries(1, 1, 1))]);
    h.write_and_check(&[append(1, entries(2, 9, 1))]);
    h.write_and_check(&[append(1, entries(11, 200, 1))]);
    assert_eq!(h.check_read(G, 1, u64::MAX, usize::MAX).len(), 210);
}

fn reads_stop_at_their_limits<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1]);
    h.write(&[append(1, entries(1, 4, 1))]);
    h.write(&[append(1, entries(5, 4, 1))]);
    let sizes: Vec<usize> = h.check_read(G, 1, 8, usize::MAX).iter().map(Entry::size).collect();
    assert_eq!(h.check_read(G, 1, 8, 0).len(), 1, "at least one");
    assert_eq!(h.check_read(G, 1, 8, sizes[0]).len(), 1);
    assert_eq!(h.check_read(G, 1, 8, sizes[0] + sizes[1] - 1).len(), 1);
    assert_eq!(h.check_read(G, 1, 8, sizes[0] + sizes[1]).len(), 2);
    assert_eq!(h.check_read(G, 3, 6, usize::MAX).len(), 4);
    assert_eq!(h.check_read(G, 8, 8, 1).len(), 1);
    assert_eq!(h.check_read(G, 0, 2, usize::MAX).len(), 2);
    assert_eq!(h.check_read(G, 9, u64::MAX, usize::MAX), []);
    assert_eq!(h.check_read(G, 5, 4, usize::MAX), []);
    assert_eq!(h.check_read(G, u64::MAX, u64::MAX, usize::MAX), []);
    for bytes_max in 0..sizes.iter().sum::<usize>() + 2 {
        h.check_read(G, 2, 7, bytes_max);
    }
}

fn reads_cross_records<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[0, 1, 2]);
    for first in [1, 4, 5, 9] {
        let count = if first == 4 { 1 } else { 3 + first / 5 };
        let batch = [0, 1, 2].map(|group| append(group, entries(first, count, 1)));
        h.write(&batch);
    }
    h.reopen();
    for from in 0..15 {
        for through in from..15 {
            h.check_read(G, from, through, usize::MAX);
        }
    }
}

fn hard_state_alone<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1]);
    h.write_and_check(&[vote(1, hard_state(1, None))]);
    h.write_and_check(&[vote(1, hard_state(1, Some(0)))]);
    h.write_and_check(&[vote(1, hard_state(u64::MAX, Some(u64::MAX)))]);
    h.write_and_check(&[append(1, entries(1, 1, 1))]);
}

fn hard_state_with_entries<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1]);
    let mut both = append(1, entries(1, 2, 5));
    both.hard_state = Some(hard_state(5, Some(3)));
    h.write_and_check(&[both]);
}

fn a_barrier_writes_nothing<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1, 2]);
    h.write_and_check(&[append(1, entries(1, 2, 1))]);
    let barrier = || append(1, Vec::new());
    h.write_and_check(&[barrier()]);
    h.write_and_check(&[]);
    h.write_and_check(&[barrier(), append(2, entries(1, 1, 1))]);
}

fn several_groups_in_one_batch<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1, 2, 3, 258]);
    h.write_and_check(&[
        append(258, entries(1, 3, 1)),
        vote(2, hard_state(4, Some(2))),
        append(1, entries(1, 5, 2)),
    ]);
    h.write_and_check(&[
        append(1, entries(4, 1, 3)),
        append(2, entries(1, 1, 4)),
        append(258, entries(4, 3, 1)),
        vote(3, hard_state(1, None)),
    ]);
}

/// Three records of four entries: 1 to 4, 5 to 8, 9 to 12.
pub(crate) fn three_records<D: Disk>() -> Harness<D> {
    let mut h = Harness::<D>::with_groups(&[0, 1, 2]);
    for first in [1, 5, 9] {
        let batch = [0, 1, 2].map(|group| append(group, entries(first, 4, 1)));
        h.write(&batch);
    }
    h
}

fn truncation_at_a_record_boundary<D: Disk>() {
    let mut h = three_records::<D>();
    h.write_and_check(&[append(1, entries(9, 1, 2))]);
    h.write_and_check(&[append(1, entries(5, 2, 3))]);
}

fn truncation_inside_a_record<D: Disk>() {
    for first in [10, 11, 12] {
        for count in 1..6 {
            let mut h = three_records::<D>();
            h.write_and_check(&[append(1, entries(first, count, 2))]);
        }
    }
}

fn truncation_over_several_records<D: Disk>() {
    let mut h = three_records::<D>();
    h.write_and_check(&[append(1, entries(3, 1, 2))]);
    let mut h = three_records::<D>();
    h.write_and_check(&[append(1, entries(2, 20, 2))]);
    let mut h = three_records::<D>();
    h.write_and_check(&[append(1, entries(4, 5, 2)), append(0, entries(6, 1, 2))]);
}

fn truncation_to_the_first_index<D: Disk>() {
    let mut h = three_records::<D>();
    h.write_and_check(&[append(1, entries(1, 1, 2))]);
    h.write_and_check(&[append(1, entries(1, 1, 3))]);
    h.write_and_check(&[append(1, entries(2, 3, 3))]);
}

fn truncation_at_the_last_entry<D: Disk>() {
    let mut h = three_records::<D>();
    for term in 2..6 {
        h.write_and_check(&[append(1, entries(12, 1, term))]);
    }
}

fn a_shorter_log_can_grow_again<D: Disk>() {
    let mut h = three_records::<D>();
    h.write_and_check(&[append(1, entries(6, 1, 2))]);
    for first in 7..14 {
        h.write_and_check(&[append(1, entries(first, 1, 2))]);
    }
}

fn terms_make_runs<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1]);
    let mut mixed = entries(1, 2, 1);
    mixed.extend(entries(3, 1, 4));
    mixed.extend(entries(4, 3, 9));
    h.write_and_check(&[append(1, mixed)]);
    h.write_and_check(&[append(1, entries(7, 2, 9))]);
    h.write_and_check(&[append(1, entries(9, 2, 11))]);
    let recovered = h.store().recover().unwrap();
    let state = &recovered.groups[0].state;
    assert_eq!(
        state.runs,
        [(1, 1), (4, 3), (9, 4), (11, 9)].map(|(term, index)| LogId::new(term, index))
    );
    assert_eq!(state.last, LogIndex(10));
    h.write_and_check(&[append(1, entries(5, 1, 12))]);
}

fn a_gap_is_refused<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1]);
    for first in [0, 2, u64::MAX - 1] {
        h.check_refused(&[append(1, entries(first, 1, 1))]);
    }
    h.write_and_check(&[append(1, entries(1, 3, 2))]);
    let error = h.check_refused(&[append(1, entries(5, 1, 2))]);
    let reason = Refusal::OutOfOrder {
        last: LogId::new(2, 3),
        next: LogId::new(2, 5),
    };
    assert_eq!(refusal(&error), reason);
    h.check_refused(&[append(1, entries(0, 5, 2))]);
    h.write_and_check(&[append(1, entries(4, 1, 2))]);
}

fn a_falling_term_is_refused<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1]);
    h.write(&[append(1, entries(1, 4, 3))]);
    h.check_refused(&[append(1, entries(5, 1, 2))]);
    h.check_refused(&[append(1, entries(3, 1, 2))]);
    h.write_and_check(&[append(1, entries(1, 1, 2))]);
}

fn entries_in_disorder_are_refused<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1]);
    h.write(&[append(1, entries(1, 2, 1))]);
    let mut skips = entries(3, 1, 1);
    skips.extend(entries(5, 1, 1));
    h.check_refused(&[append(1, skips)]);
    let mut falls = entries(3, 1, 3);
    falls.extend(entries(4, 1, 2));
    h.check_refused(&[append(1, falls)]);
    let mut repeats = entries(2, 2, 2);
    repeats.extend(entries(3, 1, 2));
    h.check_refused(&[append(1, repeats)]);
}

fn an_unknown_group_is_refused<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1]);
    let error = h.check_refused(&[append(2, entries(1, 1, 1))]);
    assert_eq!(refusal(&error), Refusal::UnknownGroup);
    let error = h.store().read(GroupId(2), LogIndex(1), LogIndex(1), 1).unwrap_err();
    assert_eq!(refusal(&error), Refusal::UnknownGroup);
}

fn a_group_twice_in_a_batch_is_refused<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1, 2]);
    let error = h.check_refused(&[
        append(1, entries(1, 1, 1)),
        append(2, entries(1, 1, 1)),
        append(1, entries(2, 1, 1)),
    ]);
    assert_eq!(refusal(&error), Refusal::TwiceInBatch);
}

fn an_entry_too_large_is_refused<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1]);
    let mut large = entries(1, 1, 1);
    // Fresh zeroes take no memory until they are touched, and they never are.
    large[0].payload = Payload::Command(Bytes::from(vec![0; ENTRY_BYTES_MAX]));
    let error = h.check_refused(&[append(1, large)]);
    assert!(matches!(refusal(&error), Refusal::TooLarge { .. }));
}

fn a_refused_batch_leaves_nothing_of_its_other_groups<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1, 2]);
    h.write(&[append(1, entries(1, 3, 5)), append(2, entries(1, 3, 5))]);
    for bad in [entries(9, 1, 5), entries(3, 1, 4)] {
        let mut first = append(1, entries(2, 5, 6));
        first.hard_state = Some(hard_state(6, None));
        h.check_refused(&[first, append(2, bad)]);
    }
    let still_works: [Persist; 2] = [append(1, entries(4, 1, 5)), append(2, entries(4, 1, 5))];
    h.write_and_check(&still_works);
}

pub(crate) fn refusal(error: &StoreError) -> Refusal {
    match error {
        StoreError::Refused { reason, .. } => *reason,
        other => panic!("not a refusal: {other}"),
    }
}

fn compaction_anywhere_in_a_log_of_several_records<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[0, 1, 2]);
    h.write(&[append(0, entries(1, 9, 1)), append(2, entries(1, 9, 1))]);
    for (first, count) in [(1, 4), (5, 1), (6, 5), (11, 2)] {
        h.write(&[append(1, entries(first, count, 1))]);
    }
    for index in 1..=12 {
        h.write_and_check(&[compact(1, index, 1, Vec::new())]);
        assert_eq!(h.check_read(G, 1, u64::MAX, usize::MAX), [], "it was dropped");
        assert_eq!(
            h.check_read(G, index + 1, u64::MAX, usize::MAX).len() as u64,
            12 - index
        );
    }
    h.write_and_check(&[compact(1, 12, 1, Vec::new())]);
    h.write_and_check(&[append(1, entries(13, 3, 2))]);
}

fn compaction_in_the_same_write_as_what_replaces_the_rest<D: Disk>() {
    for (base, first) in [(2, 3), (2, 4), (2, 7), (2, 10), (5, 6), (5, 8), (9, 10)] {
        let mut h = Harness::<D>::with_groups(&[1]);
        h.write(&[append(1, entries(1, 6, 1))]);
        h.write(&[append(1, entries(7, 3, 1))]);
        h.write_and_check(&[compact(1, base, 1, entries(first, 2, 2))]);
        h.write_and_check(&[append(1, entries(first + 1, 4, 3))]);
        let after = base + 1;
        let term = if first == after { 2 } else { 1 };
        h.write_and_check(&[append(1, entries(after, 1, term + 3))]);
    }
}

fn an_installed_snapshot_drops_the_whole_log<D: Disk>() {
    for index in [2, 6, 8, 9, 30] {
        let mut h = Harness::<D>::with_groups(&[1, 2]);
        h.write(&[append(1, entries(1, 6, 1)), append(2, entries(1, 3, 1))]);
        h.write(&[append(1, entries(7, 3, 1))]);
        let mut write = install(1, index, 5, Vec::new());
        write.hard_state = Some(hard_state(6, None));
        h.write_and_check(&[write]);
        h.write_and_check(&[append(1, entries(index + 1, 2, 6))]);
        h.write_and_check(&[install(1, index + 40, 7, entries(index + 41, 3, 8))]);
        h.write_and_check(&[append(1, entries(index + 41, 1, 9))]);
    }
}

fn a_base_that_cannot_be_is_refused<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1]);
    h.write(&[append(1, entries(1, 9, 1))]);
    h.check_refused(&[compact(1, 10, 1, Vec::new())]);
    h.write(&[compact(1, 5, 1, Vec::new())]);
    let error = h.check_refused(&[append(1, entries(5, 2, 2))]);
    assert!(matches!(refusal(&error), Refusal::Compacted { .. }), "{error}");
    h.check_refused(&[compact(1, 4, 1, Vec::new())]);
    h.check_refused(&[install(1, 20, 3, entries(22, 1, 3))]);
    h.check_refused(&[install(1, 20, 3, entries(21, 1, 2))]);
}

/// What a reopened store says of the configurations of group 1.
fn configurations<D: Disk>(h: &mut Harness<D>) -> Vec<(u64, Membership)> {
    h.reopen();
    let found = h.recovered(G).memberships;
    let plain = |(index, membership): &(LogIndex, Arc<Membership>)| (index.0, (**membership).clone());
    found.iter().map(plain).collect()
}

/// A configuration as an entry of its own.
fn configuration(index: u64, term: u64) -> Entry {
    Entry {
        index: LogIndex(index),
        term: Term(term),
        payload: Payload::Membership(Arc::new(membership(index * 10 + term))),
    }
}

fn a_configuration_of_nobody_is_kept<D: Disk>() {
    let mut h = Harness::<D>::new();
    h.create(&GroupRecord {
        membership: Membership::default(),
        ..record(1)
    });
    assert_eq!(configurations(&mut h), [], "none in the log, and no base");
}

fn a_truncated_configuration_is_forgotten<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1]);
    h.write(&[append(1, [entries(1, 1, 1), vec![configuration(2, 1)]].concat())]);
    h.write(&[append(
        1,
        [entries(3, 1, 1), vec![configuration(4, 1)], entries(5, 2, 1)].concat(),
    )]);
    let first = (2, membership(21));
    assert_eq!(configurations(&mut h), [first.clone(), (4, membership(41))]);
    h.write_and_check(&[append(1, entries(5, 1, 2))]);
    assert_eq!(configurations(&mut h).len(), 2, "what is before the cut stays");
    h.write_and_check(&[append(1, entries(3, 1, 3))]);
    assert_eq!(configurations(&mut h), [first]);
    h.write_and_check(&[append(1, vec![configuration(2, 4)])]);
    assert_eq!(configurations(&mut h), [(2, membership(24))]);
}

fn configurations_before_the_base_are_forgotten_but_for_the_one_in_force<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1]);
    // In one record, so that those before the base are still there.
    let log = [
        entries(1, 1, 1),
        vec![configuration(2, 1)],
        entries(3, 1, 1),
        vec![configuration(4, 1)],
    ];
    h.write(&[append(1, log.concat())]);
    h.write_and_check(&[compact(1, 3, 1, Vec::new())]);
    assert_eq!(configurations(&mut h), [(3, membership(3)), (4, membership(41))]);
    h.write_and_check(&[compact(1, 4, 1, Vec::new())]);
    assert_eq!(configurations(&mut h), [(4, membership(4))]);
}

fn an_installed_snapshot_brings_its_configuration<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1]);
    h.write(&[append(1, vec![configuration(1, 1), configuration(2, 1)])]);
    h.write_and_check(&[install(1, 9, 2, vec![configuration(10, 2)])]);
    assert_eq!(configurations(&mut h), [(9, membership(9)), (10, membership(102))]);
}

fn a_base_without_its_configuration_is_refused<D: Disk>() {
    let mut h = Harness::<D>::with_groups(&[1]);
    h.write(&[append(1, entries(1, 3, 1))]);
    let mut bare = compact(1, 2, 1, Vec::new());
    let membership = bare.membership.take();
    assert_eq!(refusal(&h.check_refused(&[bare])), Refusal::Membership);
    let mut alone = append(1, entries(4, 1, 1));
    alone.membership = membership;
    assert_eq!(refusal(&h.check_refused(&[alone])), Refusal::Membership);
}

/// Whoever gets the log of the next incarnation must not take its configurations for that one's.
fn a_rebuild_makes_no_ops_of_configurations<D: Disk>() {
    let rebuilt = GroupRecord {
        incarnation: Incarnation(9),
        membership: membership(77),
        ..record(1)
    };
    for base in [None, Some(3)] {
        let mut h = Harness::<D>::with_groups(&[1]);
        h.write(&[append(
            1,
            [vec![configuration(1, 1)], entries(2, 1, 1), vec![configuration(3, 1)]].concat(),
        )]);
        h.write(&[append(1, vec![configuration(4, 1)])]);
        if let Some(base) = base {
            h.write(&[compact(1, base, 1, Vec::new())]);
        }
        h.rebuild(&rebuilt);
        h.check_logs();
        let at_base = base.map(|base| (base, membership(77)));
        assert_eq!(configurations(&mut h), at_base.into_iter().collect::<Vec<_>>());
        let last = h.check_read(G, 4, 4, usize::MAX);
        assert!(matches!(last[0].payload, Payload::Noop));
        h.write_and_check(&[append(1, vec![configuration(5, 2)])]);
    }
}
