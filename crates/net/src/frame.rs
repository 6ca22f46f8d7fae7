//! Messages on the control stream: a length, then the strict encoding.

use carryall_core::{codec, limits, message::Message};
use iroh::endpoint::{ReadExactError, RecvStream};

/// Bytes of the length prefix, a little-endian `u32`.
const PREFIX_BYTES: usize = 4;

/// Why no message could be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// The stream ended between two frames, or the link broke.
    Over,
    /// What came is no message.
    Garbage,
}

/// Returns the frame that carries `message`, or nothing if it would be longer than peers accept.
pub(crate) fn encode(message: &Message) -> Option<Vec<u8>> {
    let body = codec::encode(message);
    if body.len() > limits::FRAME_BYTES_MAX {
        return None;
    }
    let length = u32::try_from(body.len()).ok()?;
    let mut frame = Vec::with_capacity(PREFIX_BYTES + body.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&body);
    Some(frame)
}

/// Reads one message. The length is checked before anything is allocated for it.
pub(crate) async fn read(stream: &mut RecvStream) -> Result<Message, FrameError> {
    let mut prefix = [0; PREFIX_BYTES];
    stream
        .read_exact(&mut prefix)
        .await
        .map_err(|error| match error {
            ReadExactError::FinishedEarly(0) | ReadExactError::ReadError(_) => FrameError::Over,
            ReadExactError::FinishedEarly(_) => FrameError::Garbage,
        })?;
    let length = usize::try_from(u32::from_le_bytes(prefix)).map_err(|_| FrameError::Garbage)?;
    if length == 0 || length > limits::FRAME_BYTES_MAX {
        return Err(FrameError::Garbage);
    }
    let mut body = vec![0; length];
    stream
        .read_exact(&mut body)
        .await
        .map_err(|error| match error {
            ReadExactError::ReadError(_) => FrameError::Over,
            ReadExactError::FinishedEarly(_) => FrameError::Garbage,
        })?;
    codec::decode("message", &body).map_err(|_| FrameError::Garbage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_length_and_body() {
        let frame = encode(&Message::Ping(7)).unwrap();
        let body = codec::encode(&Message::Ping(7));
        assert_eq!(frame[..4], u32::try_from(body.len()).unwrap().to_le_bytes());
        assert_eq!(frame[4..], body);
    }

    #[test]
    fn what_peers_would_refuse_is_not_sent() {
        let probes = vec![(carryall_core::id::ShardId([1; 32]), 0); 2500];
        assert_eq!(encode(&Message::Challenge { nonce: 0, probes }), None);
    }
}
