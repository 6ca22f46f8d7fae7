//! The API without its socket, for homes where no node runs: the same router, called in this
//! process.

use std::{
    io::{self, Read},
    path::Path,
};

use axum::{
    Router,
    body::{Body, Bytes},
    http,
};
use carryall_daemon::engine::{self, Engine, OpenOptions};
use http_body_util::BodyExt;
use tokio::runtime::Runtime;
use tower::ServiceExt;

use super::{Answer, Reach, Request};
use crate::error::CommandError;

/// The API in this process.
#[derive(Debug)]
pub(crate) struct Local {
    runtime: Runtime,
    engine: Engine,
    router: Router,
}

impl Local {
    /// Opens the vault in `home`, and holds it until dropped.
    pub(super) fn open(home: &Path, reach: Reach) -> Result<Self, CommandError> {
        let runtime = Runtime::new()
            .map_err(|error| CommandError::failed("cannot start any thread").because(error))?;
        let options = OpenOptions {
            net: reach == Reach::Friends,
        };
        let engine = runtime.block_on(engine::open(home, options))?;
        let router = engine.router();
        Ok(Self {
            runtime,
            engine,
            router,
        })
    }

    pub(super) fn send(&self, request: &Request<'_>) -> Result<Answer<'_>, CommandError> {
        let method = if request.body.is_some() {
            http::Method::POST
        } else {
            http::Method::GET
        };
        let body = request.body.clone().map_or_else(Body::empty, Body::from);
        let question = http::Request::builder()
            .method(method)
            .uri(request.route)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| CommandError::failed("cannot ask for this").because(error))?;
        let response = match self.runtime.block_on(self.router.clone().oneshot(question)) {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status().as_u16();
        let body = Chunks {
            runtime: &self.runtime,
            body: response.into_body(),
            chunk: Bytes::new(),
        };
        Ok(Answer {
            status,
            body: Box::new(body),
        })
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // What was promised reaches the disk before the process ends.
        self.runtime.block_on(self.engine.close());
    }
}

/// A body, read as it comes.
struct Chunks<'a> {
    runtime: &'a Runtime,
    body: Body,
    chunk: Bytes,
}

impl Read for Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.runtime.block_on(self.body.frame()) {
                None => return Ok(0),
                Some(Err(error)) => return Err(io::Error::other(error)),
                // Trailers say nothing here.
                Some(Ok(frame)) => self.chunk = frame.into_data().unwrap_or_default(),
            }
        }
        let length = buffer.len().min(self.chunk.len());
        buffer[..length].copy_from_slice(&self.chunk.split_to(length));
        Ok(length)
    }
}
