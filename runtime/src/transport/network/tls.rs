//! TCP with mutual TLS: nodes prove to each other who they are.

mod credentials;
mod identity;
mod listener;

use super::tcp::prepared;
use super::{ByteStream, Listener, Network, NetworkFuture};
use crate::transport::handshake::{HandshakeError, HandshakeRefusal};
use credentials::Watched;
pub use credentials::{TlsError, TlsFiles};
use identity::Identity;
use listener::TlsListener;
use raftyard_groups::NodeId;
use rustls_pki_types::{CertificateDer, ServerName};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// TCP as of [`TcpNetwork`](crate::TcpNetwork), over TLS 1.3 with a certificate at both ends.
///
/// A certificate is a node's if exactly one of its names is the URI `raftyard://cluster/node`
/// ([`TlsNetwork::certificate_name`]), it may be used for both servers and clients, is valid now, and was issued by the
/// authority in the `ca` file. A node of another cluster is refused even if it has the same authority; so is a node that
/// claims to be another one, and one that answers in the place of the one that was to be reached. Host names and
/// addresses in certificates mean nothing here.
///
/// When one of the files changes, connections that are made a second later use what it holds, if it can be used; those that
/// are there stay.
pub struct TlsNetwork(Arc<Shared>);

/// What the network and its listeners share.
struct Shared {
    me: Identity,
    credentials: Watched,
    limits: HandshakeLimits,
}

/// Bounds on those who have not proved who they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandshakeLimits {
    /// For one handshake.
    pub(crate) deadline: Duration,
    /// Under way at a time; a further one takes the place of the oldest, so that who is slow keeps nobody out.
    pub(crate) count_max: usize,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(2),
            count_max: 256,
        }
    }
}

impl TlsNetwork {
    /// The network of one node, which must be the one that its certificate names.
    ///
    /// # Errors
    ///
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn open(cluster: &str, node: NodeId, files: TlsFiles) -> Result<Self, TlsError> {
        Self::with_limits(cluster, node, files, HandshakeLimits::default())
    }

    pub(crate) fn with_limits(
        cluster: &str,
        node: NodeId,
        files: TlsFiles,
        limits: HandshakeLimits,
    ) -> Result<Self, TlsError> {
        let me = Identity::new(cluster, node)?;
        let credentials = Watched::open(files, me.clone())?;
        Ok(Self(Arc::new(Shared {
            me,
            credentials,
            limits,
        })))
    }

    /// The URI among the names of a node's certificate.
    ///
    /// # Errors
    ///
    /// [`TlsError::ClusterName`] if the name of the cluster can't stand in a URI.
    pub fn certificate_name(cluster: &str, node: NodeId) -> Result<String, TlsError> {
        Ok(Identity::new(cluster, node)?.uri())
    }

    /// Reads the files now, instead of a little after they change.
    ///
    /// # Errors
    ///
    /// [`TlsError`]; what was read before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.0.credentials.reload()
    }

    /// What it does by itself when connections are made, now and then.
    #[cfg(test)]
    pub(crate) fn look(&self) {
        self.0.credentials.look();
    }
}

impl Network for TlsNetwork {
    fn bind<'a>(&'a self, address: &'a str) -> NetworkFuture<'a, Box<dyn Listener>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            Ok(Box::new(TlsListener::new(listener, Arc::clone(&self.0))) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, peer: NodeId, address: &'a str) -> NetworkFuture<'a, Box<dyn ByteStream>> {
        Box::pin(async move {
            let socket = prepared(TcpStream::connect(address).await?)?;
            let credentials = self.0.credentials.current().await;
            let refused = |refusal| {
                let peer = format!("node {peer} at {address}");
                io::Error::from(HandshakeError { peer, refusal })
            };
            let stream = match credentials.connector.connect(nobody()?, socket).await {
                Ok(stream) => stream,
                Err(error) => return Err(refusal_of(&error).map_or(error, refused)),
            };
            let reached = self
                .0
                .identify(stream.get_ref().1.peer_certificates())
                .map_err(refused)?;
            if reached != peer {
                return Err(refused(HandshakeRefusal::Node(reached)));
            }
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        })
    }
}

impl Shared {
    /// The node of this cluster that the other end's certificate names. That it may be trusted was checked before.
    fn identify(&self, certificates: Option<&[CertificateDer<'_>]>) -> Result<NodeId, HandshakeRefusal> {
        let certificate = certificates.and_then(<[_]>::first);
        let identity = Identity::of(certificate.ok_or(HandshakeRefusal::NoCertificate)?)?;
        if identity.cluster == self.me.cluster {
            Ok(identity.node)
        } else {
            Err(HandshakeRefusal::Cluster(identity.cluster))
        }
    }
}

/// The name that TLS wants of whom one connects to. It is neither sent nor compared: identities are.
fn nobody() -> io::Result<ServerName<'static>> {
    ServerName::try_from("raftyard.invalid").map_err(io::Error::other)
}

/// What TLS says against the other end; `None` if the connection just broke.
fn refusal_of(error: &io::Error) -> Option<HandshakeRefusal> {
    use rustls::{CertificateError, Error};

    Some(match error.get_ref()?.downcast_ref::<Error>()? {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            HandshakeRefusal::UnknownAuthority
        }
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            HandshakeRefusal::Expired
        }
        Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            HandshakeRefusal::NotYetValid
        }
        Error::NoCertificatesPresented => HandshakeRefusal::NoCertificate,
        Error::InvalidMessage(_) => HandshakeRefusal::PlainText,
        Error::AlertReceived(alert) => HandshakeRefusal::Refused(format!("{alert:?}")),
        other => HandshakeRefusal::Other(other.to_string()),
    })
}
