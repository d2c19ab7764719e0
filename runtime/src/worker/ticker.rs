//! How often a worker looks whether a moment has come that a group waits for.

use super::dispatcher::Dispatcher;
use actix::{AsyncContext, Context, SpawnHandle};
use std::time::Duration;

/// The grain of every timeout.
const TICK: Duration = Duration::from_millis(10);

/// A worker's timer: quick while something is due soon, slow while its groups sleep, for a wake-up costs more than
/// all that is found to do then.
pub(super) struct Ticker {
    rest: Duration,
    timer: Option<SpawnHandle>,
    is_at_rest: bool,
}

impl Ticker {
    /// Of a worker that shows at least every `rest_ms` that it does not stand still.
    pub(super) fn new(rest_ms: u64) -> Self {
        Self {
            rest: Duration::from_millis(rest_ms).max(TICK),
            timer: None,
            is_at_rest: false,
        }
    }

    /// How long it rests at most: nothing may be due before that.
    pub(super) fn rest_ms(&self) -> u64 {
        u64::try_from(self.rest.as_millis()).unwrap_or(u64::MAX)
    }

    /// The next tick comes soon, or after a rest.
    pub(super) fn wait(&mut self, can_rest: bool, ctx: &mut Context<Dispatcher>) {
        self.is_at_rest = can_rest;
        let wait = if can_rest { self.rest } else { TICK };
        self.timer = Some(ctx.run_later(wait, Dispatcher::tick));
    }

    /// It may have something to do before its rest is over.
    pub(super) fn is_at_rest(&self) -> bool {
        self.is_at_rest
    }

    /// Its rest is over.
    pub(super) fn get_up(&mut self, ctx: &mut Context<Dispatcher>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.wait(false, ctx);
    }
}
