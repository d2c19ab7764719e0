//! A change of one group, put to whoever leads it. A node that hangs takes connections and says nothing: what is waited for it
//! is not taken from the others.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::CtlError;
use super::ask::ANSWER;
use super::cluster::Cluster;
use crate::address::HostPort;
use crate::resp::Reply;

/// For a change of one group: a node may have to catch up first.
pub(super) const CHANGE: Duration = Duration::from_secs(600);

/// Before the same is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// Between two looks whether a node that is busy with a change answers anything else.
const LOOK: Duration = Duration::from_secs(5);

impl Cluster<'_> {
    /// Asks whoever leads the group, beginning with `leader`, until it is done.
    pub(super) async fn change(
        &self,
        group: u64,
        leader: Option<u64>,
        what: &str,
        nodes: &[u64],
    ) -> Result<String, CtlError> {
        let give_up = Instant::now() + CHANGE;
        let mut last = "nobody was asked".to_owned();
        let numbers = [group].into_iter().chain(nodes.iter().copied());
        let words: Vec<String> = [what.to_owned()]
            .into_iter()
            .chain(numbers.map(|number| number.to_string()))
            .collect();
        let mut turns = 0;
        let mut next = leader;
        while Instant::now() < give_up {
            let Some(node) = next.take().or_else(|| self.whose_turn(&mut turns)) else {
                break;
            };
            let at = self.resp(node)?;
            let answer = self.put_patiently(at, &words).await;
            self.note(node, answer.as_ref().err());
            match answer {
                Ok(Reply::Status(done)) => return Ok(done.into_owned()),
                Ok(Reply::Bulk(done)) => return Ok(String::from_utf8_lossy(&done).into_owned()),
                Ok(reply) => {
                    let address = at.clone();
                    return Err(CtlError::Odd { address, reply });
                }
                Err(CtlError::Refused { text, .. }) if text.starts_with("NOTLEADER ") => {
                    let leader = text.rsplit(' ').next().and_then(|leader| leader.parse().ok());
                    next = leader.filter(|leader| *leader != node && self.may_answer(*leader));
                    last = text;
                }
                Err(CtlError::Refused { text, .. }) if text.starts_with("TRYAGAIN ") => {
                    next = Some(node);
                    last = text;
                }
                Err(error @ CtlError::Refused { .. }) => return Err(error),
                Err(error) => last = error.to_string(),
            }
            sleep(PAUSE).await;
        }
        Err(CtlError::TooLate { group, last })
    }

    /// One node after the other, but for those that did not answer, unless none did.
    fn whose_turn(&self, turns: &mut usize) -> Option<u64> {
        let mut nodes: Vec<u64> = self.answering().collect();
        if nodes.is_empty() {
            nodes = self.nodes.keys().copied().collect();
        }
        let turn = turns.checked_rem(nodes.len())?;
        *turns += 1;
        nodes.get(turn).copied()
    }

    /// Waits for the answer as long as the node answers something else meanwhile.
    async fn put_patiently(&self, at: &HostPort, words: &[String]) -> Result<Reply, CtlError> {
        let silence = async {
            loop {
                sleep(LOOK).await;
                let looked = self.put(at, &["NODES".to_owned()], ANSWER).await;
                if let Err(error) = looked
                    && error.is_silence()
                {
                    return error;
                }
            }
        };
        tokio::select! {
            answer = self.put(at, words, CHANGE) => answer,
            error = silence => Err(error),
        }
    }
}
