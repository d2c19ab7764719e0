//! What waits is bounded, ordered, and accounted for.

use super::harness::decode;
use crate::transport::NodeParcel;
use crate::transport::counters::Counters;
use crate::transport::outbox::{Flow, Outbox, OutboxBounds};
use crate::transport::wire::encoded_len;
use bytes::Bytes;
use raftyard_groups::{
    Body, Entry, GroupId, Incarnation, LogId, LogIndex, Message, NodeId, NodeIncarnation, NodeMessage, Payload, Prompt,
    Term,
};
use std::sync::Arc;

fn append(group: u64, size: usize) -> Message {
    Message {
        group: GroupId(group),
        incarnation: Incarnation(1),
        from: NodeId(1),
        to: NodeId(2),
        term: Term(1),
        body: Body::Prompt(Prompt::Append {
            prev: LogId::ZERO,
            entries: vec![Entry {
                index: LogIndex(1),
                term: Term(1),
                payload: Payload::Command(Bytes::from(vec![0; size])),
            }],
            commit: LogIndex::ZERO,
        }),
    }
}

fn outbox(bounds: OutboxBounds) -> (Outbox, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    let outbox = Outbox::new(bounds, Arc::clone(&counters));
    outbox.open();
    (outbox, counters)
}

fn groups(outbox: &Outbox) -> Vec<Vec<u64>> {
    std::iter::from_fn(|| outbox.take())
        .map(|batch| {
            let messages = decode(&batch.payload).unwrap();
            assert_eq!(messages.len(), batch.messages);
            messages.iter().map(|message| message.group.0).collect()
        })
        .collect()
}

#[test]
fn what_queued_leaves_as_one_batch_up_to_the_target() {
    let messages: Vec<_> = (0..10).map(|group| append(group, 100)).collect();
    let len = encoded_len(&messages[0]);
    let (whole, _) = outbox(OutboxBounds {
        bytes_max: 100 * len,
        batch_bytes_target: 100 * len,
        message_bytes_max: len,
    });
    whole.push_all(&messages[..4]);
    whole.push_all(&messages[4..]);
    assert_eq!(groups(&whole), [(0..10).collect::<Vec<_>>()]);
    assert_eq!(whole.bytes(), 0);

    let (split, _) = outbox(OutboxBounds {
        bytes_max: 100 * len,
        batch_bytes_target: 4 * len,
        message_bytes_max: len,
    });
    split.push_all((0..10).map(|_| &messages[7]));
    assert_eq!(groups(&split), [vec![7; 4], vec![7; 4], vec![7; 2]]);
}

/// Index of the entry that an append carries.
fn numbered(group: u64, number: u64) -> Message {
    let mut message = append(group, 100);
    if let Body::Prompt(Prompt::Append { prev, entries, .. }) = &mut message.body {
        prev.index = LogIndex(number - 1);
        entries[0].index = LogIndex(number);
    }
    message
}

#[test]
fn a_group_that_floods_a_peer_lets_others_through_and_keeps_its_order() {
    let len = encoded_len(&numbered(1, 1));
    let (outbox, counters) = outbox(OutboxBounds {
        bytes_max: 800 * len,
        batch_bytes_target: 8 * len,
        message_bytes_max: len,
    });
    let flood: Vec<_> = (1..=1_000).map(|number| numbered(1, number)).collect();
    outbox.push_all(&flood);
    assert_eq!(outbox.bytes(), 700 * len, "it leaves room to the others");
    assert_eq!(counters.read().messages_dropped, 300);
    for number in 1..=3 {
        outbox.push_all(&[numbered(2, number), numbered(3, number)]);
    }
    outbox.push_all(&[numbered(1, 1_001)]);
    assert_eq!(counters.read().messages_dropped, 301);

    let mut seen: Vec<Vec<u64>> = vec![Vec::new(); 4];
    let mut last_frame = [0; 4];
    for frame in 0.. {
        let Some(batch) = outbox.take() else { break };
        assert!(batch.payload.len() <= 10 * len, "a frame grows by a quarter at most");
        for message in decode(&batch.payload).unwrap() {
            let Body::Prompt(Prompt::Append { entries, .. }) = message.body else {
                panic!("an append")
            };
            let group = usize::try_from(message.group.0).unwrap();
            seen[group].push(entries[0].index.0);
            last_frame[group] = frame;
        }
    }
    assert_eq!(seen[1], (1..=700).collect::<Vec<_>>());
    assert_eq!((&seen[2], &seen[3]), (&vec![1, 2, 3], &vec![1, 2, 3]));
    assert_eq!(&last_frame[2..], [2, 2], "in the first frames of {}", last_frame[1]);
    assert_eq!(outbox.bytes(), 0);
}

#[test]
fn what_does_not_fit_is_dropped_and_counted() {
    let messages: Vec<_> = (0..40).map(|group| append(group, 100)).collect();
    let len = encoded_len(&messages[0]);
    let (outbox, counters) = outbox(OutboxBounds {
        bytes_max: 30 * len,
        batch_bytes_target: 100 * len,
        message_bytes_max: 100 * len,
    });
    outbox.push_all(&messages);
    assert_eq!(outbox.bytes(), 30 * len);
    assert_eq!(counters.read().messages_dropped, 10);
    assert_eq!(groups(&outbox), [(0..30).collect::<Vec<_>>()]);

    // One that is larger than the whole outbox is not stuck for ever: it goes alone.
    outbox.push_all(&[append(77, 40 * len), append(78, 100)]);
    assert_eq!(groups(&outbox), [[77]]);
    assert_eq!(counters.read().messages_dropped, 11);
}

#[test]
fn one_large_message_at_a_time_passes_those_that_keep_the_outbox_full() {
    let len = encoded_len(&append(1, 100));
    let (outbox, _) = outbox(OutboxBounds {
        bytes_max: 80 * len,
        batch_bytes_target: 8 * len,
        message_bytes_max: 100 * len,
    });
    let flood: Vec<_> = (0..100).map(|_| append(1, 100)).collect();
    for _ in 0..5 {
        outbox.push_all(&flood);
        let full = outbox.bytes();
        // As large as what is kept for others; larger; and once more before that has left.
        outbox.push_all(&[append(2, 90 * len), append(3, 90 * len)]);
        assert_eq!(outbox.bytes(), full + encoded_len(&append(2, 90 * len)));
        let left = groups(&outbox).concat();
        assert_eq!(left.iter().filter(|group| **group != 1).collect::<Vec<_>>(), [&2]);
    }
    outbox.push_all(&flood);
    outbox.push_all(&[append(2, 90 * len)]);
    outbox.close();
    outbox.open();
    outbox.push_all(&flood);
    outbox.push_all(&[append(3, 90 * len)]);
    assert!(groups(&outbox).concat().contains(&3), "the one before was dropped");
}

/// Whatever groups say that is as urgent: nodes that seem dead are of no use to them.
#[test]
fn groups_leave_room_to_what_nodes_say() {
    let len = encoded_len(&append(1, 100));
    let (outbox, _) = outbox(OutboxBounds {
        bytes_max: 800 * len,
        batch_bytes_target: 8 * len,
        message_bytes_max: 100 * len,
    });
    outbox.push_all(&(0..1_000).map(|group| append(group, 100)).collect::<Vec<_>>());
    let message = NodeMessage::Heartbeat {
        incarnation: NodeIncarnation::default(),
        seq: 1,
        newest_reply: None,
    };
    outbox.push_node(&NodeParcel {
        from: NodeId(1),
        to: NodeId(2),
        message,
    });
    let batches = std::iter::from_fn(|| outbox.take());
    assert_eq!(batches.map(|batch| batch.node_messages).sum::<usize>(), 1);
}

#[test]
fn what_no_frame_could_carry_is_dropped_without_harm_to_others() {
    let len = encoded_len(&append(1, 100));
    let (outbox, counters) = outbox(OutboxBounds {
        bytes_max: 1 << 20,
        batch_bytes_target: 1 << 20,
        message_bytes_max: len,
    });
    outbox.push_all(&[append(1, 100), append(2, 101), append(3, 100)]);
    assert_eq!(groups(&outbox), [[1, 3]]);
    assert_eq!(counters.read().messages_dropped, 1);
}

#[test]
fn a_closed_outbox_holds_nothing() {
    let (outbox, counters) = outbox(OutboxBounds {
        bytes_max: 1 << 20,
        batch_bytes_target: 1 << 20,
        message_bytes_max: 1 << 20,
    });
    outbox.push_all(&[append(1, 1), append(2, 1)]);
    outbox.close();
    outbox.push_all(&[append(3, 1)]);
    assert_eq!(outbox.bytes(), 0);
    assert!(outbox.take().is_none());
    assert_eq!(counters.read().messages_dropped, 3);
    outbox.open();
    outbox.push_all(&[append(4, 1)]);
    assert_eq!(groups(&outbox), [[4]]);
}

#[test]
fn what_is_owed_is_owed_until_it_was_acknowledged() {
    let (outbox, _) = outbox(OutboxBounds {
        bytes_max: 1 << 20,
        batch_bytes_target: 1,
        message_bytes_max: 1 << 20,
    });
    let flow = |owes, moved| Flow { owes, moved };
    assert_eq!(outbox.flow(), flow(false, 0));
    outbox.push_all(&[append(1, 10), append(2, 10)]);
    assert_eq!(outbox.flow(), flow(true, 0));
    outbox.take();
    outbox.take();
    outbox.acknowledge(1);
    assert_eq!(outbox.flow(), flow(true, 1), "the second is on its way");
    outbox.acknowledge(0);
    assert_eq!(outbox.flow(), flow(false, 2));

    // What can never be sent is not.
    outbox.push_all(&[append(1, 1 << 20)]);
    assert_eq!(outbox.flow(), flow(false, 2));

    // What is dropped without a connection is owed until there is one.
    outbox.push_all(&[append(3, 10)]);
    outbox.clear();
    assert_eq!(outbox.flow(), flow(true, 2));
    outbox.close();
    outbox.push_all(&[append(4, 10)]);
    assert_eq!(outbox.flow(), flow(true, 2));
    outbox.open();
    outbox.acknowledge(0);
    assert_eq!(outbox.flow(), flow(false, 3));
}
