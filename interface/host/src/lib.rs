//! Serves the process interface: dispatcher, jobs, config store, events, bindings, and the host processes that own
//! the runs. Holds no logic of an app.

mod apps_file;
mod backend;
mod client;
mod config;
mod config_file;
mod config_section;
mod conn;
mod daemon;
mod describe;
mod dispatch;
mod doctor;
mod envelope;
mod events;
mod exclusive;
mod host_process;
mod host_start;
mod hosted;
mod hosted_jobs;
mod job;
mod jobs;
mod lines;
mod listen;
mod local;
mod logbook;
mod methods;
mod output;
mod peer;
mod process;
mod root;
mod status;
mod stdio_app;
mod stdio_process;
mod supervisor;
mod third_party;
mod watch;

#[cfg(test)]
mod acceptance;
#[cfg(test)]
mod acceptance_jobs;
#[cfg(test)]
mod testing;

pub use backend::{Answer, Backend, Invoke, LogTail};
pub use client::{Client, ClientError, Endpoint, Events};
pub use config::ConfigStore;
pub use config_file::default_config;
pub use conn::{Access, End, serve_connection};
pub use daemon::{DEFAULT_TCP, ServeError, ServeOptions, StdioOptions, serve, stdio};
pub use dispatch::{Dispatcher, Session};
pub use doctor::{Check, Outcome, doctor};
pub use events::{Bus, EVENT_RING, Pushed, Subscription};
pub use host_process::{HostError, HostOptions, host};
pub use job::JobHandle;
pub use jobs::{JOBS_KEPT, JOBS_KEPT_FOR, Jobs, is_job_id, no_such_job};
pub use listen::{ListenError, Listener, Token, serve_stdio};
pub use local::{LocalApp, accept_args, find_action};
pub use logbook::{LogLayer, Logbook};
pub use root::{Root, RootError};
pub use watch::status_event;
