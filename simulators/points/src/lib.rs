#![doc = include_str!("../POINTS.md")]

mod build;
mod codec;
mod csv;
mod engine;
mod expr;
mod extras;
mod file;
mod machine;
mod place;
mod plant;
mod point;
mod random;
mod signal;
mod signal_file;
mod snapshot;
mod spans;
mod trigger;
mod unit;
mod value;

pub use build::{Builder, cell_runs, cell_value};
pub use extras::ServerId;
pub use file::{
    Access, IdentityFile, OnWrite, PlaceText, PointFile, RampToFile, ServerIdFile, SetFile, StatusFile,
    StepFile, TriggerFile, UnitFile, UserReplyFile,
};
pub use place::{place, places};
pub use plant::{Plant, Refusal, Shared};
pub use point::{Order, Point, PointId, SetError, Type};
pub use signal_file::{
    Between, CounterFile, CsvFile, IntegratorFile, LagFile, NoiseFile, PidFile, PlantFile, RampFile,
    RandomWalkFile, SignalFile, SineFile, SquareFile, StateFile, StatesFile, TransitionFile, WaveFile,
};
pub use snapshot::Snapshot;
pub use unit::{Table, Unit, UnitError};
pub use value::Value;
