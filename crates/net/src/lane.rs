//! The lane: a TCP connection beside a near link, which carries the shards.
//!
//! QUIC handles every packet in user space: on a fast network the processors are full before the
//! cable is. The kernel moves TCP in pieces of 64 KiB, at half the cost for the whole way of a shard.
//! So a link keeps its messages, its liveness and its end on QUIC, and near peers put the bulk onto
//! a lane. Its keys come from the link's TLS session (RFC 5705), hence from the two device keys, and
//! are new each time; all that passes is sealed, so that nobody on the way can tell one shard from
//! another. Where no lane comes about, shards go on QUIC streams; a lane that breaks takes its link
//! with it, and the next link to that peer does without.

mod dial;
mod door;
mod receive;
mod record;
mod send;

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use iroh::endpoint::Connection;
use socket2::SockRef;
use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{self, oneshot},
    time::timeout,
};

use self::record::{Kind, Opener, Sealer};
pub(crate) use self::{
    dial::dial,
    door::{Claim, Door},
    receive::Intake,
};

/// What the kernel may hold of a lane at each end: enough for 10 Gbit/s at 0.8 ms, and no more than
/// may have to go twice after a cut.
const SOCKET_BYTES: u32 = 1 << 20;
/// A record that the peer doesn't take for so long never goes.
const RECORD_PATIENCE: Duration = Duration::from_secs(60);
/// What the keys are for, in the TLS session.
const PURPOSE: &[u8] = b"carryall lane 1";

/// What both ends of a link, and nobody else, can derive for its lane.
pub(crate) struct Secrets {
    /// What the dialler says first: which link the connection belongs to.
    claim: Claim,
    /// What it is answered.
    answer: Claim,
    sealer: Sealer,
    opener: Opener,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// Derives them; nothing if the session can't.
    pub(crate) fn of(connection: &Connection, dialled: bool) -> Option<Self> {
        let derive = |context: &[u8]| {
            let mut output = [0; 32];
            let exported = connection.export_keying_material(&mut output, PURPOSE, context);
            exported.ok().map(|()| output)
        };
        let (to_listener, to_dialler) = (derive(b"to listener")?, derive(b"to dialler")?);
        let (out, back) = if dialled {
            (to_listener, to_dialler)
        } else {
            (to_dialler, to_listener)
        };
        Some(Self {
            claim: derive(b"claim")?,
            answer: derive(b"answer")?,
            sealer: Sealer::new(&out)?,
            opener: Opener::new(&back)?,
        })
    }
}

/// A lane is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl From<io::Error> for Broken {
    fn from(_: io::Error) -> Self {
        Self
    }
}

/// The sending end, and what has been said about shards that went.
#[derive(Debug)]
pub(crate) struct Lane {
    writer: sync::Mutex<Writer>,
    /// Held by the shard that is going: one after another, each as fast as the lane is. The number of
    /// those that went before.
    turn: sync::Mutex<u64>,
    /// Who waits to hear whether the peer took a shard, by its number.
    unsettled: Mutex<BTreeMap<u64, oneshot::Sender<bool>>>,
    carried: AtomicU64,
    heard: AtomicU64,
}

#[derive(Debug)]
struct Writer {
    half: OwnedWriteHalf,
    sealer: Sealer,
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Reader {
    half: OwnedReadHalf,
    opener: Opener,
}

impl Lane {
    /// Begins a lane on a connection that both ends have claimed.
    pub(crate) fn new(stream: TcpStream, secrets: Secrets) -> (Self, Reader) {
        let (read, write) = stream.into_split();
        let lane = Self {
            writer: sync::Mutex::new(Writer {
                half: write,
                sealer: secrets.sealer,
            }),
            turn: sync::Mutex::new(0),
            unsettled: Mutex::default(),
            carried: AtomicU64::new(0),
            heard: AtomicU64::new(0),
        };
        let reader = Reader {
            half: read,
            opener: secrets.opener,
        };
        (lane, reader)
    }

    /// Returns how many bytes of shards went onto the lane.
    pub(crate) fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    /// Returns how many bytes came.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Writes a record that lies in `record` as [`Sealer::seal`] wants it.
    async fn write(&self, kind: Kind, record: &mut [u8]) -> Result<(), Broken> {
        let mut writer = self.writer.lock().await;
        writer.sealer.seal(kind, record).ok_or(Broken)?;
        let written = timeout(RECORD_PATIENCE, writer.half.write_all(record)).await;
        Ok(written.map_err(|_| Broken)??)
    }

    /// Writes a short record.
    async fn say(&self, kind: Kind, body: &[u8]) -> Result<(), Broken> {
        self.write(kind, &mut record::around(body)).await
    }

    /// Takes the peer's word on a shard that went.
    fn settle(&self, number: u64, taken: bool) {
        if let Some(waiting) = self.unsettled().remove(&number) {
            // Who gave up waiting needs no answer.
            let _ = waiting.send(taken);
        }
    }

    /// Ends all waiting: no word comes any more.
    pub(crate) fn end(&self) {
        self.unsettled().clear();
    }

    fn unsettled(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<bool>>> {
        // A map is whole at any time.
        self.unsettled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a socket for a lane of the address's family.
fn socket(v4: bool) -> io::Result<TcpSocket> {
    let socket = if v4 {
        TcpSocket::new_v4()?
    } else {
        let socket = TcpSocket::new_v6()?;
        // The same number may be another link's port in IPv4.
        SockRef::from(&socket).set_only_v6(true)?;
        socket
    };
    socket.set_recv_buffer_size(SOCKET_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BYTES)?;
    socket.set_nodelay(true)?;
    Ok(socket)
}
