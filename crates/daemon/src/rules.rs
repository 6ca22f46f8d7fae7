//! The owner's rules: from the settings to the core and the net, now and whenever they change.

use std::time::Duration;

use carryall_core::event::Command;
use tokio::{sync::watch, time::sleep};

use crate::{clock, config::Config, driver::World, metered};

/// How often to look whether the owner's clock was put forward or back.
const CLOCK_EVERY: Duration = Duration::from_secs(3600);

/// Hands on the rules until the engine is gone.
pub(crate) async fn follow(world: World, mut config: watch::Receiver<Config>) {
    loop {
        let settings = config.borrow_and_update().clone();
        let govern = || {
            let policy = settings.policy(clock::utc_offset());
            world.inbox.order(Command::Govern(policy));
        };
        govern();
        if let Some(net) = &world.net {
            net.set_metered(metered::read(&settings).await);
        }
        loop {
            tokio::select! {
                changed = config.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = world.moved.notified() => break,
                () = sleep(CLOCK_EVERY) => govern(),
            }
        }
    }
}
