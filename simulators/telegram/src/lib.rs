//! Telegrams that are not Modbus: how they are framed and checked, which fields of them are points, and when they are
//! sent. Sans-IO; opens nothing and knows no clock.

mod counters;
pub mod file;
mod plan;
mod record;
mod station;

pub use file::TelegramFile;
pub use plan::{TelegramPlan, build};
pub use record::{FrameReader, FrameSink, TELEGRAM_SHOWN, TelegramRecord, Way, frames};
pub use station::{SendError, TelegramStation, TelegramStats, TelegramTotals};
