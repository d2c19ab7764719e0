//! `raftyard-kv cert`: certificates for trying things out, and for clusters that have no authority of their own.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use raftyard::{NodeId, TlsError, TlsFiles, TlsNetwork};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the authority's certificate is valid.
const CA_DAYS: u32 = 3650;

/// A node is reached at these from its own machine, and by clients of `dev`.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Why certificates were not written, or not all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    AuthorityKey { path: PathBuf, source: rcgen::Error },
    #[error("{} is there without {}: it would not fit a new one", present.display(), missing.display())]
    HalfAuthority { present: PathBuf, missing: PathBuf },
    #[error("{} is not the key of a certificate in {}", key.display(), cert.display())]
    OtherAuthority { cert: PathBuf, key: PathBuf },
    #[error(transparent)]
    Name(#[from] TlsError),
    #[error("can't make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// What certificates are made of.
pub(crate) struct Wanted<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) nodes: &'a [u64],
    /// Names and addresses under which clients reach the nodes, beside those of the machine itself.
    pub(crate) hosts: &'a [String],
    pub(crate) days: u32,
}

/// Where they are in a directory.
pub(crate) fn files(dir: &Path, node: u64) -> TlsFiles {
    TlsFiles {
        ca: dir.join("ca.pem"),
        cert: dir.join(format!("node-{node}.pem")),
        key: dir.join(format!("node-{node}-key.pem")),
    }
}

/// Writes a certificate and a key for each node into `dir`, and those of the authority if it is not there yet: so nodes
/// can be added and certificates renewed later.
pub(crate) fn write(dir: &Path, wanted: &Wanted<'_>) -> Result<(), CertificateError> {
    fs::create_dir_all(dir).map_err(file_error(dir))?;
    let authority = authority(dir)?;
    for node in wanted.nodes {
        let mut hosts: Vec<String> = LOCAL.map(str::to_owned).to_vec();
        hosts.extend(
            wanted
                .hosts
                .iter()
                .filter(|host| !LOCAL.contains(&host.as_str()))
                .cloned(),
        );
        let mut params = params(hosts, &format!("{} node {node}", wanted.cluster), wanted.days)?;
        let name = TlsNetwork::certificate_name(wanted.cluster, NodeId(*node))?;
        params.subject_alt_names.push(SanType::URI(name.try_into()?));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &authority)?;
        let files = files(dir, *node);
        write_secret(&files.key, &key.serialize_pem())?;
        fs::write(&files.cert, certificate.pem()).map_err(file_error(&files.cert))?;
    }
    Ok(())
}

/// The one whose key is in `dir`, or a new one.
fn authority(dir: &Path) -> Result<Issuer<'static, KeyPair>, CertificateError> {
    let (cert_path, key_path) = (dir.join("ca.pem"), dir.join("ca-key.pem"));
    let mut params = params(vec![], "raftyard development authority", CA_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    match (cert_path.exists(), key_path.exists()) {
        // The name is the same in each, and the key says which it is.
        (true, true) => {
            let text = fs::read_to_string(&key_path).map_err(file_error(&key_path))?;
            let key = KeyPair::from_pem(&text).map_err(|source| CertificateError::AuthorityKey {
                path: key_path.clone(),
                source,
            })?;
            if !holds(&cert_path, &key)? {
                return Err(CertificateError::OtherAuthority {
                    cert: cert_path,
                    key: key_path,
                });
            }
            Ok(Issuer::new(params, key))
        }
        (false, false) => {
            let key = KeyPair::generate()?;
            let certificate = params.self_signed(&key)?;
            write_secret(&key_path, &key.serialize_pem())?;
            fs::write(&cert_path, certificate.pem()).map_err(file_error(&cert_path))?;
            Ok(Issuer::new(params, key))
        }
        (true, false) => Err(CertificateError::HalfAuthority {
            present: cert_path,
            missing: key_path,
        }),
        (false, true) => Err(CertificateError::HalfAuthority {
            present: key_path,
            missing: cert_path,
        }),
    }
}

/// Whether one of the certificates at `path` is for this key: it contains its public half as it stands.
fn holds(path: &Path, key: &KeyPair) -> Result<bool, CertificateError> {
    let public = key.subject_public_key_info();
    let text = fs::read(path).map_err(file_error(path))?;
    let certificates = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok);
    let holds = |certificate: CertificateDer<'_>| certificate.windows(public.len()).any(|part| part == public);
    Ok(certificates.into_iter().any(holds))
}

/// Valid from an hour ago, for clocks that are not quite right.
fn params(hosts: Vec<String>, name: &str, days: u32) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(60 * 60)).into();
    params.not_after = (now + DAY * days).into();
    Ok(params)
}

/// Readable by its owner only, from the start.
fn write_secret(path: &Path, text: &str) -> Result<(), CertificateError> {
    let write = || {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    };
    write().map_err(file_error(path))
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> CertificateError {
    let path = path.to_owned();
    move |source| CertificateError::File { path, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn wanted<'a>(nodes: &'a [u64], hosts: &'a [String]) -> Wanted<'a> {
        Wanted {
            cluster: "test",
            nodes,
            hosts,
            days: 30,
        }
    }

    #[test]
    fn what_is_written_is_a_nodes_and_can_be_renewed() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &wanted(&[1, 2], &["kv1.example".to_owned()])).unwrap();
        let read = |files: &TlsFiles| [&files.ca, &files.cert, &files.key].map(|path| fs::read(path).unwrap());
        let first = read(&files(dir.path(), 1));
        for node in [1, 2] {
            TlsNetwork::open("test", NodeId(node), files(dir.path(), node)).unwrap();
            let mode = fs::metadata(files(dir.path(), node).key).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(TlsNetwork::open("test", NodeId(2), files(dir.path(), 1)).is_err());

        write(dir.path(), &wanted(&[1, 3], &[])).unwrap();
        let renewed = read(&files(dir.path(), 1));
        assert_eq!(renewed[0], first[0], "the authority stays");
        assert!(renewed[1] != first[1] && renewed[2] != first[2]);
        TlsNetwork::open("test", NodeId(3), files(dir.path(), 3)).unwrap();

        let other = tempfile::tempdir().unwrap();
        write(other.path(), &wanted(&[1], &[])).unwrap();
        let paths = [dir.path(), other.path()].map(|dir| dir.join("ca.pem"));
        let [own, others] = paths.map(|path| fs::read(path).unwrap());
        fs::write(dir.path().join("ca.pem"), &others).unwrap();
        let error = write(dir.path(), &wanted(&[1], &[])).unwrap_err();
        assert!(matches!(error, CertificateError::OtherAuthority { .. }), "{error}");
        fs::write(dir.path().join("ca.pem"), [&others[..], &own].concat()).unwrap();
        write(dir.path(), &wanted(&[1], &[])).unwrap();

        fs::remove_file(dir.path().join("ca-key.pem")).unwrap();
        let error = write(dir.path(), &wanted(&[1], &[])).unwrap_err();
        assert!(matches!(error, CertificateError::HalfAuthority { .. }), "{error}");
    }

    #[test]
    fn a_name_that_can_not_be_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let spaces = Wanted {
            cluster: "two words",
            ..wanted(&[1], &[])
        };
        assert!(matches!(write(dir.path(), &spaces), Err(CertificateError::Name(_))));
    }
}
