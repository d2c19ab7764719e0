//! An actor that takes turns: in each it carries out all that queued in its inbox while the last one ran.

use crate::inbox::Inbox;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use std::sync::Arc;
use std::time::Duration;

/// What takes turns.
pub(crate) trait TakesTurns: Unpin + 'static {
    /// What it is given.
    type Work: Send + 'static;

    /// Where it is given that.
    fn inbox(&self) -> &Arc<Inbox<Self::Work>>;

    /// Carries out all that queued. True if more came meanwhile.
    fn turn(&mut self) -> bool;

    /// Asked after each turn: so long from now it wants to be told that the time is over, once.
    fn take_pause(&mut self) -> Option<Duration> {
        None
    }

    /// The time is over. A turn follows.
    fn end_pause(&mut self) {}
}

/// The actor around it.
pub(crate) struct TurnActor<T: TakesTurns>(pub(crate) T);

#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Wake;

#[derive(Message)]
#[rtype(result = "()")]
struct EndPause;

/// Ends the actor, once all that was queued before is done.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Stop;

impl<T: TakesTurns> Actor for TurnActor<T> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let actor = ctx.address();
        self.0.inbox().connect(move || actor.do_send(Wake));
    }
}

impl<T: TakesTurns> Handler<Wake> for TurnActor<T> {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Context<Self>) {
        if self.0.turn() {
            ctx.notify(Wake);
        }
        if let Some(pause) = self.0.take_pause() {
            ctx.notify_later(EndPause, pause);
        }
    }
}

impl<T: TakesTurns> Handler<EndPause> for TurnActor<T> {
    type Result = ();

    fn handle(&mut self, _: EndPause, ctx: &mut Context<Self>) {
        self.0.end_pause();
        self.handle(Wake, ctx);
    }
}

impl<T: TakesTurns> Handler<Stop> for TurnActor<T> {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        while self.0.turn() {}
        self.0.inbox().close();
        ctx.stop();
    }
}

impl<T: TakesTurns> Drop for TurnActor<T> {
    fn drop(&mut self) {
        // However it ends: nobody must wait for an answer from an inbox that nobody empties.
        self.0.inbox().close();
    }
}
