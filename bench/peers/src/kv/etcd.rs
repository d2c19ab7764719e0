//! A client of etcd: its gRPC API, of which two calls are needed. Each connection has `depth` puts on their way at once,
//! waits for all of them, and goes on.

use crate::Failure;
use crate::tally::Tally;
use futures::future::try_join_all;
use prost::Message;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

/// Keys that are written, of 8 bytes each; as many as in the other stores.
const KEYS: usize = 10_000;

/// How long to wait before asking again who leads.
const RETRY: Duration = Duration::from_millis(50);

/// `etcdserverpb.PutRequest`, as far as it is used.
#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `etcdserverpb.PutResponse`, without what it says of the store.
#[derive(Clone, Copy, PartialEq, Message)]
struct PutResponse {}

/// `etcdserverpb.StatusRequest`.
#[derive(Clone, Copy, PartialEq, Message)]
struct StatusRequest {}

/// `etcdserverpb.StatusResponse`, as far as it is used.
#[derive(Clone, Copy, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    /// Id of the member that leads, 0 if none does.
    #[prost(uint64, tag = "4")]
    leader: u64,
}

/// `etcdserverpb.ResponseHeader`, as far as it is used.
#[derive(Clone, Copy, PartialEq, Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

#[derive(Clone)]
struct Connection(Grpc<Channel>);

impl Connection {
    async fn open(server: SocketAddr) -> Result<Self, tonic::transport::Error> {
        let channel = Endpoint::from_shared(format!("http://{server}"))?.connect().await?;
        Ok(Self(Grpc::new(channel)))
    }

    async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let ready = self.0.ready().await;
        ready.map_err(|error| Status::unavailable(error.to_string()))?;
        let (path, codec) = (PathAndQuery::from_static(path), ProstCodec::<Q, A>::default());
        let answer = self.0.unary(Request::new(request), path, codec).await?;
        Ok(answer.into_inner())
    }
}

/// The server of the member that leads: puts sent to others go there anyway, with a hop more. Until there is one it asks.
pub(super) async fn leader(servers: &[SocketAddr]) -> SocketAddr {
    loop {
        for server in servers {
            let Ok(mut connection) = Connection::open(*server).await else {
                continue;
            };
            let status = connection
                .call("/etcdserverpb.Maintenance/Status", StatusRequest {})
                .await;
            if let Ok(StatusResponse {
                header: Some(header),
                leader,
            }) = status
                && leader != 0
                && leader == header.member_id
            {
                return *server;
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// A connection's writes, until the round is over.
pub(super) struct Client {
    pub(super) number: usize,
    pub(super) depth: usize,
    pub(super) value: Vec<u8>,
    pub(super) server: SocketAddr,
    pub(super) tally: Arc<Tally>,
}

impl Client {
    pub(super) async fn run(self) {
        if let Err(error) = self.write().await {
            self.tally.fail(format!("connection {}: {error}", self.number));
        }
    }

    async fn write(&self) -> Result<(), Failure> {
        let connection = Connection::open(self.server).await?;
        // Each begins elsewhere, so that the connections don't all write the same key.
        let mut keys = (0..KEYS).cycle().skip(self.number * 97);
        while !self.tally.is_stopped() {
            let asked = Instant::now();
            let puts = keys.by_ref().take(self.depth).map(|key| {
                let mut connection = connection.clone();
                let request = PutRequest {
                    key: format!("k{key:07}").into_bytes(),
                    value: self.value.clone(),
                };
                async move {
                    let _: PutResponse = connection.call("/etcdserverpb.KV/Put", request).await?;
                    self.tally.answered(self.number, asked, 1);
                    Ok::<_, Status>(())
                }
            });
            try_join_all(puts).await?;
        }
        Ok(())
    }
}
