//! Serves the process interface: dispatcher, jobs, config store, events, bindings, and the host processes that own
//! the runs. Holds no logic of an app.

mod admit;
mod backend;
mod client;
mod config;
mod conn;
mod daemon;
mod dispatch;
mod events;
mod host_process;
mod jobs;
mod listen;
mod local;
mod logbook;
mod output;
mod peer;
mod process;
mod root;
mod supervisor;

pub use backend::{Answer, Backend, Invoke, LogTail};
pub use client::{Client, ClientError, Endpoint, Events};
pub use config::{ConfigStore, default_config};
pub use conn::{Access, End, serve_connection};
pub use daemon::{ServeError, ServeOptions, StdioOptions, serve, stdio};
pub use dispatch::Dispatcher;
pub use events::{Bus, EVENT_RING, Pushed, Subscription};
pub use host_process::{HostError, HostOptions, host};
pub use jobs::{JOBS_KEPT, JOBS_KEPT_FOR, JobHandle, Jobs, is_job_id, no_such_job};
pub use listen::{ListenError, Listener, Token, serve_stdio};
pub use local::LocalApp;
pub use logbook::{LogLayer, Logbook};
pub use root::{Root, RootError};
