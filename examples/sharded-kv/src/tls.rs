//! TLS between clients and nodes: what a node shows its clients, and whom it trusts where it is a client itself. (Between
//! the nodes' peer ports it is the runtime's: [`raftyard::TlsNetwork`].)

mod watched;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use self::watched::Watched;
use crate::address::HostPort;
use crate::config::RespTls;
use crate::stream::Stream;

/// Why there is no TLS. Each names the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsFileError {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {problem}", path.display())]
    Unusable { path: PathBuf, problem: String },
}

fn unusable(path: &Path, problem: &dyn ToString) -> TlsFileError {
    TlsFileError::Unusable {
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    std::fs::read(path).map_err(|source| TlsFileError::Read {
        path: path.to_owned(),
        source,
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    let found = found.map_err(|error| unusable(path, &error))?;
    if found.is_empty() {
        return Err(unusable(path, &"no certificate in PEM"));
    }
    Ok(found)
}

/// Answers clients that speak TLS. The certificate is read again when its file or the key's changes.
#[derive(Clone)]
pub(crate) struct Acceptor(Arc<Watched<ServerConfig, 2>>);

impl Acceptor {
    pub(crate) fn open(files: &RespTls) -> Result<Self, TlsFileError> {
        let paths = [files.cert.clone(), files.key.clone()];
        Ok(Self(Watched::open("certificate for clients", paths, server_config)?))
    }

    /// Takes as long as the client does.
    pub(crate) async fn accept(&self, socket: TcpStream) -> io::Result<Stream> {
        let config = self.0.current().await?;
        let stream = TlsAcceptor::from(config).accept(socket).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

fn server_config([cert, key]: &[PathBuf; 2]) -> Result<ServerConfig, TlsFileError> {
    let chain = certificates(cert)?;
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| unusable(key, &error))?;
    ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(cert, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| unusable(key, &error))
}

/// Connects to nodes whose certificates are of an authority, and name the host that is connected to. The authorities are
/// read again when their file changes.
#[derive(Clone)]
pub(crate) struct Connector(Arc<Watched<ClientConfig, 1>>);

impl Connector {
    /// `ca` holds the authority's certificate; two while one takes the other's place.
    pub(crate) fn open(ca: &Path) -> Result<Self, TlsFileError> {
        Ok(Self(Watched::open(
            "authorities of nodes",
            [ca.to_owned()],
            client_config,
        )?))
    }

    pub(crate) async fn connect(&self, address: &HostPort, socket: TcpStream) -> io::Result<Stream> {
        let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
        let config = self.0.current().await?;
        let stream = TlsConnector::from(config).connect(name, socket).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

fn client_config([ca]: &[PathBuf; 1]) -> Result<ClientConfig, TlsFileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| unusable(ca, &error))?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(ca, &error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

#[cfg(test)]
mod tests;
