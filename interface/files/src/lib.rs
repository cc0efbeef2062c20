//! TOML files that people write: types that keep the place of every value, and all that is wrong shown at once with
//! the lines it is in. Knows nothing of what the files say.

mod at;
mod check;
mod look;
mod number;
mod problem;
mod read;

pub use at::{At, Entries};
pub use check::{LONGEST_NAME, parse_time, show_time};
pub use number::{Addresses, Number, TimeText, Values};
pub use problem::{FileError, Problem, Problems, Source, render};
pub use read::{bytes_of, known, read};
