//! Nobody tells of changes here.

/// Tells of no change.
pub(super) struct Notices;

impl Notices {
    /// There is nothing to listen to.
    pub(super) const fn open() -> Self {
        Self
    }

    /// Tells whether changes are told at all.
    pub(super) const fn are_told(&self) -> bool {
        false
    }

    /// Never returns.
    pub(super) async fn next(&mut self) {
        std::future::pending().await
    }
}
