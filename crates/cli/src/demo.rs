//! The whole story on one machine.
mod photos;
mod portrait;
