//! Lets keys expire when nobody writes: the node that leads a group moves the group's time on, with a
//! [`Purge`](crate::machine::Command::Purge), once the group's first deadline has passed by its clock.
//!
//! One task per node. It sleeps until the first deadline of all groups, and for ever if there is none.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;

use crate::bell::FirstDeadlines;
use crate::clock;
use crate::node::Node;
use crate::server::stopped;

/// A deadline that has passed and whose key is still there is looked at again after it: another node leads the group, or the
/// proposal failed.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Longest sleep: the wall clock may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(10);

/// Moves the time of the groups that `node` leads on when their keys expire, until `stop` becomes true.
pub(crate) async fn run(node: Arc<Node>, deadlines: Arc<FirstDeadlines>, mut stop: watch::Receiver<bool>) {
    let mut purging = BTreeSet::new();
    let mut purges = FuturesUnordered::new();
    loop {
        deadlines.begin_look();
        let now = clock::now();
        let mut waiting = false;
        for place in deadlines.due(now) {
            if purging.contains(&place) {
                continue;
            }
            if node.leads(place) {
                purging.insert(place);
                purges.push(purge(&node, &deadlines, place).map(move |()| place));
            } else {
                waiting = true;
            }
        }
        let next = deadlines.await_next(now);
        let mut sleep = next.map(|next| Duration::from_millis(next.since(now)).min(SLEEP_MAX));
        if waiting {
            sleep = Some(sleep.map_or(AGAIN_AFTER, |sleep| sleep.min(AGAIN_AFTER)));
        }
        tokio::select! {
            Some(place) = purges.next() => {
                purging.remove(&place);
            }
            () = deadlines.earlier() => {}
            () = tokio::time::sleep(sleep.unwrap_or_default()), if sleep.is_some() => {}
            () = stopped(&mut stop) => return,
        }
    }
}

/// Purges a group. If it is due after that, waits a moment, unless there is simply more to purge.
async fn purge(node: &Node, deadlines: &FirstDeadlines, place: usize) {
    let removed = node.purge(place).await;
    if !removed && deadlines.is_due(place, clock::now()) {
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}
