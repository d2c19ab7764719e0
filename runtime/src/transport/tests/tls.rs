//! Who is let in, and who is not.

use super::harness::{CLUSTER, Node, append, cluster, config, connected, run, start, wait_until};
use crate::transport::network::HandshakeLimits;
use crate::transport::{
    HandshakeCounts, HandshakeError, HandshakeRefusal, Network, TcpNetwork, TlsError, TlsFiles, TlsNetwork,
    TransportConfig, bind,
};
use raftyard_groups::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const LOOPBACK: &str = "127.0.0.1:0";

/// Issues certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes a certificate into `dir`, with the URIs `names`, and the authority's beside it.
    fn issue(&self, dir: &Path, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> TlsFiles {
        let mut params = CertificateParams::new(["raftyard.invalid".to_owned()]).unwrap();
        let uri = |name: &&str| SanType::URI((*name).try_into().unwrap());
        params.subject_alt_names.extend(names.iter().map(uri));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let files = TlsFiles {
            ca: dir.join("ca.pem"),
            cert: dir.join("node.pem"),
            key: dir.join("node-key.pem"),
        };
        fs::write(&files.ca, self.0.pem()).unwrap();
        fs::write(&files.cert, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn node(&self, dir: &Path, cluster: &str, node: u64) -> TlsFiles {
        let name = TlsNetwork::certificate_name(cluster, NodeId(node)).unwrap();
        self.issue(dir, &[&name], |_| {})
    }
}

/// A cluster's authority, and a directory for each certificate.
struct Yard {
    authority: Authority,
    dirs: Vec<tempfile::TempDir>,
}

impl Yard {
    fn new() -> Self {
        Self {
            authority: Authority::new("test"),
            dirs: Vec::new(),
        }
    }

    fn dir(&mut self) -> &Path {
        self.dirs.push(tempfile::tempdir().unwrap());
        self.dirs.last().unwrap().path()
    }

    fn files(&mut self, node: u64) -> TlsFiles {
        let dir = self.dir().to_owned();
        self.authority.node(&dir, CLUSTER, node)
    }

    fn network(&mut self, node: u64) -> Arc<TlsNetwork> {
        let limits = HandshakeLimits {
            // Nobody is late, however busy the machine is.
            deadline: Duration::from_secs(600),
            ..HandshakeLimits::default()
        };
        Arc::new(TlsNetwork::with_limits(CLUSTER, NodeId(node), self.files(node), limits).unwrap())
    }

    fn config(&mut self, node: u64) -> TransportConfig {
        config(node, self.network(node), LOOPBACK)
    }

    /// Node 2, which knows a node 1 that is played by the test.
    async fn node_two(&mut self) -> Node {
        let config = self.config(2);
        lone(config).await
    }
}

/// A node that knows a node 1 which is nowhere.
async fn lone(config: TransportConfig) -> Node {
    let peers = BTreeMap::from([(NodeId(1), "127.0.0.1:1".to_owned())]);
    let id = config.node.0;
    start(bind(config).await.unwrap(), id, &peers)
}

fn refused(node: &Node) -> HandshakeCounts {
    node.handle.counts().handshakes_refused
}

fn refusal<T>(outcome: io::Result<T>) -> HandshakeRefusal {
    let error = outcome.err().expect("was let in");
    HandshakeError::of(&error).expect("was refused").refusal.clone()
}

/// A client of TLS that is no node.
fn client(files: &TlsFiles, shows_certificate: bool) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.ca).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = if shows_certificate {
        let chain = vec![CertificateDer::from_pem_file(&files.cert).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        builder.with_client_auth_cert(chain, key).unwrap()
    } else {
        builder.with_no_client_auth()
    };
    TlsConnector::from(Arc::new(config))
}

#[test]
fn nodes_with_certificates_talk() {
    run(async {
        let mut yard = Yard::new();
        let nodes = cluster(vec![yard.config(1), yard.config(2), yard.config(3)]).await;
        connected(&nodes[0], &nodes[1]).await;
        connected(&nodes[1], &nodes[2]).await;
        let large = append(&nodes[0], &nodes[1], 1, 8 << 20);
        nodes[0].handle.send(std::slice::from_ref(&large));
        wait_until("a large message arrives", || nodes[1].inbox.has(&large)).await;
        assert!(nodes.iter().all(|node| refused(node).total() == 0));
    });
}

/// Each is refused for what is wrong with it, counted as that, and keeps nobody out.
#[test]
fn whoever_is_no_peer_is_refused_with_the_reason() {
    run(async {
        let mut yard = Yard::new();
        let nodes = cluster(vec![yard.config(1), yard.config(2)]).await;
        let two = &nodes[1];
        let mut wanted = HandshakeCounts::default();
        let came = |wanted: HandshakeCounts| wait_until("the refusal is counted", move || refused(two) == wanted);
        let open = |cluster, files| TlsNetwork::open(cluster, NodeId(1), files).unwrap();
        let name = TlsNetwork::certificate_name(CLUSTER, NodeId(1)).unwrap();

        // They find that out only when they wait for an answer: with TLS 1.3 a client is done before the server.
        let mut stranger = Authority::new("test").issue(yard.dir(), &[&name], |_| {});
        stranger.ca = yard.files(1).ca;
        let _stranger = open(CLUSTER, stranger).connect(two.id, &two.address).await;
        wanted.unknown_authority += 1;
        came(wanted).await;

        let dir = yard.dir().to_owned();
        let expired = yard.authority.issue(&dir, &[&name], |params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        });
        let _expired = open(CLUSTER, expired).connect(two.id, &two.address).await;
        wanted.expired += 1;
        came(wanted).await;

        let dir = yard.dir().to_owned();
        let early = yard.authority.issue(&dir, &[&name], |params| {
            params.not_before = date_time_ymd(4001, 1, 1);
        });
        let _early = open(CLUSTER, early).connect(two.id, &two.address).await;
        wanted.expired += 1;
        came(wanted).await;

        let dir = yard.dir().to_owned();
        let other = yard.authority.node(&dir, "other", 1);
        let outcome = open("other", other).connect(two.id, &two.address).await;
        assert_eq!(refusal(outcome), HandshakeRefusal::Cluster(CLUSTER.to_owned()));
        wanted.wrong_cluster += 1;
        came(wanted).await;

        let files = yard.files(1);
        for (files, shows_certificate) in [
            (files, false),
            (yard.authority.issue(&dir, &[], |_| {}), true),
            (yard.authority.issue(&dir, &[&name, "raftyard://test/3"], |_| {}), true),
        ] {
            let socket = TcpStream::connect(&two.address).await.unwrap();
            let name = "raftyard.invalid".try_into().unwrap();
            let _client = client(&files, shows_certificate).connect(name, socket).await;
            if shows_certificate {
                wanted.no_identity += 1;
            } else {
                wanted.no_certificate += 1;
            }
            came(wanted).await;
        }

        let mut plain = TcpStream::connect(&two.address).await.unwrap();
        plain.write_all(&[0, 0, 0, 16, 0, 0, 3, 4]).await.unwrap();
        wanted.plain_text += 1;
        came(wanted).await;

        connected(&nodes[0], &nodes[1]).await;
        assert_eq!(refused(&nodes[0]), HandshakeCounts::default());
    });
}

#[test]
fn a_node_that_claims_to_be_another_is_refused() {
    run(async {
        let mut yard = Yard::new();
        let two = yard.node_two().await;
        // It is node 3, says that it is node 1.
        let liar = config(1, yard.network(3), LOOPBACK);
        let peers = BTreeMap::from([(two.id, two.address.clone())]);
        let liar = start(bind(liar).await.unwrap(), 1, &peers);
        wait_until("the lie is counted", || refused(&two).wrong_node >= 2).await;
        assert_eq!(refused(&two).total(), refused(&two).wrong_node);
        let before = refused(&two).wrong_node;
        wait_until("it tried again", || {
            liar.handle.send(&[append(&liar, &two, 1, 10)]);
            refused(&two).wrong_node > before + 2
        })
        .await;
        assert_eq!(two.inbox.len(), 0);
    });
}

#[test]
fn who_answers_in_the_place_of_a_node_is_left() {
    run(async {
        let mut yard = Yard::new();
        let three = lone(yard.config(3)).await;
        let one = yard.network(1);
        let outcome = one.connect(NodeId(2), &three.address).await;
        assert_eq!(refusal(outcome), HandshakeRefusal::Node(NodeId(3)));

        // A node whose peer list has the wrong address counts it.
        let peers = BTreeMap::from([(NodeId(2), three.address.clone())]);
        let mistaken = start(bind(yard.config(1)).await.unwrap(), 1, &peers);
        wait_until("it is counted", || refused(&mistaken).wrong_node >= 2).await;

        let dir = yard.dir().to_owned();
        let other = Authority::new("another").node(&dir, CLUSTER, 2);
        let config = config(
            2,
            Arc::new(TlsNetwork::open(CLUSTER, NodeId(2), other).unwrap()),
            LOOPBACK,
        );
        let two = lone(config).await;
        let outcome = one.connect(NodeId(2), &two.address).await;
        assert_eq!(refusal(outcome), HandshakeRefusal::UnknownAuthority);
        wait_until("its side is told", || refused(&two).other == 1).await;
    });
}

/// A node without TLS and one with it don't understand each other, and neither is hurt.
#[test]
fn a_node_that_speaks_plain_text_is_refused() {
    run(async {
        let mut yard = Yard::new();
        let plain = config(3, Arc::new(TcpNetwork), LOOPBACK);
        let nodes = cluster(vec![yard.config(1), yard.config(2), plain]).await;
        wait_until("it is counted", || refused(&nodes[0]).plain_text >= 2).await;
        connected(&nodes[0], &nodes[1]).await;
        assert_eq!(nodes[2].inbox.len(), 0);
        assert!(nodes[0].inbox.from(nodes[2].id).is_empty());
    });
}

#[test]
fn slow_handshakes_keep_nobody_out() {
    run(async {
        let mut yard = Yard::new();
        let limits = HandshakeLimits {
            deadline: Duration::from_secs(600),
            count_max: 4,
        };
        let patient = TlsNetwork::with_limits(CLUSTER, NodeId(2), yard.files(2), limits).unwrap();
        let mut two = Some(bind(config(2, Arc::new(patient), LOOPBACK)).await.unwrap());
        let address = two.as_ref().unwrap().address().to_owned();
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(std::net::TcpStream::connect(&address).unwrap());
        }
        // A part of a handshake, and no more.
        for (number, socket) in silent.iter_mut().enumerate() {
            socket.write_all(&[22, 3, 1, 0, 200][..number % 5]).unwrap();
        }
        let one = bind(yard.config(1)).await.unwrap();
        let peers = BTreeMap::from([(NodeId(1), one.address().to_owned()), (NodeId(2), address.clone())]);
        let two = start(two.take().unwrap(), 2, &peers);
        let one = start(one, 1, &peers);
        connected(&one, &two).await;
        wait_until("the oldest were given up", || refused(&two).late >= 16).await;
        assert_eq!(refused(&two).late, refused(&two).total());
    });
}

#[test]
fn a_handshake_has_a_deadline() {
    run(async {
        let mut yard = Yard::new();
        let limits = HandshakeLimits {
            deadline: Duration::from_millis(20),
            ..HandshakeLimits::default()
        };
        let hasty = TlsNetwork::with_limits(CLUSTER, NodeId(2), yard.files(2), limits).unwrap();
        let two = lone(config(2, Arc::new(hasty), LOOPBACK)).await;
        let _silent = TcpStream::connect(&two.address).await.unwrap();
        wait_until("it is given up", || refused(&two).late == 1).await;
    });
}

#[test]
fn renewed_certificates_are_used_without_a_restart() {
    run(async {
        let mut yard = Yard::new();
        let (files, network) = {
            let files = yard.files(1);
            let network = TlsNetwork::open(CLUSTER, NodeId(1), files.clone()).unwrap();
            (files, Arc::new(network))
        };
        let one = bind(config(1, network.clone(), LOOPBACK)).await.unwrap();
        let two = bind(yard.config(2)).await.unwrap();
        let peers = BTreeMap::from([
            (NodeId(1), one.address().to_owned()),
            (NodeId(2), two.address().to_owned()),
        ]);
        let (one, two) = (start(one, 1, &peers), start(two, 2, &peers));
        connected(&one, &two).await;

        // Half of a change can't be used, and does no harm.
        let key = fs::read(&files.key).unwrap();
        fs::write(&files.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(matches!(network.reload(), Err(TlsError::File { path, .. }) if path == files.key));
        fs::write(&files.key, key).unwrap();
        network.reload().unwrap();

        // Another authority takes over: node 2 is started with it, node 1 finds its files changed.
        yard.authority = Authority::new("next");
        let renewed = yard.network(2);
        two.stop().await;
        let two = start(bind(config(2, renewed, &two.address)).await.unwrap(), 2, &peers);
        wait_until("they don't know each other", || refused(&one).unknown_authority > 0).await;
        yard.authority.node(files.ca.parent().unwrap(), CLUSTER, 1);
        connected(&one, &two).await;
    });
}

/// A key that belongs to somebody else until its owner is changed, which does not change it.
#[test]
fn a_renewed_key_that_can_not_be_read_yet_is_read_later() {
    run(async {
        let mut yard = Yard::new();
        let files = yard.files(1);
        let network = TlsNetwork::open(CLUSTER, NodeId(1), files.clone()).unwrap();
        yard.authority = Authority::new("next");
        let two = yard.node_two().await;
        yard.authority.node(files.ca.parent().unwrap(), CLUSTER, 1);
        let mut key = fs::read(&files.key).unwrap();

        // What root can't read either: a directory, of the same time and length as the file that comes after.
        let time = SystemTime::now();
        fs::remove_file(&files.key).unwrap();
        fs::create_dir(&files.key).unwrap();
        let length = || usize::try_from(fs::metadata(&files.key).unwrap().len()).unwrap();
        for name in 0.. {
            if length() >= key.len() {
                break;
            }
            fs::write(files.key.join(name.to_string()), "").unwrap();
        }
        key.resize(length(), b'\n');
        fs::File::open(&files.key).unwrap().set_modified(time).unwrap();
        network.look();
        let outcome = network.connect(two.id, &two.address).await;
        assert_eq!(refusal(outcome), HandshakeRefusal::UnknownAuthority);

        fs::remove_dir_all(&files.key).unwrap();
        fs::write(&files.key, &key).unwrap();
        let file = fs::File::options().write(true).open(&files.key).unwrap();
        file.set_modified(time).unwrap();
        network.look();
        network
            .connect(two.id, &two.address)
            .await
            .expect("it was not read again");
    });
}

#[test]
fn two_authorities_are_trusted_while_one_takes_the_others_place() {
    run(async {
        let mut yard = Yard::new();
        let old = yard.files(1);
        yard.authority = Authority::new("next");
        let new = yard.files(2);
        let both = fs::read_to_string(&old.ca).unwrap() + &fs::read_to_string(&new.ca).unwrap();
        fs::write(&old.ca, &both).unwrap();
        fs::write(&new.ca, &both).unwrap();
        let network = |node, files| Arc::new(TlsNetwork::open(CLUSTER, NodeId(node), files).unwrap());
        let nodes = cluster(vec![
            config(1, network(1, old), LOOPBACK),
            config(2, network(2, new), LOOPBACK),
        ])
        .await;
        connected(&nodes[0], &nodes[1]).await;
    });
}

#[test]
fn what_is_wrong_with_files_is_said() {
    let mut yard = Yard::new();
    let files = yard.files(1);
    let open = |files: &TlsFiles| {
        let opened = TlsNetwork::open(CLUSTER, NodeId(1), files.clone());
        opened.err().expect("opened").to_string()
    };
    let missing = TlsFiles {
        ca: "/nowhere/ca.pem".into(),
        ..files.clone()
    };
    assert!(open(&missing).starts_with("/nowhere/ca.pem: "), "{}", open(&missing));
    let swapped = TlsFiles {
        cert: files.key.clone(),
        ..files.clone()
    };
    assert!(
        open(&swapped).ends_with("node-key.pem: no certificate in PEM"),
        "{}",
        open(&swapped)
    );
    let keyless = TlsFiles {
        key: files.cert.clone(),
        ..files
    };
    assert!(
        open(&keyless).contains("node.pem: no private key in PEM"),
        "{}",
        open(&keyless)
    );
    let other = open(&yard.files(2));
    assert!(
        other.contains("not of raftyard://test/1: it is of raftyard://test/2"),
        "{other}"
    );
    let dir = yard.dir().to_owned();
    let nobody = open(&yard.authority.issue(&dir, &[], |_| {}));
    assert!(nobody.contains("it does not name one node of one cluster"), "{nobody}");
    assert!(TlsNetwork::certificate_name("two words", NodeId(1)).is_err());
}
