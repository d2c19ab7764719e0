//! An actor that takes turns: in each it carries out all that queued in its inbox while the last one ran.

use crate::inbox::Inbox;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use std::sync::Arc;

/// What takes turns.
pub(crate) trait TakesTurns: Unpin + 'static {
    /// What it is given.
    type Work: Send + 'static;

    /// Where it is given that.
    fn inbox(&self) -> &Arc<Inbox<Self::Work>>;

    /// Carries out all that queued. True if more came meanwhile.
    fn turn(&mut self) -> bool;
}

/// The actor around it.
pub(crate) struct TurnActor<T: TakesTurns>(pub(crate) T);

#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Wake;

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
