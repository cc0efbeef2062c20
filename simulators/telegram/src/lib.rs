#![doc = include_str!("../TELEGRAMS.md")]

mod bound;
mod buf;
mod check;
mod coding;
mod field;
pub mod file;
mod frame;
mod hostlink;
mod line;
mod mbus;
mod melsec;
mod memory;
mod plan;
mod profile;
mod r3964;
mod record;
mod station;
mod stats;
mod sum;
mod talk;
#[cfg(test)]
mod testing;
mod travel;
mod uss;

pub use buf::MAX_TELEGRAM;
pub use file::TelegramFile;
pub use plan::{TelegramPlan, build};
pub use record::{FrameReader, FrameSink, TELEGRAM_SHOWN, TelegramRecord, Way, frames};
pub use station::{SendError, TelegramStation};
pub use stats::{TelegramStats, TelegramTotals};
