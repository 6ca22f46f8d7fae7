//! A socket that this machine alone reaches: where it listens, under which names it answers, and the
//! secrets that open it.
//!
//! It listens on 127.0.0.1 only. The `Host` allow-list stops web pages that rebind a name to this
//! machine, the `Origin` check stops pages that merely guess the port, a secret stops everybody else
//! who has an account here.

use std::{io, net::Ipv4Addr};

use axum::http::{HeaderMap, header};
use tokio::net::TcpListener;

/// How many ports are tried when the first is in use: as many nodes as one machine may run.
const PORTS_TRIED: u16 = 100;

/// Binds `port` on loopback or the next free one, and any when `port` is 0.
pub async fn bind(port: u16) -> io::Result<TcpListener> {
    let last = if port == 0 {
        0
    } else {
        port.saturating_add(PORTS_TRIED)
    };
    let mut failure = io::Error::from(io::ErrorKind::AddrInUse);
    for port in port..=last {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Returns a new secret: 64 hexadecimal digits.
pub fn secret() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(carryall_core::id::hex(&bytes))
}

/// Compares without telling by its duration where the first difference is.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// The names under which a port of this machine answers.
#[derive(Debug)]
pub struct Hosts([String; 3]);

impl Hosts {
    /// Returns the names of `port`.
    pub fn new(port: u16) -> Self {
        let names = ["127.0.0.1", "localhost", "carryall.localhost"];
        Self(names.map(|name| format!("{name}:{port}")))
    }

    /// Tells whether a request is meant for this port, and comes from no page but its own.
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST);
        let own = |value: &[u8]| self.0.iter().any(|host| host.as_bytes() == value);
        host.is_some_and(|host| own(host.as_bytes()))
            && headers.get(header::ORIGIN).is_none_or(|origin| {
                let origin = origin.as_bytes().strip_prefix(b"http://");
                origin.is_some_and(own)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_are_not_answered() {
        let headers = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            headers
        };
        let hosts = Hosts::new(4750);
        assert!(hosts.admit(&headers("127.0.0.1:4750", None)));
        let own = Some("http://carryall.localhost:4750");
        assert!(hosts.admit(&headers("carryall.localhost:4750", own)));
        assert!(
            !hosts.admit(&headers("evil.example:4750", None)),
            "rebinding"
        );
        assert!(!hosts.admit(&headers("localhost:4751", None)));
        let evil = Some("http://evil.example");
        assert!(!hosts.admit(&headers("localhost:4750", evil)));
        assert!(!hosts.admit(&headers("localhost:4750", Some("null"))));
        assert!(!hosts.admit(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn the_next_free_port_is_taken() {
        let first = bind(0).await.unwrap().local_addr().unwrap().port();
        let held = bind(first).await.unwrap();
        let second = bind(first).await.unwrap();
        assert!(second.local_addr().unwrap().port() > held.local_addr().unwrap().port());
    }

    #[test]
    fn secrets_are_long_and_new() {
        let secret = secret().unwrap();
        assert_eq!(secret.len(), 64);
        assert!(same(secret.as_bytes(), secret.as_bytes()));
        assert!(!same(
            secret.as_bytes(),
            super::secret().unwrap().as_bytes()
        ));
        assert!(!same(secret.as_bytes(), &secret.as_bytes()[1..]));
    }
}
