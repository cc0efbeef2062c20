//! Serves the process interface: dispatcher, jobs, config store, events, bindings, and the host processes that own
//! the runs. Holds no logic of an app.

mod backend;
mod root;

pub use backend::{Answer, Backend, Invoke, LogTail};
pub use root::{Root, RootError};
