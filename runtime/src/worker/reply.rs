//! Who waits for the answer to a proposal.

use crate::error::ProposeError;
use crate::machine::Answer;
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Takes one answer.
pub(crate) enum Reply {
    /// Of a proposal alone. Dropped without an answer it tells the other end.
    One(oneshot::Sender<Answer>),
    /// Of one of a batch.
    OfMany(Part),
}

/// What is called with the answers to a batch, in the order of its commands: on the thread of the replica that gave
/// the last of them.
pub(crate) type Done = Box<dyn FnOnce(Vec<Answer>) + Send>;

/// A place in a batch of answers. Dropped without an answer it leaves the outcome unknown.
pub(crate) struct Part {
    position: usize,
    batch: Arc<Mutex<Batch>>,
}

struct Batch {
    answers: Vec<Option<Answer>>,
    open: usize,
    done: Option<Done>,
}

impl Reply {
    /// Replies for a batch of `count` proposals. With none of them `done` is called at once.
    pub(crate) fn many(count: usize, done: Done) -> impl Iterator<Item = Self> {
        let mut done = Some(done);
        if count == 0
            && let Some(done) = done.take()
        {
            done(Vec::new());
        }
        let batch = Arc::new(Mutex::new(Batch {
            answers: std::iter::repeat_with(|| None).take(count).collect(),
            open: count,
            done,
        }));
        (0..count).map(move |position| {
            Self::OfMany(Part {
                position,
                batch: batch.clone(),
            })
        })
    }

    /// Nobody minds if whoever waited has given up.
    pub(crate) fn send(self, answer: Answer) {
        match self {
            Self::One(reply) => drop(reply.send(answer)),
            Self::OfMany(part) => part.put(Some(answer)),
        }
    }
}

impl From<oneshot::Sender<Answer>> for Reply {
    fn from(reply: oneshot::Sender<Answer>) -> Self {
        Self::One(reply)
    }
}

impl Part {
    /// Puts an answer in its place, or none if nobody gave one. The first counts; the last of a batch calls whoever
    /// waits, who may propose again: so without the lock.
    fn put(&self, answer: Option<Answer>) {
        let (done, answers) = {
            let batch = &mut *self.batch.lock();
            let Some(place) = batch.answers.get_mut(self.position).filter(|place| place.is_none()) else {
                return;
            };
            *place = Some(answer.unwrap_or(Err(ProposeError::OutcomeUnknown { request: None })));
            batch.open -= 1;
            if batch.open > 0 {
                return;
            }
            (batch.done.take(), std::mem::take(&mut batch.answers))
        };
        let answers = answers.into_iter().flatten().collect();
        // It is the user's code: what it does wrong must not stop the replica that gave the answer.
        if let Some(done) = done
            && catch_unwind(AssertUnwindSafe(|| done(answers))).is_err()
        {
            tracing::error!("what was to be done with the outcomes of a batch panicked");
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.put(None);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    /// Replies of a batch of `count`, and where its answers appear.
    fn batch(count: usize) -> (Vec<Reply>, std::sync::mpsc::Receiver<Vec<Answer>>) {
        let (sender, answers) = std::sync::mpsc::channel();
        let replies = Reply::many(count, Box::new(move |answers| sender.send(answers).unwrap())).collect();
        (replies, answers)
    }

    #[test]
    fn answers_come_together_and_in_the_order_of_the_commands() {
        let (mut replies, answers) = batch(3);
        for (position, answer) in [(2, vec![2]), (0, vec![0])] {
            replies.remove(position).send(Ok(answer));
        }
        assert!(answers.try_recv().is_err(), "one is open");
        replies.remove(0).send(Err(ProposeError::Dropped));
        assert_eq!(
            answers.recv().unwrap(),
            [Ok(vec![0]), Err(ProposeError::Dropped), Ok(vec![2])]
        );
        assert!(answers.recv().is_err(), "once is enough");
    }

    #[test]
    fn of_what_is_dropped_nobody_knows() {
        let (mut replies, answers) = batch(2);
        replies.remove(0).send(Ok(vec![1]));
        drop(replies);
        let unknown = Err(ProposeError::OutcomeUnknown { request: None });
        assert_eq!(answers.recv().unwrap(), [Ok(vec![1]), unknown]);
    }

    #[test]
    fn nothing_is_answered_at_once() {
        let (replies, answers) = batch(0);
        assert!(replies.is_empty());
        assert_eq!(answers.recv().unwrap(), []);
    }

    #[test]
    fn who_panics_over_the_answers_stops_nobody_else() {
        let replies = Reply::many(1, Box::new(|_| panic!("on purpose")));
        replies.for_each(|reply| reply.send(Ok(Vec::new())));
    }
}
