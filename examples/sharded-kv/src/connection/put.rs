//! Commands on keys: how they come to their group.

use std::io;

use bytes::Bytes;
use futures::FutureExt;
use tokio::time::Instant;

use super::Connection;
use crate::node::put::{ELECTION, Started};
use crate::node::refusals::not_served;
use crate::pipeline::{Begun, Source, Touch};
use crate::proxy::{self, Request, Route, Work};
use crate::replies::Room;
use crate::resp::Reply;

impl<'a> Connection<'a> {
    pub(super) fn route(&self, slot: u16) -> Route {
        if self.is_proxy() {
            self.node.route(slot)
        } else {
            Route::Here
        }
    }

    /// Until when a command that begins now waits for a leader. A round has no end while the client sends on: what comes
    /// long after the last election waits for the next one.
    pub(super) fn leaders_by(&mut self) -> Instant {
        let now = Instant::now();
        let by = self.leaders_by.filter(|by| now < *by + ELECTION);
        *self.leaders_by.insert(by.unwrap_or_else(|| now + ELECTION))
    }

    pub(super) fn is_proxy(&self) -> bool {
        self.node.is_proxy() && !self.session.direct
    }

    /// Begins what is asked of the group of `slot`; as a proxy, keeps what is needed to try it again.
    pub(super) fn put(&mut self, slot: u16, work: Work, touch: Touch, arguments: &[Bytes], room: Room) -> Begun<'a> {
        match touch {
            Touch::Reads(_, route) | Touch::Writes(_, route) if self.is_proxy() => {
                let request = Request::new(slot, work, arguments.to_vec());
                let started = self.attempt(&request, route, room);
                Begun {
                    request: Some(Box::new(request)),
                    ..Begun::new(started, touch)
                }
            }
            Touch::Writes(place, _)
                if !work.returns_values()
                    && let Work::Write(command) = work =>
            {
                let (node, by) = (self.node, self.leaders_by());
                match self.writes.add(place, command, || node.leading(slot, by)) {
                    Ok(ticket) => Begun::of(Source::Together { slot, ticket, by }, touch),
                    Err(started) => Begun::new(started, touch),
                }
            }
            _ => {
                if matches!(work, Work::Write(_)) {
                    // What came before is not overtaken.
                    self.writes.hand_over();
                }
                let by = self.leaders_by();
                Begun::new(self.node.put(slot, work, by, room), touch)
            }
        }
    }

    pub(super) fn attempt(&mut self, request: &Request, route: Route, room: Room) -> Started<'a> {
        // What came before is not overtaken.
        self.writes.hand_over();
        let leader = match route {
            Route::Here => {
                let by = self.leaders_by();
                return self.node.put(request.slot, request.work.clone(), by, room);
            }
            Route::To(leader) => self.node.member(leader),
            Route::Nowhere => None,
        };
        match leader {
            Some(leader) => Started::Later(self.proxy.forward(&leader, request, room).boxed()),
            None => Started::Ready(not_served()),
        }
    }

    /// Tries a command that was refused again where its group is led by then, until it is not refused or has come too long
    /// ago. Nothing else is begun meanwhile.
    pub(super) async fn retry(&mut self, mut request: Request, mut refusal: Reply) -> io::Result<Reply> {
        // This may take long: what is ready does not wait for it.
        self.wire.flush().await?;
        while let Some(pause) = request.retries.next_pause() {
            tokio::time::sleep(pause).await;
            let route = self.node.route(request.slot);
            let room = self.replies.next_room();
            let reply = self.attempt(&request, route, room).reply().await;
            if !proxy::is_refusal(&reply) {
                return Ok(reply);
            }
            refusal = reply;
        }
        Ok(proxy::final_refusal(refusal))
    }
}
