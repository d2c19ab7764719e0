//! When the next snapshot is due, and for how long the log is kept for peers.

use super::*;
use raftyard_groups::{NodeId, PeerMode, Term};

const NOW: Moment = Moment(100);
const PEER: NodeId = NodeId(2);

fn settings() -> Rc<Compaction> {
    Rc::new(Compaction {
        entries: 10,
        bytes: 100,
        ..Compaction::default()
    })
}

/// Of a group whose last snapshot, which ends at 1, had this many bytes.
fn after_one_of(size: u64) -> Snapshots {
    let mut snapshots = Snapshots::new(settings(), None);
    let last = LogId::new(1, 1);
    snapshots.begin(last);
    snapshots.taken(last, Some(size), NOW);
    snapshots.count_written(last.index);
    snapshots
}

#[test]
fn a_snapshot_is_due_after_so_many_entries_or_bytes() {
    let mut snapshots = after_one_of(100);
    assert!(!snapshots.is_due(LogIndex(10), NOW));
    assert!(snapshots.is_due(LogIndex(11), NOW), "ten entries since the last");
    snapshots.count_applied(LogIndex(2), LogIndex(2), 99);
    assert!(!snapshots.is_due(LogIndex(2), NOW));
    snapshots.count_applied(LogIndex(3), LogIndex(3), 1);
    assert!(snapshots.is_due(LogIndex(2), NOW), "a hundred bytes since the last");
    assert!(!snapshots.is_due(LogIndex(1), NOW), "nothing new");
}

#[test]
fn a_large_state_is_written_again_once_the_log_is_as_large() {
    let mut snapshots = after_one_of(1_000);
    snapshots.count_applied(LogIndex(2), LogIndex(500), 999);
    assert!(!snapshots.is_due(LogIndex(500), NOW));
    snapshots.count_applied(LogIndex(501), LogIndex(501), 1);
    assert!(snapshots.is_due(LogIndex(500), NOW));
}

#[test]
fn a_log_beyond_half_its_limit_is_reason_enough() {
    let mut snapshots = after_one_of(1_000);
    snapshots.log.set_max(100);
    snapshots.count_applied(LogIndex(2), LogIndex(2), 50);
    assert!(!snapshots.is_due(LogIndex(2), NOW));
    assert_eq!(snapshots.droppable_tail(), None);
    snapshots.count_applied(LogIndex(3), LogIndex(3), 10);
    assert!(snapshots.is_due(LogIndex(3), NOW));
    assert_eq!(
        snapshots.droppable_tail(),
        Some(LogIndex(1)),
        "no further than the last snapshot"
    );
    snapshots.outgoing_mut().begin(PEER);
    assert!(!snapshots.is_due(LogIndex(3), NOW), "a peer is being sent the last one");
    snapshots.count_applied(LogIndex(4), LogIndex(4), 41);
    assert!(snapshots.is_due(LogIndex(4), NOW), "but not for ever");
}

/// The state is written again and again, but not without pause, until there is room: nothing is applied until then that
/// could be the reason.
#[test]
fn a_log_that_is_too_long_has_a_snapshot_that_failed_taken_later() {
    let mut snapshots = after_one_of(10);
    snapshots.log.set_max(100);
    snapshots.count_applied(LogIndex(2), LogIndex(3), 101);
    let (last, mut now) = (LogId::new(1, 3), NOW);
    for _ in 0..3 {
        assert!(snapshots.is_due(last.index, now));
        snapshots.begin(last);
        assert!(!snapshots.is_due(last.index, now), "it is being written");
        snapshots.taken(last, None, now);
        let later = now.plus(RETRY_MS);
        assert!(!snapshots.is_due(last.index, Moment(later.0 - 1)));
        assert_eq!(snapshots.deadline(last.index), Some(later));
        now = later;
    }
    snapshots.begin(last);
    snapshots.taken(last, Some(10), now);
    snapshots.count_written(last.index);
    snapshots.log.compacted(last.index);
    assert!(!snapshots.is_due(last.index, Moment(u64::MAX)));
    assert_eq!(snapshots.deadline(last.index), None);
}

/// A leader with its state on disk, which applied ten entries of 1,000 bytes together since it was synced.
fn with_state_on_disk() -> Snapshots {
    let mut snapshots = Snapshots::on_disk(settings(), LogIndex::ZERO, false);
    snapshots.count_applied(LogIndex(1), LogIndex(10), 1_000);
    assert!(snapshots.is_due(LogIndex(10), NOW), "nobody is being sent its state");
    snapshots
}

fn peer_at(matched: u64) -> PeerProgress {
    PeerProgress {
        node: PEER,
        matched: LogIndex(matched),
        mode: PeerMode::Replicating,
        silent_ms: 0,
        is_leaving: false,
    }
}

#[test]
fn a_state_on_disk_that_a_peer_is_sent_lets_the_log_become_as_large() {
    let mut snapshots = with_state_on_disk();
    snapshots.outgoing_mut().offer(LogId::new(1, 10));
    snapshots.outgoing_mut().begin(PEER);
    assert!(
        !snapshots.is_due(LogIndex(u64::MAX), NOW),
        "how large it is is not known"
    );
    snapshots.outgoing_mut().written(Some(2_000), NOW);
    snapshots.count_applied(LogIndex(11), LogIndex(500), 999);
    assert!(!snapshots.is_due(LogIndex(500), NOW));
    snapshots.count_applied(LogIndex(501), LogIndex(501), 1);
    assert!(snapshots.is_due(LogIndex(501), NOW), "but not larger");
}

/// What was sent has yet to be installed, and all that came meanwhile to be sent.
#[test]
fn the_log_is_kept_for_a_peer_until_it_has_caught_up() {
    for lags in [true, false] {
        let mut snapshots = with_state_on_disk();
        snapshots.outgoing_mut().offer(LogId::new(1, 10));
        snapshots.outgoing_mut().begin(PEER);
        snapshots.outgoing_mut().written(Some(2_000), NOW);
        let (tail, applied) = (snapshots.settings.tail_entries, LogIndex(50_000));
        snapshots.count_applied(LogIndex(11), applied, 900);
        snapshots.outgoing_mut().end(PEER, Some(LogIndex(10)), NOW);
        assert!(!snapshots.is_due(applied, NOW));
        snapshots.peers_are_at(&[peer_at(applied.0 - tail - 1)], applied);
        assert!(snapshots.outgoing_mut().is_followed() && !snapshots.is_due(applied, NOW));
        if lags {
            snapshots.count_applied(applied.next(), applied.next(), 100);
        } else {
            snapshots.peers_are_at(&[peer_at(applied.0 - tail)], applied);
            assert!(!snapshots.outgoing_mut().is_followed());
        }
        assert!(snapshots.is_due(applied, NOW), "it lags: {lags}");
        let last = LogId {
            term: Term(1),
            index: applied,
        };
        snapshots.begin(last);
        snapshots.taken(last, Some(0), NOW);
        snapshots.count_written(last.index);
        assert!(
            !snapshots.outgoing_mut().is_followed(),
            "the log is compacted beyond what it needs"
        );
    }
}

#[test]
fn the_log_is_not_kept_for_who_could_not_be_sent_the_state() {
    for size in [None, Some(2_000)] {
        let mut snapshots = with_state_on_disk();
        snapshots.outgoing_mut().offer(LogId::new(1, 10));
        snapshots.outgoing_mut().begin(PEER);
        snapshots.outgoing_mut().written(size, NOW);
        snapshots.outgoing_mut().end(PEER, None, NOW);
        assert!(snapshots.is_due(LogIndex(10), NOW), "{size:?}");
        assert!(
            !snapshots.outgoing_mut().may_offer(Moment(NOW.0 + RETRY_MS - 1)),
            "{size:?}"
        );
        assert!(snapshots.outgoing_mut().may_offer(NOW.plus(RETRY_MS)), "{size:?}");
    }
}

/// One transfer takes long; another one's file is gone once it has ended.
#[test]
fn what_was_sent_is_not_offered_to_others_whatever_else_is_being_sent() {
    let (slow, next) = (LogId::new(1, 5), LogId::new(1, 9));
    for through in [Some(next.index), None] {
        let mut snapshots = after_one_of(10);
        for last in [slow, next] {
            snapshots.outgoing_mut().offer(last);
            snapshots.outgoing_mut().begin(PEER);
        }
        assert_eq!(snapshots.outgoing_mut().after(LogIndex(7)), Some(next));
        snapshots.outgoing_mut().end(PEER, through, NOW);
        assert_eq!(snapshots.outgoing_mut().after(LogIndex(1)), None, "through {through:?}");
    }
    let mut snapshots = after_one_of(10);
    for last in [slow, next] {
        snapshots.outgoing_mut().offer(last);
        snapshots.outgoing_mut().begin(PEER);
    }
    snapshots.outgoing_mut().end(PEER, Some(slow.index), NOW);
    assert_eq!(
        snapshots.outgoing_mut().after(LogIndex(7)),
        Some(next),
        "that one is still being sent"
    );
}

#[test]
fn after_one_that_failed_there_is_a_pause_whatever_the_next_is_due_for() {
    let mut snapshots = after_one_of(10);
    snapshots.begin(LogId::new(1, 11));
    snapshots.taken(LogId::new(1, 11), None, NOW);
    let later = NOW.plus(RETRY_MS);
    assert!(!snapshots.is_due(LogIndex(20), later), "ten entries later");
    assert_eq!(snapshots.deadline(LogIndex(20)), None);
    assert!(!snapshots.is_due(LogIndex(21), NOW));
    assert_eq!(snapshots.deadline(LogIndex(21)), Some(later));
    assert!(snapshots.is_due(LogIndex(21), later));
}
