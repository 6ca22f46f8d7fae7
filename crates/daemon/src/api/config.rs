//! Reading and changing settings.

use serde::{Deserialize, Serialize};

/// Answer to `GET /v1/config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// All settings, in a fixed order.
    pub settings: Vec<Setting>,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its key in `config.toml`.
    pub key: String,
    /// Its value, as it would be typed.
    pub value: String,
    /// What it does, in one sentence.
    pub about: String,
    /// Whether it takes effect only when the node starts.
    pub restart: bool,
}

/// Body of `POST /v1/config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetRequest {
    /// The key.
    pub key: String,
    /// The value, as typed.
    pub value: String,
}
