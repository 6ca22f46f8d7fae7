//! `carryall config`: print the settings, or change one.

use carryall_daemon::{
    api::config::{SetRequest, Setting, Settings},
    config::key_of,
    exit::Exit,
};

use super::Context;
use crate::{args::ConfigArgs, error::CommandError};

pub(crate) fn run(context: &Context, args: ConfigArgs) -> Result<Exit, CommandError> {
    let client = context.client()?;
    let mut settings: Settings = match (&args.key, args.value) {
        (Some(key), Some(value)) => client.post(
            "/v1/config",
            &SetRequest {
                key: key.clone(),
                value,
            },
        )?,
        _ => client.get("/v1/config")?,
    };
    if let Some(key) = &args.key {
        let wanted = key_of(key);
        settings.settings.retain(|setting| setting.key == wanted);
        if settings.settings.is_empty() {
            return Err(
                CommandError::new(Exit::Usage, format!("there is no setting {key}"))
                    .hint("carryall config"),
            );
        }
    }
    context.ui.json(&settings);
    for setting in &settings.settings {
        tell(context, setting);
    }
    Ok(Exit::Done)
}

fn tell(context: &Context, setting: &Setting) {
    let restart = if setting.restart {
        " Takes effect when the node starts."
    } else {
        ""
    };
    context.ui.say(format!(
        "# {}.{restart}\n{} = {}",
        setting.about, setting.key, setting.value
    ));
}
