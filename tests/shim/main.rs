//! The preload library under real programs: a C program that makes every call, pyserial's own tests, and programs
//! that have nothing to do with serial ports.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod calls;
mod pyserial;
mod setup;
