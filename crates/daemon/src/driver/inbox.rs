//! The way to the driver: events from workers, commands of the owner, looks at the core.

use carryall_core::{
    event::{Command, CommandRefused, Event},
    node::Node,
    time::Timestamp,
};
use tokio::sync::{mpsc, oneshot};

/// A look at the core between two steps.
type Look = Box<dyn FnOnce(&mut Node, Timestamp) + Send>;

/// What goes into the driver.
pub(crate) enum Input {
    /// Something happened.
    Event(Event),
    /// The owner wants something.
    Command(Command, oneshot::Sender<Result<(), CommandRefused>>),
    /// Somebody wants to look at the core between two steps.
    Look(Look),
    /// Go down.
    Stop,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Event(event) => write!(f, "{event:?}"),
            Self::Command(command, _) => write!(f, "{command:?}"),
            Self::Look(_) => f.write_str("Look"),
            Self::Stop => f.write_str("Stop"),
        }
    }
}

/// The driver is gone: the node is going down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is going down")]
pub(crate) struct Gone;

/// A way to the driver.
#[derive(Clone, Debug)]
pub(crate) struct Inbox(mpsc::UnboundedSender<Input>);

impl Inbox {
    /// Returns a way in and what comes out of it. It is unbounded, since what goes in is bounded by
    /// what the core has asked for.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Input>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Tells what happened.
    pub(crate) fn tell(&self, event: Event) {
        // Nobody needs to know any more once the driver is gone.
        let _ = self.0.send(Input::Event(event));
    }

    /// Has a command done.
    pub(crate) async fn command(
        &self,
        command: Command,
    ) -> Result<Result<(), CommandRefused>, Gone> {
        let (sender, answer) = oneshot::channel();
        self.0
            .send(Input::Command(command, sender))
            .map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Has a command done that can't be refused.
    pub(crate) fn order(&self, command: Command) {
        let (sender, _) = oneshot::channel();
        let _ = self.0.send(Input::Command(command, sender));
    }

    /// Looks at the core between two steps.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Node, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (sender, answer) = oneshot::channel();
        let look = Box::new(move |node: &mut Node, now| {
            // The asker may have gone; then nobody misses the answer.
            let _ = sender.send(look(node, now));
        });
        self.0.send(Input::Look(look)).map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Stops the driver.
    pub(crate) fn stop(&self) {
        let _ = self.0.send(Input::Stop);
    }
}
