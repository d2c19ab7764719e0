#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::certificates::{self, Wanted};

/// Writes an authority and the certificate of a node into `dir`.
fn certify(dir: &Path) -> RespTls {
    let wanted = Wanted {
        cluster: "test",
        nodes: &[1],
        hosts: &[],
        days: 30,
    };
    certificates::write(dir, &wanted).unwrap();
    let files = certificates::files(dir, 1);
    RespTls {
        cert: files.cert,
        key: files.key,
        ca: Some(files.ca),
    }
}

/// Whether a client that trusts `connector`'s authority and one of `acceptor`'s come to talk.
async fn talk(acceptor: &Acceptor, connector: &Connector, host: &str) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = host.to_owned();
    let client = async {
        let socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut stream = connector.connect(&HostPort { host, port }, socket).await?;
        stream.write_all(b"ping").await?;
        stream.flush().await
    };
    let server = async {
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(socket).await?;
        stream.read_exact(&mut [0; 4]).await
    };
    let (client, server) = tokio::join!(client, server);
    client.is_ok() && server.is_ok()
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_a_useless_one_is_not() {
    let (dir, next) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (files, renewed) = (certify(dir.path()), certify(next.path()));
    let acceptor = Acceptor::open(&files).unwrap();
    let old = Connector::open(files.ca.as_ref().unwrap()).unwrap();
    let new = Connector::open(renewed.ca.as_ref().unwrap()).unwrap();
    assert!(talk(&acceptor, &old, "127.0.0.1").await);
    assert!(
        !talk(&acceptor, &old, "example.org").await,
        "the certificate has another name"
    );
    assert!(!talk(&acceptor, &new, "127.0.0.1").await);

    // The certificate alone does not fit the key.
    std::fs::copy(&renewed.cert, &files.cert).unwrap();
    acceptor.0.look();
    assert!(talk(&acceptor, &old, "127.0.0.1").await);
    std::fs::copy(&renewed.key, &files.key).unwrap();
    let start = Instant::now();
    while !talk(&acceptor, &new, "127.0.0.1").await {
        assert!(start.elapsed() < Duration::from_secs(40), "not renewed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!talk(&acceptor, &old, "127.0.0.1").await);
}

/// As operators are told to do it.
#[tokio::test]
async fn an_authority_takes_the_place_of_another_while_the_node_runs() {
    let (dir, next) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (files, others) = (certify(dir.path()), certify(next.path()));
    let (ca, other_ca) = (files.ca.unwrap(), others.ca.as_ref().unwrap());
    let connector = Connector::open(&ca).unwrap();
    let old = Acceptor::open(&RespTls { ca: None, ..files }).unwrap();
    let new = Acceptor::open(&others).unwrap();
    assert!(talk(&old, &connector, "127.0.0.1").await);
    assert!(!talk(&new, &connector, "127.0.0.1").await);

    let both = [std::fs::read(&ca).unwrap(), std::fs::read(other_ca).unwrap()].concat();
    std::fs::write(&ca, both).unwrap();
    connector.0.look();
    assert!(talk(&old, &connector, "127.0.0.1").await);
    assert!(talk(&new, &connector, "127.0.0.1").await);
    std::fs::copy(other_ca, &ca).unwrap();
    connector.0.look();
    assert!(!talk(&old, &connector, "127.0.0.1").await);
    assert!(talk(&new, &connector, "127.0.0.1").await);
}
