//! What somebody sees who doesn't know the names of our gates: nothing.
#![allow(clippy::unwrap_used, reason = "a test that fails panics")]

mod node;

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use node::{ALPN, Node, config};
use noq::{ClientConfig, Endpoint, crypto::rustls::QuicClientConfig};
use tokio::time::timeout;

/// On one machine an answer comes within milliseconds.
const PATIENCE: Duration = Duration::from_millis(700);

/// Knocks with these names. Tells whether anything came back, were it an alert.
async fn is_answered(node: &Node, names: &[&[u8]]) -> bool {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    tls.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = node.addresses()[0];
    let connecting = endpoint.connect_with(config, address, "stranger").unwrap();
    timeout(PATIENCE, connecting).await.is_ok()
}

#[tokio::test]
async fn a_knock_without_our_name_gets_no_answer_not_even_an_alert() {
    let node = Node::start(config(1)).await;
    assert!(
        is_answered(&node, &[&ALPN]).await,
        "else this proves nothing"
    );
    assert!(!is_answered(&node, &[]).await, "no name");
    assert!(
        !is_answered(&node, &[b"fedcba9876543210"]).await,
        "a wrong one"
    );
    let many: Vec<Vec<u8>> = (0..200_u32).map(|n| format!("{n:016x}").into()).collect();
    let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
    assert!(!is_answered(&node, &many).await, "more than fits a packet");
}
