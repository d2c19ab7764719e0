//! Who a certificate belongs to.

use super::TlsError;
use crate::transport::handshake::HandshakeRefusal;
use raftyard_groups::NodeId;
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

const SCHEME: &str = "raftyard://";

/// One node of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) cluster: String,
    pub(super) node: NodeId,
}

impl Identity {
    pub(super) fn new(cluster: &str, node: NodeId) -> Result<Self, TlsError> {
        if !is_name(cluster) {
            return Err(TlsError::ClusterName(cluster.to_owned()));
        }
        let cluster = cluster.to_owned();
        Ok(Self { cluster, node })
    }

    pub(super) fn uri(&self) -> String {
        format!("{SCHEME}{}/{}", self.cluster, self.node.0)
    }

    /// There is one way only to write each.
    fn parse(uri: &str) -> Option<Self> {
        let (cluster, node) = uri.strip_prefix(SCHEME)?.split_once('/')?;
        let identity = Self::new(cluster, NodeId(node.parse().ok()?)).ok()?;
        (identity.uri() == uri).then_some(identity)
    }

    /// The one that `certificate` names. One that names two could be used as either.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Self, HandshakeRefusal> {
        let certificate = EndEntityCert::try_from(certificate).map_err(|_| HandshakeRefusal::NoIdentity)?;
        let mut names = certificate.valid_uri_names().filter(|name| name.starts_with(SCHEME));
        match (names.next().and_then(Self::parse), names.next()) {
            (Some(identity), None) => Ok(identity),
            _ => Err(HandshakeRefusal::NoIdentity),
        }
    }
}

/// Whether a cluster's name needs no escapes in a URI.
fn is_name(cluster: &str) -> bool {
    !cluster.is_empty()
        && cluster
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_names_no_node_is_none() {
        let identity = Identity::new("eu-1.prod", NodeId(7)).unwrap();
        assert_eq!(identity.uri(), "raftyard://eu-1.prod/7");
        assert_eq!(Identity::parse("raftyard://eu-1.prod/7"), Some(identity));
        for other in [
            "raftyard://eu-1.prod",
            "raftyard://eu-1.prod/",
            "raftyard://eu-1.prod/07",
            "raftyard://eu-1.prod/+7",
            "raftyard://eu-1.prod/7/",
            "raftyard://eu-1.prod/7/8",
            "raftyard:///7",
            "raftyard://a b/7",
            "https://eu-1.prod/7",
        ] {
            assert_eq!(Identity::parse(other), None, "{other}");
        }
        assert!(matches!(
            Identity::new("a/b", NodeId(1)),
            Err(TlsError::ClusterName(name)) if name == "a/b"
        ));
    }
}
