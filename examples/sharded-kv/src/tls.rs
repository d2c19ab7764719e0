//! TLS between clients and nodes: what a node shows its clients, and whom it trusts where it is a client itself. (Between
//! the nodes' peer ports it is the runtime's: [`raftyard::TlsNetwork`].)

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::address::HostPort;
use crate::config::RespTls;
use crate::stream::Stream;

/// How often the files are looked at, at most: when a client connects.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
#[derive(Debug)]
pub(crate) struct Acceptor {
    files: RespTls,
    state: Mutex<State>,
}

/// When certificate and key were changed last, and their lengths.
type Stamp = [Option<(SystemTime, u64)>; 2];

#[derive(Debug)]
struct State {
    config: Arc<ServerConfig>,
    stamp: Stamp,
    looked: Instant,
}

impl Acceptor {
    pub(crate) fn open(files: &RespTls) -> Result<Self, TlsFileError> {
        let stamp = stamp(files);
        let state = State {
            config: server_config(files)?,
            stamp,
            looked: Instant::now(),
        };
        Ok(Self {
            files: files.clone(),
            state: Mutex::new(state),
        })
    }

    /// Takes as long as the client does.
    pub(crate) async fn accept(self: &Arc<Self>, socket: TcpStream) -> io::Result<Stream> {
        if self.is_due() {
            let this = Arc::clone(self);
            let looked = tokio::task::spawn_blocking(move || this.look()).await;
            looked.map_err(io::Error::other)?;
        }
        let config = Arc::clone(&self.state().config);
        let stream = TlsAcceptor::from(config).accept(socket).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_due(&self) -> bool {
        let mut state = self.state();
        let is_due = state.looked.elapsed() >= LOOK_EVERY;
        if is_due {
            state.looked = Instant::now();
        }
        is_due
    }

    /// What can't be used (half of a change may be written) is left alone until it changes again.
    fn look(&self) {
        let stamp = stamp(&self.files);
        if self.state().stamp == stamp {
            return;
        }
        let path = self.files.cert.display();
        match server_config(&self.files) {
            Ok(config) => {
                tracing::info!(%path, "certificate for clients read again");
                self.state().config = config;
            }
            Err(error) => tracing::error!(%error, "changed certificate can't be used, the one before stays in use"),
        }
        self.state().stamp = stamp;
    }
}

fn stamp(files: &RespTls) -> Stamp {
    [&files.cert, &files.key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn server_config(files: &RespTls) -> Result<Arc<ServerConfig>, TlsFileError> {
    let chain = certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| unusable(&files.key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&files.cert, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| unusable(&files.key, &error))?;
    Ok(Arc::new(config))
}

/// Connects to nodes whose certificates are of an authority, and name the host that is connected to.
#[derive(Clone)]
pub(crate) struct Connector(TlsConnector);

impl Connector {
    /// `ca` holds the authority's certificate.
    pub(crate) fn open(ca: &Path) -> Result<Self, TlsFileError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca)? {
            roots.add(certificate).map_err(|error| unusable(ca, &error))?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(ca, &error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(crate) async fn connect(&self, address: &HostPort, socket: TcpStream) -> io::Result<Stream> {
        let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
        let stream = self.0.connect(name, socket).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

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
    async fn talk(acceptor: &Arc<Acceptor>, connector: &Connector, host: &str) -> bool {
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
        let acceptor = Arc::new(Acceptor::open(&files).unwrap());
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
        acceptor.look();
        assert!(talk(&acceptor, &old, "127.0.0.1").await);
        std::fs::copy(&renewed.key, &files.key).unwrap();
        let start = Instant::now();
        while !talk(&acceptor, &new, "127.0.0.1").await {
            assert!(start.elapsed() < Duration::from_secs(40), "not renewed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!talk(&acceptor, &old, "127.0.0.1").await);
    }
}
