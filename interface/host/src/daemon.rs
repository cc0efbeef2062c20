//! The daemon: one dispatcher over all apps, its listeners, and the order in which things start and stop. Holds no
//! logic of an app and owns no run.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hilrig_contract::AppSpec;
use hilrig_port::{Held, LockFile};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::hosted::HostedApp;
use crate::stdio_app::StdioApp;
use crate::supervisor::Host;
use crate::{
    Access, Backend, Bus, Dispatcher, ListenError, Listener, LogLayer, Logbook, Root, RootError, Token,
    apps_file, serve_stdio,
};

/// The TCP address of a daemon that is told none.
pub const DEFAULT_TCP: &str = "127.0.0.1:8765";
/// Time for a host process to stop its runs.
const STOP_HOST: Duration = Duration::from_secs(5);
/// Time for a daemon that has the lock to open its socket, or for one that ends to let go of the lock.
const COMING_UP: Duration = Duration::from_secs(10);

/// What [`serve`] needs to know.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Created where it is missing.
    pub root: PathBuf,
    /// The built-in apps. Their code runs in host processes, so the daemon needs their specs only.
    pub apps: Vec<AppSpec>,
    /// Where to listen on TCP, as HOST:PORT; `None`: nowhere.
    pub tcp: Option<String>,
    /// A Unix socket beside the root's own.
    pub socket: Option<PathBuf>,
    /// The first line of this file is asked for on TCP. A `tcp` that is not loopback needs it.
    pub token_file: Option<PathBuf>,
}

/// What [`stdio`] needs to know.
#[derive(Debug, Clone)]
pub struct StdioOptions {
    /// Created where it is missing.
    pub root: PathBuf,
    pub apps: Vec<AppSpec>,
}

/// Why there is no daemon. Each is an infrastructure failure: exit code 3.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{0}")]
    Root(#[from] RootError),
    #[error("{} is already served by {held}; stop that daemon, or use another --root", root.display())]
    Served { root: PathBuf, held: Held },
    #[error("{0}")]
    Listen(#[from] ListenError),
    #[error("the system refuses a daemon: {0}")]
    System(#[from] std::io::Error),
    #[error("the daemon of {} ended", .0.display())]
    Lost(PathBuf),
    #[error("stopped at once on a second interrupt; the host processes were killed")]
    Forced,
}

/// Is the daemon of a root until SIGTERM or SIGINT.
///
/// # Errors
/// Another daemon serves the root, an address cannot be listened on: nothing was started.
pub fn serve(options: ServeOptions) -> Result<(), ServeError> {
    let root = Root::create(&options.root)?;
    let _lock = lock(&root)?;
    on_runtime(async {
        let mut listeners = vec![Listener::unix(&root.control_socket(), Access::default())?];
        if let Some(path) = &options.socket {
            listeners.push(Listener::unix(path, Access::default())?);
        }
        if let Some(address) = &options.tcp {
            let token = options.token_file.as_deref().map(Token::from_file).transpose()?;
            listeners.push(Listener::tcp(address, Access { token, job_ids: false })?);
        }
        let mut signals = Signals::new()?;
        let mut places: Vec<String> = listeners.iter().map(place).collect();
        places.reverse();
        let daemon = Daemon::start(&root, options.apps, listeners, LevelFilter::INFO).await;
        let pid = std::process::id();
        say(&format!("serving {} on {} (pid {pid})", root.dir().display(), places.join(" and ")));
        signals.next().await;
        say("stopping");
        daemon.stop(signals).await
    })
}

/// Speaks the contract on standard input and output until its end: as the root's daemon if there is none yet,
/// else by way of the one there is.
///
/// # Errors
/// As [`serve`].
pub fn stdio(options: StdioOptions) -> Result<(), ServeError> {
    let root = Root::create(&options.root)?;
    let deadline = Instant::now() + COMING_UP;
    loop {
        let held = match LockFile::acquire(&root.daemon_lock(), "hilrig stdio") {
            Ok(_lock) => return on_runtime(be_daemon_on_stdio(&root, options.apps)),
            Err(held) => held,
        };
        let through = on_runtime(async {
            match UnixStream::connect(root.control_socket()).await {
                Ok(stream) => pass_through(&root, stream).await.map(Some),
                Err(_) => Ok(None),
            }
        });
        match through? {
            Some(()) => return Ok(()),
            // It is about to open its socket, or about to end.
            None if held.error.is_none() && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(50));
            }
            None => return Err(ServeError::Served { root: root.dir().to_owned(), held }),
        }
    }
}

fn lock(root: &Root) -> Result<LockFile, ServeError> {
    LockFile::acquire(&root.daemon_lock(), "hilrig serve")
        .map_err(|held| ServeError::Served { root: root.dir().to_owned(), held })
}

/// Runs `work` on a runtime of its own, and leaves behind what does not end, such as a read of a terminal.
fn on_runtime<T>(work: impl Future<Output = Result<T, ServeError>>) -> Result<T, ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}

async fn be_daemon_on_stdio(root: &Root, apps: Vec<AppSpec>) -> Result<(), ServeError> {
    let control = Listener::unix(&root.control_socket(), Access::default())?;
    let mut signals = Signals::new()?;
    let daemon = Daemon::start(root, apps, vec![control], LevelFilter::WARN).await;
    let speaking = serve_stdio(Arc::clone(&daemon.dispatcher), daemon.stop.subscribe());
    tokio::select! {
        _ = speaking => {}
        () = signals.next() => {}
    }
    daemon.stop(signals).await
}

/// Joins standard input and output to the daemon's socket.
async fn pass_through(root: &Root, stream: UnixStream) -> Result<(), ServeError> {
    let mut signals = Signals::new()?;
    let (mut from_daemon, mut to_daemon) = stream.into_split();
    let mut stdin = tokio::io::stdin();
    let mut stdout = tokio::io::stdout();
    let upward = async {
        let copied = tokio::io::copy(&mut stdin, &mut to_daemon).await;
        let _ = to_daemon.shutdown().await;
        copied
    };
    let downward = async {
        let copied = tokio::io::copy(&mut from_daemon, &mut stdout).await;
        stdout.flush().await.and(copied)
    };
    tokio::pin!(upward, downward);
    let mut at_end = false;
    loop {
        tokio::select! {
            _ = &mut upward, if !at_end => at_end = true,
            _ = &mut downward => {
                return if at_end { Ok(()) } else { Err(ServeError::Lost(root.dir().to_owned())) };
            }
            () = signals.next() => return Ok(()),
        }
    }
}

/// A daemon at work.
struct Daemon {
    dispatcher: Arc<Dispatcher>,
    /// In the order in which they are stopped.
    hosts: Vec<Arc<Host>>,
    third_party: Vec<Arc<StdioApp>>,
    serving: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Daemon {
    /// Takes over what runs already, then begins to serve.
    async fn start(root: &Root, specs: Vec<AppSpec>, listeners: Vec<Listener>, words: LevelFilter) -> Self {
        let bus = Bus::new();
        let logbook = Logbook::new(root, Arc::clone(&bus));
        let on_stderr = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_target(false)
            .without_time()
            .log_internal_errors(false)
            .with_filter(words);
        let _ = tracing_subscriber::registry()
            .with(LogLayer(Arc::clone(&logbook)).with_filter(LevelFilter::INFO))
            .with(on_stderr)
            .try_init();

        let declared = apps_file::read(root, &specs);
        declared.problems.iter().for_each(|problem| tracing::error!("{problem}"));
        let third_party: Vec<_> =
            declared.apps.into_iter().map(|app| StdioApp::new(root, app, &bus, &logbook)).collect();

        let mut hosts: Vec<Arc<Host>> = vec![];
        let mut backends: Vec<Arc<dyn Backend>> = vec![];
        for spec in specs {
            let host = hosts.iter().find(|host| host.name() == spec.host).cloned().unwrap_or_else(|| {
                hosts.push(Host::new(spec.host, root, &bus));
                Arc::clone(&hosts[hosts.len() - 1])
            });
            backends.push(HostedApp::new(root, spec, &host, &bus, &logbook));
        }
        backends.extend(third_party.iter().map(|app| Arc::clone(app) as Arc<dyn Backend>));
        let dispatcher = Dispatcher::new(backends, bus);

        // What runs already is known before the first question about it.
        let adopting: Vec<_> = hosts
            .iter()
            .map(|host| {
                let host = Arc::clone(host);
                tokio::spawn(async move { host.adopt().await })
            })
            .collect();
        for (host, adopted) in hosts.iter().zip(adopting) {
            if let Ok(Err(error)) = adopted.await {
                tracing::warn!("host {} runs, but cannot be adopted yet: {error}", host.name());
            }
            tokio::spawn(Arc::clone(host).keep_adopting());
        }
        let stop = watch::Sender::new(false);
        let serving = listeners
            .into_iter()
            .map(|listener| tokio::spawn(listener.serve(Arc::clone(&dispatcher), stop.subscribe())))
            .collect();
        Self { dispatcher, hosts, third_party, serving, stop }
    }

    /// Stops listening, then the third-party apps, then the hosts one after the other. A second interrupt ends that.
    async fn stop(self, mut signals: Signals) -> Result<(), ServeError> {
        let Self { hosts, third_party, serving, stop, .. } = self;
        let in_order = async {
            stop.send_replace(true);
            for listener in serving {
                let _ = listener.await;
            }
            let apps: Vec<_> = third_party
                .iter()
                .map(|app| {
                    let process = Arc::clone(app.process());
                    tokio::spawn(async move { process.stop().await })
                })
                .collect();
            for app in apps {
                let _ = app.await;
            }
            for host in &hosts {
                host.stop(STOP_HOST).await;
            }
        };
        tokio::select! {
            () = in_order => Ok(()),
            () = signals.interrupted() => {
                for host in &hosts {
                    host.kill();
                }
                for app in &third_party {
                    app.process().kill_now();
                }
                Err(ServeError::Forced)
            }
        }
    }
}

/// The signals that end a daemon.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// The terminal is gone. `None` under `nohup`, which wants the daemon to outlive it.
    hangup: Option<Signal>,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    async fn next(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = hangup => {}
        }
    }

    async fn interrupted(&mut self) {
        self.interrupt.recv().await;
    }
}

/// Whether whoever started this process had it ignore SIGHUP.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

/// Where a listener can be reached.
fn place(listener: &Listener) -> String {
    match (listener.local_addr(), listener.path()) {
        (Some(address), _) => format!("tcp:{address}"),
        (None, path) => format!("unix:{}", path.map_or_else(String::new, |p| p.display().to_string())),
    }
}

/// A line for whoever started the daemon; if nobody listens any more, that is no trouble.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
