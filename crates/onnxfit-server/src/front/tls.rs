//! The server's certificate: read from two files, checked before anybody connects, read again when
//! the files change.
//!
//! Promises that a key which cannot be used (another certificate's, an encrypted one, no key at
//! all) is an error that names the file, and that a renewal which cannot be used leaves the
//! certificate before it in place.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

/// Where the certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate in PEM, the server's own first, then those that lead to its root.
    pub certificate: PathBuf,
    /// Its private key in PEM, not encrypted.
    pub key: PathBuf,
}

/// Why a certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No file, or one that may not be read.
    #[error("cannot read the {what} in `{}`: {source}", path.display())]
    Read {
        /// Certificate or key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that holds something else.
    #[error("`{}` holds no {what} in PEM: {reason}", path.display())]
    Content {
        /// Certificate or key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A key that wants a password.
    #[error(
        "the key in `{}` is encrypted, and nobody is asked for its password; decrypt it with \
         `openssl pkey -in {} -out FILE` and let nobody else read FILE",
        path.display(), path.display()
    )]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// A key of another certificate.
    #[error("the key in `{}` does not belong to the certificate in `{}`", files.key.display(), files.certificate.display())]
    Mismatch {
        /// Both.
        files: TlsFiles,
    },
    /// A kind of key or certificate that cannot serve.
    #[error("the certificate in `{}` and its key cannot be used: {reason}", files.certificate.display())]
    Unusable {
        /// Both.
        files: TlsFiles,
        /// Why.
        reason: String,
    },
}

/// What a listener speaks inside the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    Http1,
    Http2,
}

/// The certificate that new connections are shown.
pub(crate) struct Tls {
    files: TlsFiles,
    now: Mutex<Now>,
}

struct Now {
    stamps: Stamps,
    http1: TlsAcceptor,
    http2: TlsAcceptor,
}

/// When each file was changed.
type Stamps = [Option<SystemTime>; 2];

impl Tls {
    pub(crate) fn open(files: &TlsFiles) -> Result<Self, TlsError> {
        let stamps = stamps(files);
        Ok(Self { files: files.clone(), now: Mutex::new(read(files, stamps)?) })
    }

    pub(crate) fn acceptor(&self, inside: Inside) -> TlsAcceptor {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        match inside {
            Inside::Http1 => now.http1.clone(),
            Inside::Http2 => now.http2.clone(),
        }
    }

    /// Reads the files again if one of them has changed. Whether it was so; an error leaves what was
    /// there before, and comes once for each change.
    pub(crate) fn reload_changed(&self) -> Result<bool, TlsError> {
        let stamps = stamps(&self.files);
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if stamps == now.stamps {
            return Ok(false);
        }
        now.stamps = stamps;
        *now = read(&self.files, stamps)?;
        Ok(true)
    }
}

fn stamps(files: &TlsFiles) -> Stamps {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    [changed(&files.certificate), changed(&files.key)]
}

fn read(files: &TlsFiles, stamps: Stamps) -> Result<Now, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let certified = Arc::new(certified(files, &provider)?);
    let acceptor = |protocol: &[u8]| -> Result<TlsAcceptor, TlsError> {
        let unusable = |error: rustls::Error| TlsError::Unusable { files: files.clone(), reason: error.to_string() };
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(&certified)));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    };
    Ok(Now { stamps, http1: acceptor(b"http/1.1")?, http2: acceptor(b"h2")? })
}

fn certified(files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let text = bytes_of("certificate", &files.certificate)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| content("certificate", &files.certificate, &error))?;
    if chain.is_empty() {
        return Err(content("certificate", &files.certificate, &pem::Error::NoItemsFound));
    }
    let text = bytes_of("key", &files.key)?;
    // Both ways that a PEM file says so: in the title of PKCS #8, in a header of the older forms.
    if [&b"ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"].iter().any(|mark| holds(&text, mark)) {
        return Err(TlsError::Encrypted { path: files.key.clone() });
    }
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| content("key", &files.key, &error))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch { files: files.clone() },
        other => TlsError::Unusable { files: files.clone(), reason: other.to_string() },
    })
}

fn bytes_of(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { what, path: path.to_owned(), source })
}

fn content(what: &'static str, path: &Path, error: &pem::Error) -> TlsError {
    let reason = match error {
        pem::Error::NoItemsFound => "there is no such section in it".to_owned(),
        pem::Error::MissingSectionEnd { .. } => "a section of it has no end".to_owned(),
        other => other.to_string(),
    };
    TlsError::Content { what, path: path.to_owned(), reason }
}

fn holds(text: &[u8], mark: &[u8]) -> bool {
    text.windows(mark.len()).any(|window| window == mark)
}

#[cfg(test)]
pub(in crate::front) mod tests;
