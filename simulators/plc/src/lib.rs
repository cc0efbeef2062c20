//! App `plc-simulator`: models of units and points, served on ports. The protocols are in the crates below.

mod app;
mod catalogue;
mod model;
mod news;
mod run;
mod simple;
pub mod words;

pub use app::{PlcApp, spec};
pub use catalogue::Catalogue;
pub use model::{Model, ModelFile, PortPlan, Role, Seated, character_format, port_url, schema};
pub use news::{Kind, News, Watch};
pub use run::{
    FaultRow, Learned, PointRow, PollRow, PortNews, PortRow, PortRun, Reloaded, ReplayRow, Run, RunError,
    RunOptions, SniffRow, Sniffed, TimingRow, state_file,
};
pub use simple::simple_plant;
