//! What the processes of an installation survive: kill -9 of daemon and hosts at random moments under load, kill -9
//! in the middle of `config.set`, SIGTERM, and each other. Every byte is accounted for.

#![allow(clippy::unwrap_used, clippy::expect_used)] // test code

mod additive;
mod cable;
mod config_kill;
mod daemon_kill;
mod ends;
mod host_kill;
mod hostile;
mod traffic;
