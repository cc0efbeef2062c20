//! The kinds of arguments that most actions have, in few words for lists of actions. All are optional but
//! [`needed`].

use crate::{ArgDescriptor, ValueKind};

pub fn text(name: &str, label: &str) -> ArgDescriptor {
    ArgDescriptor::optional(name, label, ValueKind::text())
}

/// Text that must be there.
pub fn needed(name: &str, label: &str) -> ArgDescriptor {
    ArgDescriptor::required(name, label, ValueKind::text())
}

pub fn switch(name: &str, label: &str) -> ArgDescriptor {
    ArgDescriptor::optional(name, label, ValueKind::Bool)
}

pub fn int(name: &str, label: &str, min: i64, max: i64) -> ArgDescriptor {
    ArgDescriptor::optional(name, label, ValueKind::Int { min, max })
}

pub fn float(name: &str, label: &str, min: f64, max: f64) -> ArgDescriptor {
    ArgDescriptor::optional(name, label, ValueKind::Float { min, max })
}

pub fn choice<const N: usize>(name: &str, label: &str, options: [&str; N]) -> ArgDescriptor {
    ArgDescriptor::optional(name, label, ValueKind::choice(options))
}
