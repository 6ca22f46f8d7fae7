//! The kernel's notices of links and addresses, by netlink.

use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};

/// The groups of notices (rtnetlink(7)): links, IPv4 and IPv6 addresses.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;
/// What a notice says doesn't matter, so it may be cut off.
const BUFFER_BYTES: usize = 4096;

/// Tells of changes.
pub(super) struct Notices(Option<TokioSocket>);

impl Notices {
    /// Listens, if the kernel lets us.
    pub(super) fn open() -> Self {
        let open = || {
            let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
            socket.socket_mut().bind(&SocketAddr::new(0, GROUPS))?;
            Ok::<_, std::io::Error>(socket)
        };
        Self(
            open()
                .inspect_err(|error| tracing::debug!(%error, "no notices of interfaces"))
                .ok(),
        )
    }

    /// Tells whether changes are told at all.
    pub(super) const fn are_told(&self) -> bool {
        self.0.is_some()
    }

    /// Returns when something changed.
    pub(super) async fn next(&mut self) {
        let Some(socket) = &mut self.0 else {
            return std::future::pending().await;
        };
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        if let Err(error) = socket.recv(&mut buffer).await
            // Notices were lost for want of room: something changed for sure.
            && error.raw_os_error() != Some(NO_ROOM)
        {
            tracing::debug!(%error, "no more notices of interfaces");
            self.0 = None;
        }
    }
}

/// ENOBUFS.
const NO_ROOM: i32 = 105;
