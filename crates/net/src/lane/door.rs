//! The door for lanes: open only while somebody is expected, so that a scanner finds no port.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use carryall_core::id::DeviceId;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, oneshot},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

use super::{Secrets, socket};

/// Says which link a connection belongs to: 32 bytes that only the two ends of the link know.
pub(crate) type Claim = [u8; 32];

/// How long the door stays open for one link.
const OPEN_FOR: Duration = Duration::from_secs(2);
/// How long a caller may take to say its claim.
const CLAIM_WAIT: Duration = Duration::from_millis(500);
/// Callers heard at a time. Further ones wait in the kernel.
const CALLERS_MAX: usize = 16;
/// Connections that the kernel holds for us.
const BACKLOG: u32 = 16;
/// Pauses before a number that is taken is tried again; the caller tries for longer.
const REOPEN: [Duration; 4] = [
    Duration::from_millis(1),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(250),
];
/// No lane is tried with a peer whose last ones broke, so many of them within such a time. One that
/// breaks alone is a program that was killed.
const BREAKS_MAX: u32 = 2;
const DISTRUST: Duration = Duration::from_secs(600);

/// Who is expected, and whose lanes break. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Door(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    expected: BTreeMap<Claim, oneshot::Sender<TcpStream>>,
    listening: Option<AbortHandle>,
    broken: BTreeMap<DeviceId, (u32, Instant)>,
}

/// Expects one caller; the door may close when it is dropped.
struct Expectation<'a> {
    door: &'a Door,
    claim: Claim,
}

impl Door {
    /// Returns the connection of whoever comes to `addresses` and says the claim; nothing if nobody
    /// does soon.
    pub(crate) async fn wait(
        &self,
        secrets: &Secrets,
        addresses: &[SocketAddr],
    ) -> Option<TcpStream> {
        let (tell, told) = oneshot::channel();
        let expectation = self.expect(secrets.claim, tell, addresses);
        let came = timeout(OPEN_FOR, told).await;
        drop(expectation);
        let mut stream = came.ok()?.ok()?;
        stream.write_all(&secrets.answer).await.ok()?;
        Some(stream)
    }

    fn expect(
        &self,
        claim: Claim,
        tell: oneshot::Sender<TcpStream>,
        addresses: &[SocketAddr],
    ) -> Expectation<'_> {
        let mut state = self.state();
        state.expected.insert(claim, tell);
        let open = state.listening.as_ref();
        if open.is_none_or(AbortHandle::is_finished) {
            let listening = tokio::spawn(listen(self.clone(), addresses.to_vec()));
            state.listening = Some(listening.abort_handle());
        }
        Expectation { door: self, claim }
    }

    fn claimed(&self, claim: &Claim) -> Option<oneshot::Sender<TcpStream>> {
        self.state().expected.remove(claim)
    }

    /// Tells whether a lane with this peer is worth a try.
    pub(crate) fn trusts(&self, peer: &DeviceId) -> bool {
        let mut state = self.state();
        state
            .broken
            .retain(|_, (_, since)| since.elapsed() < DISTRUST);
        let broken = state.broken.get(peer);
        broken.is_none_or(|(breaks, _)| *breaks < BREAKS_MAX)
    }

    /// Notes that a lane broke while its link was well.
    pub(crate) fn distrust(&self, peer: DeviceId) {
        let mut state = self.state();
        let (breaks, since) = state.broken.entry(peer).or_insert((0, Instant::now()));
        *breaks += 1;
        *since = Instant::now();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Expectation<'_> {
    fn drop(&mut self) {
        let mut state = self.door.state();
        state.expected.remove(&self.claim);
        if state.expected.is_empty()
            && let Some(listening) = state.listening.take()
        {
            listening.abort();
        }
    }
}

/// Listens until it is aborted.
async fn listen(door: Door, addresses: Vec<SocketAddr>) {
    let callers = Arc::new(Semaphore::new(CALLERS_MAX));
    let mut listeners = JoinSet::new();
    for address in addresses {
        let (door, callers) = (door.clone(), callers.clone());
        listeners.spawn(async move {
            match open(address).await {
                Ok(listener) => answer(listener, door, callers).await,
                // Somebody else has that number. Shards take the link's own streams then.
                Err(error) => tracing::debug!(%address, %error, "no door for lanes"),
            }
        });
    }
    while listeners.join_next().await.is_some() {}
}

/// Opens the door at an address. One that was closed a moment ago may not be out of the way yet.
async fn open(address: SocketAddr) -> io::Result<TcpListener> {
    for pause in REOPEN {
        match bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => sleep(pause).await,
            other => return other,
        }
    }
    bind(address)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address.is_ipv4())?;
    // Lanes of a moment ago may linger at this number.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn answer(listener: TcpListener, door: Door, callers: Arc<Semaphore>) {
    let mut hearing = JoinSet::new();
    loop {
        // Never closed.
        let Ok(slot) = callers.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        let door = door.clone();
        hearing.spawn(async move {
            let _slot = slot;
            let _ = timeout(CLAIM_WAIT, hear(stream, door)).await;
        });
        while hearing.try_join_next().is_some() {}
    }
}

/// Hands a caller with a claim to whoever expects it. Strangers hear nothing.
async fn hear(mut stream: TcpStream, door: Door) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut claim = [0; 32];
    stream.read_exact(&mut claim).await?;
    if let Some(expecting) = door.claimed(&claim) {
        // Who stopped waiting has let go of the link too.
        let _ = expecting.send(stream);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> (Door, Vec<SocketAddr>) {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        (Door::default(), vec![free.local_addr().unwrap()])
    }

    async fn call(at: SocketAddr, claim: Claim) -> io::Result<TcpStream> {
        loop {
            match TcpStream::connect(at).await {
                Ok(mut stream) => {
                    stream.write_all(&claim).await?;
                    return Ok(stream);
                }
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    #[tokio::test]
    async fn only_the_claim_gets_in_and_the_door_closes_behind_it() {
        let (door, addresses) = door();
        let (tell, told) = oneshot::channel();
        let expectation = door.expect([1; 32], tell, &addresses);
        let mut stranger = call(addresses[0], [2; 32]).await.unwrap();
        assert_eq!(
            stranger.read(&mut [0]).await.unwrap_or(0),
            0,
            "hears nothing"
        );
        let _friend = call(addresses[0], [1; 32]).await.unwrap();
        told.await.unwrap();
        drop(expectation);
        while TcpStream::connect(addresses[0]).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_claim_is_good_once() {
        let (door, addresses) = door();
        let (tell, told) = oneshot::channel();
        let first = door.expect([1; 32], tell, &addresses);
        let (tell, _) = oneshot::channel();
        let _other = door.expect([3; 32], tell, &addresses);
        let _friend = call(addresses[0], [1; 32]).await.unwrap();
        told.await.unwrap();
        drop(first);
        let mut again = call(addresses[0], [1; 32]).await.unwrap();
        assert_eq!(again.read(&mut [0]).await.unwrap_or(0), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_whose_lanes_break_is_tried_again_later() {
        let door = Door::default();
        let peer = DeviceId([1; 32]);
        door.distrust(peer);
        assert!(door.trusts(&peer));
        door.distrust(peer);
        assert!(!door.trusts(&peer) && door.trusts(&DeviceId([2; 32])));
        tokio::time::advance(DISTRUST).await;
        assert!(door.trusts(&peer));
    }
}
