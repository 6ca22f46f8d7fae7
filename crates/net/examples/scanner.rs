//! A stranger who asks for a certificate: `scanner ADDRESS...` knocks at each by QUIC, without a
//! protocol's name, with a wrong one, and with so many wrong ones that the first message fills
//! several packets. Prints what was answered, one JSON object for each knock, and fails if any key
//! was shown. First it knocks at a listener of its own, whose name it knows: a scanner that can't
//! see a certificate there would prove nothing.

#![allow(clippy::unwrap_used, reason = "an example that can't go on has failed")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use noq::{ClientConfig, Endpoint, crypto::rustls::QuicClientConfig};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        AlwaysResolvesClientRawPublicKeys,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::ring::sign::any_eddsa_type,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    sign::CertifiedKey,
};
use tokio::time::timeout;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// What stands before the 32 bytes of an Ed25519 key (RFC 8410).
const ED25519_PKCS8: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
const OWN_NAME: &[u8] = b"a name of its own";

/// Accepts no certificate, and remembers that it saw one.
#[derive(Debug, Default)]
struct Eye(AtomicBool);

impl ServerCertVerifier for Eye {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _more: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.store(true, Ordering::SeqCst);
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("never".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("never".to_owned()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// What came of a knock.
struct Answer {
    certificate: bool,
    answered: bool,
    end: String,
}

/// Knocks at an address with these names.
async fn knock(address: SocketAddr, names: Vec<Vec<u8>>) -> Answer {
    let eye = Arc::new(Eye::default());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(eye.clone())
        .with_client_cert_resolver(own_key());
    tls.alpn_protocols = names;
    tls.enable_sni = false;
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
    let connecting = endpoint.connect_with(config, address, "stranger").unwrap();
    let end = match timeout(PATIENCE, connecting).await {
        Ok(Ok(_)) => "connected".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer".to_owned(),
    };
    let answered = end != "no answer";
    endpoint.close(0_u32.into(), b"");
    Answer {
        certificate: eye.0.load(Ordering::SeqCst),
        answered,
        end,
    }
}

/// Returns a key of nobody's: a listener may want to see one first.
fn own_key() -> Arc<AlwaysResolvesClientRawPublicKeys> {
    let mut pkcs8 = ED25519_PKCS8.to_vec();
    pkcs8.extend([7; 32]);
    let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8)).unwrap();
    let public = key.public_key().unwrap();
    let certified = CertifiedKey::new(vec![CertificateDer::from(public.to_vec())], key);
    Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::new(certified)))
}

/// Knocks at a listener that is meant to answer, and returns what came of it.
async fn can_see() -> Answer {
    let listener = iroh::Endpoint::builder(iroh::endpoint::presets::Minimal)
        .relay_mode(iroh::RelayMode::Disabled)
        .alpns(vec![OWN_NAME.to_vec()])
        .bind()
        .await
        .unwrap();
    let port = listener
        .bound_sockets()
        .iter()
        .find(|it| it.is_ipv4())
        .unwrap()
        .port();
    let accepting = tokio::spawn({
        let listener = listener.clone();
        async move {
            while let Some(incoming) = listener.accept().await {
                let _ = incoming.await;
            }
        }
    });
    let answer = knock((Ipv4Addr::LOCALHOST, port).into(), vec![OWN_NAME.to_vec()]).await;
    listener.close().await;
    let _ = accepting.await;
    answer
}

#[tokio::main]
async fn main() {
    let own = can_see().await;
    println!(
        "{{\"knock\":\"own\",\"certificate\":{},\"end\":{:?}}}",
        own.certificate, own.end
    );
    let mut shown = false;
    let wrong = |count: u32| {
        (0..count)
            .map(|n| format!("{n:016x}").into_bytes())
            .collect()
    };
    let knocks: [(&str, Vec<Vec<u8>>); 3] = [
        ("none", Vec::new()),
        ("wrong", wrong(1)),
        ("many wrong", wrong(200)),
    ];
    for address in std::env::args().skip(1) {
        for (name, names) in &knocks {
            let answer = knock(address.parse().unwrap(), names.clone()).await;
            shown |= answer.certificate;
            println!(
                "{{\"knock\":\"{name}\",\"address\":\"{address}\",\"certificate\":{},\"answered\":{},\"end\":{:?}}}",
                answer.certificate, answer.answered, answer.end
            );
        }
    }
    assert!(own.certificate, "this scanner can't see certificates");
    assert!(!shown, "a key was shown to a stranger");
}
