//! Accepts client connections.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::connection;
use crate::node::Node;

/// How long to wait after an accept that failed for a reason that may last, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long connections have at the end to answer what they received.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Serves clients on `listener` until `stop` becomes true, then lets the connections finish what they received.
pub(crate) async fn run(listener: TcpListener, node: Arc<Node>, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let for_connections = stop.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(admit(socket, Arc::clone(&node), for_connections.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a client");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a client connection panicked");
                }
            }
            () = stopped(&mut stop) => break,
        }
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_GRACE, finish).await.is_err() {
        tracing::warn!(
            count = connections.len(),
            "closing clients that do not take their replies"
        );
        connections.shutdown().await;
    }
}

/// Returns once `stop` is true, or nobody is left to make it so.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // What it returns borrows the channel: it must not live on.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Serves the client if there is room for one more.
async fn admit(mut socket: TcpStream, node: Arc<Node>, stop: watch::Receiver<bool>) {
    let Ok(_permit) = Arc::clone(node.connection_permits()).try_acquire_owned() else {
        // The client may be gone already.
        let _ = socket.write_all(b"-ERR max number of clients reached\r\n").await;
        return;
    };
    if let Err(error) = connection::serve(socket, &node, stop).await {
        tracing::debug!(%error, "client connection lost");
    }
}
