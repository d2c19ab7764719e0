//! News that a replica says can wait must let it do nothing: whoever keeps it from the replica for a while is to lose
//! nothing by that.

use raftyard_groups::{Body, Effects, Group, Input, Moment, Promise, Sessions};

/// Before a step: tells a copy of the replica the same, and another one nothing, if that is what it says it could wait
/// for. Not every time: to copy a replica takes longer than a step.
pub(crate) fn check_patience(group: &Group, now: Moment, sessions: &Sessions, input: &Input) {
    if !group.last().index.0.is_multiple_of(4) {
        return;
    }
    let news = match input {
        Input::Persisted { seq } if !group.awaits_own_writes() => Input::Persisted { seq: *seq },
        Input::Message(message)
            if matches!(message.body, Body::Promise(Promise::AppendAccepted { .. }))
                && message.term == group.term()
                && !group.awaits_acknowledgements() =>
        {
            Input::Message(message.clone())
        }
        _ => return,
    };
    let does = |inputs: Option<Input>| {
        let (mut copy, mut effects) = (group.clone(), Effects::default());
        copy.step_all(now, sessions, inputs, &mut effects);
        (format!("{effects:?}"), copy.role(), copy.term(), copy.commit())
    };
    assert_eq!(does(Some(news)), does(None), "{input:?} could not wait: {group}");
}
