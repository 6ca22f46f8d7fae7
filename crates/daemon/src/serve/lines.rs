//! Answers that are streams: one JSON object per line, sent as it comes.

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use carryall_core::event::Notice;
use http_body_util::channel::{Channel, Sender};
use serde::Serialize;
use tokio::sync::{broadcast, mpsc};

use crate::engine::Engine;

/// Lines that may wait for a slow reader before the job waits for it.
const LINES_WAITING_MAX: usize = 64;

/// Returns an answer with one line for each value; it ends when the job drops its sender.
pub(super) fn of_jobs<T: Serialize + Send + 'static>(mut lines: mpsc::Receiver<T>) -> Response {
    let (mut sender, response) = stream();
    tokio::spawn(async move {
        while let Some(line) = lines.recv().await {
            if sender.send_data(encode(&line)).await.is_err() {
                return;
            }
        }
    });
    response
}

/// Returns an answer with one line for each notice, until the reader leaves or the engine stops.
pub(super) fn of_notices(mut notices: broadcast::Receiver<Notice>, engine: Engine) -> Response {
    let (mut sender, response) = stream();
    tokio::spawn(async move {
        loop {
            let notice = tokio::select! {
                notice = notices.recv() => notice,
                () = engine.stopped() => return,
            };
            let line = match notice {
                Ok(notice) => encode(&notice),
                // The reader was too slow for all of them; those that follow are still good.
                Err(broadcast::error::RecvError::Lagged(_)) => continue,
                Err(broadcast::error::RecvError::Closed) => return,
            };
            if sender.send_data(line).await.is_err() {
                return;
            }
        }
    });
    response
}

fn stream() -> (Sender<Bytes>, Response) {
    let (sender, channel) = Channel::<Bytes>::new(LINES_WAITING_MAX);
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (sender, (kind, Body::new(channel)).into_response())
}

fn encode<T: Serialize>(line: &T) -> Bytes {
    // The shapes of the API have only string keys, so they can be encoded.
    let mut bytes = serde_json::to_vec(line).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}
