//! The share's address: who is let in, and for what.

use std::{io, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use carryall_daemon::loopback::{self, Hosts};
use dav_server::{DavHandler, DavMethodSet};
use tokio::net::TcpListener;

use super::Share;
use crate::window::Window;

/// What is asked of the node at a time for whoever reads on and on, in bytes.
const STRETCH_BYTES: usize = 256 << 10;

/// A socket that shows the window to whoever knows the address.
#[derive(Debug)]
pub(crate) struct Door {
    socket: TcpListener,
    address: String,
    guard: Guard,
}

/// Whom the share answers.
#[derive(Debug)]
struct Guard {
    hosts: Hosts,
    secret: String,
}

impl Guard {
    /// Tells whether a request is for this share, by somebody who knows where it is.
    fn admits(&self, headers: &HeaderMap, path: &str) -> bool {
        let first = path.split('/').nth(1).unwrap_or_default();
        self.hosts.admit(headers) && loopback::same(first.as_bytes(), self.secret.as_bytes())
    }
}

impl Door {
    /// Binds any port on loopback.
    pub(crate) async fn bind() -> io::Result<Self> {
        let socket = loopback::bind(0).await?;
        let (port, secret) = (socket.local_addr()?.port(), loopback::secret()?);
        Ok(Self {
            socket,
            address: format!("http://127.0.0.1:{port}/{secret}/"),
            guard: Guard {
                hosts: Hosts::new(port),
                secret,
            },
        })
    }

    /// Returns where the share is. Whoever knows that can read everything.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Answers for as long as it is polled.
    pub(crate) async fn run(self, window: Window) -> io::Result<()> {
        let share = DavHandler::builder()
            .filesystem(Box::new(Share(Arc::new(window))))
            .strip_prefix(format!("/{}", self.guard.secret))
            .methods(DavMethodSet::WEBDAV_RO)
            .read_buf_size(STRETCH_BYTES)
            .build_handler();
        let router = Router::new()
            .fallback(answer)
            .with_state((Arc::new(self.guard), share));
        axum::serve(self.socket, router).await
    }
}

async fn answer(
    State((guard, share)): State<(Arc<Guard>, DavHandler)>,
    mut request: Request,
) -> Response {
    if !guard.admits(request.headers(), request.uri().path()) {
        let sentence = "nothing is shown here to whoever does not have the whole address\n";
        return (StatusCode::FORBIDDEN, sentence).into_response();
    }
    // The header of a test suite that may list without end.
    request.headers_mut().remove("x-litmus");
    let mut response = share.handle(request).await.map(axum::body::Body::new);
    // A saved page opened in a browser must not read what lies beside it, nor give the address away.
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, "sandbox"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}
