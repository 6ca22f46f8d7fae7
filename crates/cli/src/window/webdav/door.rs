//! The share's address: who is let in, and for what.

use std::{io, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use carryall_daemon::loopback::{self, Hosts};
use dav_server::{DavHandler, DavMethodSet};
use futures_util::{StreamExt, stream};
use tokio::net::TcpListener;

use super::Share;
use crate::window::Window;

/// What is answered to whoever wants to change something.
const ONLY_LOOK: &str = "snapshots can be looked at, not changed; nothing was written\n";
/// What is answered where something is known and can't be had.
const AWAY: &str = "this can't be shown now: nobody in reach has it, or the node has stopped; nothing \
    is lost, and `carryall retrace` says whom to meet\n";
/// The methods that do nothing but look.
const LOOKING: [&str; 4] = ["HEAD", "GET", "OPTIONS", "PROPFIND"];
/// How deep a listing goes (RFC 4918 §10.2).
const DEPTH: HeaderName = HeaderName::from_static("depth");
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
    let method = request.method().clone();
    let mut response = if LOOKING.contains(&method.as_str()) {
        ask_plainly(&method, request.headers_mut());
        let (head, body) = share.handle(request).await.into_parts();
        begun(Response::from_parts(head, body)).await
    } else {
        let allow = [(header::ALLOW, LOOKING.join(","))];
        (StatusCode::METHOD_NOT_ALLOWED, allow, ONLY_LOOK).into_response()
    };
    if method.as_str() == "PROPFIND" && response.status() == StatusCode::NOT_IMPLEMENTED {
        // Who lists without end is told to ask folder by folder (RFC 4918 §9.1.1).
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
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

/// Takes out of a request what is answered in strange ways.
fn ask_plainly(method: &Method, headers: &mut HeaderMap) {
    // The header of a test suite that may list without end.
    headers.remove("x-litmus");
    if method.as_str() == "PROPFIND" && !headers.contains_key(DEPTH) {
        headers.insert(DEPTH, HeaderValue::from_static("1"));
    }
    // Several ranges at once come with a mark between them that may lie in the file, too. Who asks for
    // ranges must take the whole (RFC 9110 §14.2).
    let several = headers.get(header::RANGE);
    if several.is_some_and(|it| it.as_bytes().contains(&b',')) {
        headers.remove(header::RANGE);
    }
}

/// Waits until an answer has something to show, so that its status tells whether it has.
async fn begun(response: Response<dav_server::body::Body>) -> Response {
    let (head, mut body) = response.into_parts();
    let first = body.next().await;
    let failed = matches!(first, Some(Err(_))) || head.status.is_server_error();
    if failed && head.status != StatusCode::NOT_IMPLEMENTED {
        return (StatusCode::SERVICE_UNAVAILABLE, AWAY).into_response();
    }
    let body = Body::from_stream(stream::iter(first).chain(body));
    Response::from_parts(head, body)
}
