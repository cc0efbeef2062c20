//! A host process: owns the runs of its apps, serves the contract on its socket, and lives as long as it is
//! needed, with or without a daemon. Knows no app in particular.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hilrig_contract::App;
use hilrig_port::{Held, LockFile};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::{
    Access, Backend, Bus, Dispatcher, ListenError, Listener, LocalApp, LogLayer, Logbook, Root, RootError,
};

/// How long a host process without a run, a job and a client lives on.
const UNNEEDED: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(250);
/// Time for all apps to stop; less than the daemon gives the process.
const STOP: Duration = Duration::from_secs(4);
/// Time for a predecessor that is ending to let go of the lock.
const PREDECESSOR: Duration = Duration::from_secs(5);

/// What [`host`] needs to know.
pub struct HostOptions {
    /// The host's name: `host` of the specs of its apps.
    pub name: String,
    pub root: PathBuf,
    /// All apps; the ones of this host are taken.
    pub apps: Vec<Arc<dyn App>>,
}

impl std::fmt::Debug for HostOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostOptions")
            .field("name", &self.name)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// Why a host process does not come up: exit code 3.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("there is no host {0:?}; there are {1}")]
    Unknown(String, String),
    #[error("{0}")]
    Root(#[from] RootError),
    #[error("host {0} already runs: {1}")]
    Held(String, Held),
    #[error("{0}")]
    Listen(#[from] ListenError),
    #[error("the system refuses a host process: {0}")]
    System(#[from] std::io::Error),
}

/// Is the host process of that name until nobody needs it, or SIGTERM. Writes `ready` on standard output when its
/// socket is there.
///
/// # Errors
/// It cannot come up: its name is unknown or held by another process, or its socket cannot be made.
pub fn host(options: HostOptions) -> Result<(), HostError> {
    let HostOptions { name, root, apps } = options;
    let known: Vec<&str> = apps.iter().map(|app| app.spec().host).collect();
    if !known.contains(&name.as_str()) {
        return Err(HostError::Unknown(name, known.join(", ")));
    }
    // A session of its own, so that a terminal's Ctrl-C reaches the daemon alone. Refused to one that was started
    // by hand as the leader of a group, who then has what a session is for.
    let _ = rustix::process::setsid();
    let root = Root::create(&root)?;
    let _lock = take_lock(&root, &name)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let apps = apps.into_iter().filter(|app| app.spec().host == name).collect();
    let outcome = runtime.block_on(run(&root, &name, apps));
    // An action that does not end must not keep the process.
    runtime.shutdown_background();
    outcome
}

fn take_lock(root: &Root, name: &str) -> Result<LockFile, HostError> {
    let deadline = Instant::now() + PREDECESSOR;
    loop {
        match LockFile::acquire(&root.host_lock(name), &format!("hilrig host {name}")) {
            Ok(lock) => return Ok(lock),
            Err(held) if held.error.is_some() || Instant::now() > deadline => {
                return Err(HostError::Held(name.to_owned(), held));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

async fn run(root: &Root, name: &str, apps: Vec<Arc<dyn App>>) -> Result<(), HostError> {
    let mut terminate = signal(SignalKind::terminate())?;
    // Taken and ignored: they are meant for the daemon, which ends this process in order if it wants to.
    let _interrupt = signal(SignalKind::interrupt())?;
    let _hangup = signal(SignalKind::hangup())?;

    let bus = Bus::new();
    let logbook = Logbook::new(root, Arc::clone(&bus));
    let filter = tracing_subscriber::filter::LevelFilter::INFO;
    let _ = tracing_subscriber::registry().with(filter).with(LogLayer(Arc::clone(&logbook))).try_init();
    log_panics(&logbook, apps.iter().map(|app| app.spec().id).collect());

    let apps: Vec<Arc<LocalApp>> = apps
        .into_iter()
        .map(|app| LocalApp::new(root, app, Arc::clone(&bus), Arc::clone(&logbook)))
        .collect();
    let backends = apps.iter().map(|app| Arc::clone(app) as Arc<dyn Backend>).collect();
    let dispatcher = Dispatcher::new(backends, bus);
    let listener = Listener::unix(&root.host_socket(name), Access { token: None, job_ids: true })?;
    let clients = listener.clients();
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(listener.serve(dispatcher, stopped));

    // Whoever started this process may be gone by now; that is no reason to end.
    let _ = writeln!(std::io::stdout(), "ready");
    let pid = std::process::id();
    tracing::info!("host {name} (pid {pid}) is up");

    let unneeded = async {
        let mut since = Instant::now();
        while since.elapsed() < UNNEEDED {
            tokio::time::sleep(LOOK).await;
            if clients.count() > 0 || !apps.iter().all(|app| app.is_idle()) {
                since = Instant::now();
            }
        }
    };
    tokio::select! {
        () = unneeded => tracing::info!("host {name} (pid {pid}) ends: no run, no job, no client"),
        _ = terminate.recv() => {
            tracing::info!("host {name} (pid {pid}) ends: told to stop");
            // Clients hear of the stopped runs while the apps stop.
            let deadline = Instant::now() + STOP;
            for app in &apps {
                app.shutdown(deadline.saturating_duration_since(Instant::now())).await;
            }
        }
    }
    stop.send_replace(true);
    let _ = serving.await;
    Ok(())
}

/// Writes a defect to the logs of all apps of this process, since it may cost each of them its run.
fn log_panics(logbook: &Arc<Logbook>, apps: Vec<&'static str>) {
    let logbook = Arc::clone(logbook);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let (logbook, apps, text) = (Arc::clone(&logbook), apps.clone(), format!("defect: {panic}"));
        // In a thread of its own: the one that panics may hold the log.
        let _ = std::thread::Builder::new().name("panic-log".to_owned()).spawn(move || {
            for app in apps {
                logbook.write(app, "ERROR", &text);
            }
        });
        before(panic);
    }));
}
