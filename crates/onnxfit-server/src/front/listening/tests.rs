use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::*;
use crate::front::tls::tests::{made, written};

fn trusting(certificate: &str, protocols: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config =
        config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

/// Repeats what the first caller says.
async fn echo(mut listening: Listening) {
    let mut connection = std::future::poll_fn(|context| listening.poll_connection(context)).await;
    let mut said = [0; 5];
    connection.read_exact(&mut said).await.unwrap();
    connection.write_all(&said).await.unwrap();
    connection.shutdown().await.unwrap();
    // Callers who wait for their handshake are held as long as the listener.
    drop(listening);
}

#[tokio::test]
async fn a_caller_who_says_nothing_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = made();
    let tls = Arc::new(Tls::open(&written(folder.path(), &certificate, &key)).unwrap());
    let listening = Listening::bind(([127, 0, 0, 1], 0).into(), Some((tls, Inside::Http2))).await.unwrap();
    let address = listening.address().unwrap();
    let served = tokio::spawn(echo(listening));

    let silent = TcpStream::connect(address).await.unwrap();
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    // Speaks no protocol that is spoken here.
    let wrong = TcpStream::connect(address).await.unwrap();
    let name = || ServerName::try_from("localhost").unwrap();
    assert!(trusting(&certificate, &[b"http/1.1"]).connect(name(), wrong).await.is_err());
    // Trusts another.
    let stranger = TcpStream::connect(address).await.unwrap();
    assert!(trusting(&made().0, &[b"h2"]).connect(name(), stranger).await.is_err());

    let caller = TcpStream::connect(address).await.unwrap();
    let mut caller = trusting(&certificate, &[b"h2"]).connect(name(), caller).await.unwrap();
    assert_eq!(caller.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    caller.write_all(b"hello").await.unwrap();
    let mut heard = Vec::new();
    caller.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"hello");
    served.await.unwrap();
    drop(silent);
}

#[tokio::test]
async fn without_a_certificate_connections_are_plain() {
    let listening = Listening::bind(([127, 0, 0, 1], 0).into(), None).await.unwrap();
    let address = listening.address().unwrap();
    let served = tokio::spawn(echo(listening));
    let mut caller = TcpStream::connect(address).await.unwrap();
    caller.write_all(b"hello").await.unwrap();
    let mut heard = Vec::new();
    caller.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"hello");
    served.await.unwrap();
}
