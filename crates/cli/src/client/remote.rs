//! The node in another process, over loopback HTTP.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use carryall_daemon::api::ApiFile;
use ureq::Agent;

use super::{Answer, Request};
use crate::error::CommandError;

/// A process on this machine that has not accepted by then is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A running node.
#[derive(Debug)]
pub(crate) struct Remote {
    agent: Agent,
    base: String,
    authorization: String,
}

impl Remote {
    /// Returns the running node, or nothing if `api.json` was left behind by one that is gone.
    pub(super) fn connect(file: &ApiFile) -> Option<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, file.port));
        TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).ok()?;
        // Streams may stay silent for long; and a proxy would take the token out of this machine.
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .build()
            .into();
        Some(Self {
            agent,
            base: format!("http://{address}"),
            authorization: format!("Bearer {}", file.token),
        })
    }

    pub(super) fn send(&self, request: &Request<'_>) -> Result<Answer<'_>, CommandError> {
        let url = format!("{}{}", self.base, request.route);
        let sent = match &request.body {
            None => self
                .agent
                .get(&url)
                .header("Authorization", &self.authorization)
                .call(),
            Some(body) => self
                .agent
                .post(&url)
                .header("Authorization", &self.authorization)
                .header("Content-Type", "application/json")
                .send(&body[..]),
        };
        let response = sent.map_err(|error| CommandError::cut_short().because(error))?;
        let status = response.status().as_u16();
        Ok(Answer {
            status,
            body: Box::new(response.into_body().into_reader()),
        })
    }
}
