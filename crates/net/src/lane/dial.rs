//! Dialling a lane: the peer listens, for a moment, at the number that its QUIC port has.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{Secrets, socket};

/// Pauses before the tries: the peer's door may open a little after its link is up.
const TRIES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(30),
    Duration::from_millis(150),
    Duration::from_millis(600),
];
/// How long one try may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// Returns a connection that the peer at `remote` has recognised as this link's.
pub(crate) async fn dial(remote: SocketAddr, secrets: &Secrets) -> Option<TcpStream> {
    let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
    for pause in TRIES {
        sleep(pause).await;
        match timeout(PATIENCE, try_once(remote, secrets)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => tracing::debug!(%remote, %error, "no lane yet"),
            // A wall that drops what it doesn't know: it will go on doing so.
            Err(_) => return None,
        }
    }
    None
}

async fn try_once(remote: SocketAddr, secrets: &Secrets) -> io::Result<TcpStream> {
    let mut stream = socket(remote.is_ipv4())?.connect(remote).await?;
    stream.write_all(&secrets.claim).await?;
    let mut answer = [0; 32];
    stream.read_exact(&mut answer).await?;
    if answer == secrets.answer {
        Ok(stream)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}
