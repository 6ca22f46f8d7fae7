//! The control stream of a link: an ordered, bounded queue out, events in.

use std::{sync::Arc, time::Duration};

use carryall_core::{
    event::LinkId,
    message::{Farewell, Message},
};
use iroh::endpoint::{Connection, RecvStream, SendStream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};

use crate::{
    event::NetEvent,
    frame::{self, FrameError},
    link::Code,
    net::SendError,
};

/// Bytes that may wait for a slow reader: what is said in passing, and entries sent in bulk. The
/// two have separate room, so that a long feed can't crowd out a ping.
const PROMPT_BYTES: usize = 3 << 20;
const PATIENT_BYTES: usize = 1 << 20;
/// What a queued frame costs beside its own bytes.
const FRAME_OVERHEAD: usize = 64;
/// How long a farewell may take to arrive before the link closes regardless.
const FAREWELL_WAIT: Duration = Duration::from_millis(500);

/// A frame in the queue, or the end of it.
enum Item {
    /// To be written. The permit frees its room afterwards.
    Frame(Vec<u8>, OwnedSemaphorePermit),
    /// The last frame was queued: flush, then close.
    End,
}

/// The sending end of the queue.
#[derive(Debug)]
pub(crate) struct Outbox {
    items: mpsc::UnboundedSender<Item>,
    prompt: Arc<Semaphore>,
    patient: Arc<Semaphore>,
}

/// The receiving end of the queue.
#[derive(Debug)]
pub(crate) struct Outgoing {
    items: mpsc::UnboundedReceiver<Item>,
}

/// Returns both ends of a new queue.
pub(crate) fn queue() -> (Outbox, Outgoing) {
    // Unbounded in items, bounded in bytes by the permits.
    let (sender, receiver) = mpsc::unbounded_channel();
    let outbox = Outbox {
        items: sender,
        prompt: Arc::new(Semaphore::new(PROMPT_BYTES)),
        patient: Arc::new(Semaphore::new(PATIENT_BYTES)),
    };
    (outbox, Outgoing { items: receiver })
}

impl Outbox {
    /// Queues a message at once, or says that the peer reads too slowly.
    pub(crate) fn send(&self, message: &Message) -> Result<(), SendError> {
        let (frame, cost) = weigh(message)?;
        let permit = Arc::clone(&self.prompt)
            .try_acquire_many_owned(cost)
            .map_err(|_| SendError::PeerTooSlow)?;
        self.push(frame, permit)
    }

    /// Queues a message as soon as there is room.
    pub(crate) async fn send_patiently(&self, message: &Message) -> Result<(), SendError> {
        let (frame, cost) = weigh(message)?;
        let permit = Arc::clone(&self.patient)
            .acquire_many_owned(cost)
            .await
            .map_err(|_| SendError::NoLink)?;
        self.push(frame, permit)
    }

    /// Queues the farewell and the end. Whatever is queued later is lost.
    pub(crate) fn end(&self, farewell: Farewell) {
        // A peer that reads too slowly is closed without a word.
        let _ = self.send(&Message::Farewell(farewell));
        let _ = self.items.send(Item::End);
    }

    /// Wakes everybody who waits for room: the link is gone.
    pub(crate) fn close(&self) {
        self.patient.close();
        self.prompt.close();
    }

    fn push(&self, frame: Vec<u8>, permit: OwnedSemaphorePermit) -> Result<(), SendError> {
        self.items
            .send(Item::Frame(frame, permit))
            .map_err(|_| SendError::NoLink)
    }
}

fn weigh(message: &Message) -> Result<(Vec<u8>, u32), SendError> {
    let frame = frame::encode(message).ok_or(SendError::TooLong)?;
    let cost = u32::try_from(frame.len() + FRAME_OVERHEAD).map_err(|_| SendError::TooLong)?;
    Ok((frame, cost))
}

/// Writes queued frames in order until the queue or the connection ends. After a farewell, the
/// connection is closed once the peer has it.
pub(crate) async fn write(connection: &Connection, mut stream: SendStream, mut queue: Outgoing) {
    loop {
        let item = tokio::select! {
            item = queue.items.recv() => item,
            _ = connection.closed() => return,
        };
        match item {
            Some(Item::Frame(frame, permit)) => {
                if stream.write_all(&frame).await.is_err() {
                    // The peer stopped the stream or is gone: nothing can be said any more.
                    connection.close(Code::ControlOver.into(), b"");
                    return;
                }
                drop(permit);
            }
            Some(Item::End) | None => {
                if stream.finish().is_ok() {
                    let _ = timeout(FAREWELL_WAIT, stream.stopped()).await;
                }
                connection.close(Code::Farewell.into(), b"");
                return;
            }
        }
    }
}

/// Passes on what the peer says until the stream ends, and closes the connection on garbage.
pub(crate) async fn read(
    connection: &Connection,
    link: LinkId,
    mut stream: RecvStream,
    events: &mpsc::Sender<NetEvent>,
) {
    loop {
        match frame::read(&mut stream).await {
            Ok(message) => {
                if events
                    .send(NetEvent::Message { link, message })
                    .await
                    .is_err()
                {
                    connection.close(Code::Farewell.into(), b"");
                    return;
                }
            }
            Err(FrameError::Over) => {
                // A peer that ended its stream closes next; one that doesn't is helped.
                let _ = timeout(FAREWELL_WAIT, connection.closed()).await;
                connection.close(Code::ControlOver.into(), b"");
                return;
            }
            Err(FrameError::Garbage) => {
                connection.close(Code::Garbage.into(), b"");
                let _ = events.send(NetEvent::Garbage { link }).await;
                return;
            }
        }
    }
}
