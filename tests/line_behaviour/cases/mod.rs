//! The list of cases.

mod ascii;
mod broadcast;
mod diagnostics;
mod halves;
mod mutated;
mod noise;
mod others;
mod requests;
mod tcp;
mod timing;

use crate::Case;

/// Cases that any clock can do.
pub(crate) const TABLES: &[&[Case]] = &[
    noise::CASES,
    halves::CASES,
    others::CASES,
    broadcast::CASES,
    requests::CASES,
    diagnostics::CASES,
    ascii::CASES,
    tcp::CASES,
    mutated::CASES,
];

/// Cases about silences, for virtual time alone.
pub(crate) const TIMED: &[Case] = timing::CASES;
