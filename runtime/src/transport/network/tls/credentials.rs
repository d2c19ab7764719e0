//! What a node shows and whom it trusts, read from files that may change.

use super::identity::Identity;
use crate::transport::handshake::HandshakeRefusal;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme, version};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// How often the files are looked at, at most: when a connection is made.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where a node's certificate is, and whom it trusts. All are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities that issue those of nodes: one, or two while one takes the other's place.
    pub ca: PathBuf,
    /// This node's certificate, followed by those between it and the authority's, if there are any.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why a node has nothing to show, or nobody to trust.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should, or it can't be used.
    #[error("{}: {problem}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The certificate is not this node's.
    #[error("{}: the certificate is not of {wanted}: {problem}", path.display())]
    Identity {
        /// The certificate's.
        path: PathBuf,
        /// The name that it should have.
        wanted: String,
        /// What it has instead.
        problem: String,
    },
    /// The name of the cluster can't stand in a URI.
    #[error("cluster {0:?}: with TLS its name is of letters, digits, '-', '_', '.' and '~'")]
    ClusterName(String),
}

/// What connections are made with.
pub(super) struct Credentials {
    pub(super) acceptor: TlsAcceptor,
    pub(super) connector: TlsConnector,
}

impl Credentials {
    /// Reads the files. A certificate that peers won't accept is used nevertheless, and reported: it may be renewed
    /// while the node runs.
    fn load(files: &TlsFiles, me: &Identity) -> Result<Self, TlsError> {
        let unusable = |path: &Path, problem: &dyn ToString| TlsError::File {
            path: path.to_owned(),
            problem: problem.to_string(),
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&files.ca)? {
            roots.add(certificate).map_err(|error| unusable(&files.ca, &error))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(&files.cert)?;
        let Some((certificate, intermediates)) = chain.split_first() else {
            return Err(unusable(&files.cert, &NO_CERTIFICATE));
        };
        check_identity(certificate, files, me)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
            .map_err(|error| unusable(&files.key, &format!("no private key in PEM: {error}")))?;

        let provider = Arc::new(ring::default_provider());
        let servers = AnyOf {
            roots: Arc::clone(&roots),
            provider: Arc::clone(&provider),
        };
        let unused = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
        if let Err(error) = servers.verify_server_cert(certificate, intermediates, &unused, &[], UnixTime::now()) {
            let path = files.cert.display();
            tracing::error!(%path, %error, "peers that trust the same authority will refuse this node's certificate");
        }
        let clients = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| unusable(&files.ca, &error))?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| unusable(&files.cert, &error))?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| unusable(&files.key, &error))?;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| unusable(&files.cert, &error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(servers))
            .with_client_auth_cert(chain, key)
            .map_err(|error| unusable(&files.key, &error))?;
        // Each connection shows and checks certificates anew: one that was resumed would outlive them.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
        })
    }
}

const NO_CERTIFICATE: &str = "no certificate in PEM";

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

/// At least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    let problem = match found {
        Ok(found) if !found.is_empty() => return Ok(found),
        Ok(_) => NO_CERTIFICATE.to_owned(),
        Err(error) => format!("{NO_CERTIFICATE}: {error}"),
    };
    let path = path.to_owned();
    Err(TlsError::File { path, problem })
}

fn check_identity(certificate: &CertificateDer<'_>, files: &TlsFiles, me: &Identity) -> Result<(), TlsError> {
    let problem = match Identity::of(certificate) {
        Ok(found) if found == *me => return Ok(()),
        Ok(found) => format!("it is of {}", found.uri()),
        Err(HandshakeRefusal::NoIdentity) => "it does not name one node of one cluster".to_owned(),
        Err(refusal) => refusal.to_string(),
    };
    Err(TlsError::Identity {
        path: files.cert.clone(),
        wanted: me.uri(),
        problem,
    })
}

/// Trusts every server whose certificate is of one of the authorities, whatever its host name: who it is, is checked by
/// [`Identity`].
#[derive(Debug)]
struct AnyOf {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyOf {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// When each of the files was changed last, and its length.
type Stamp = [Option<(SystemTime, u64)>; 3];

/// The credentials, read again when a file has changed.
pub(super) struct Watched(Arc<Inner>);

struct Inner {
    files: TlsFiles,
    me: Identity,
    state: Mutex<State>,
}

struct State {
    credentials: Arc<Credentials>,
    /// Of the files that need not be read again.
    stamp: Stamp,
    /// Of those that could not be read, which was reported.
    unreadable: Option<Stamp>,
    looked: Instant,
}

impl Watched {
    pub(super) fn open(files: TlsFiles, me: Identity) -> Result<Self, TlsError> {
        let stamp = stamp(&files);
        let state = Mutex::new(State {
            credentials: Arc::new(Credentials::load(&files, &me)?),
            stamp,
            unreadable: None,
            looked: Instant::now(),
        });
        Ok(Self(Arc::new(Inner { files, me, state })))
    }

    pub(super) fn reload(&self) -> Result<(), TlsError> {
        self.0.load(stamp(&self.0.files))
    }

    /// Looks at the files now.
    #[cfg(test)]
    pub(super) fn look(&self) {
        self.0.look();
    }

    /// What to use now. Looks at the files if that was not done lately; what can't be used (half of the files may be
    /// written) is left alone until they change again, what can't be read is tried again.
    pub(super) async fn current(&self) -> Arc<Credentials> {
        let is_due = {
            let mut state = self.0.state.lock();
            let is_due = state.looked.elapsed() >= LOOK_EVERY;
            if is_due {
                state.looked = Instant::now();
            }
            is_due
        };
        if is_due {
            let inner = Arc::clone(&self.0);
            // A slow disk must not hold up the transport.
            let looked = tokio::task::spawn_blocking(move || inner.look()).await;
            if let Err(error) = looked {
                tracing::error!(%error, "could not look at the certificates");
            }
        }
        Arc::clone(&self.0.state.lock().credentials)
    }
}

impl Inner {
    fn look(&self) {
        let stamp = stamp(&self.files);
        if self.state.lock().stamp == stamp {
            return;
        }
        match self.load(stamp) {
            Ok(()) => tracing::info!(cert = %self.files.cert.display(), "certificates read again"),
            // Its owner may be about to change, or there may be no file descriptors: neither changes the file.
            Err(error @ TlsError::Read { .. }) => {
                let reported = self.state.lock().unreadable.replace(stamp);
                if reported != Some(stamp) {
                    tracing::error!(%error, "changed certificates can't be read yet, those before stay in use");
                }
            }
            Err(error) => {
                tracing::error!(%error, "changed certificates can't be used, those before stay in use");
                self.state.lock().stamp = stamp;
            }
        }
    }

    fn load(&self, stamp: Stamp) -> Result<(), TlsError> {
        let credentials = Arc::new(Credentials::load(&self.files, &self.me)?);
        let mut state = self.state.lock();
        state.credentials = credentials;
        state.stamp = stamp;
        state.unreadable = None;
        Ok(())
    }
}

fn stamp(files: &TlsFiles) -> Stamp {
    [&files.ca, &files.cert, &files.key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}
