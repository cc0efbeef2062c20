//! The daemon's side of one host process: starts it on demand, adopts one that runs, notices its end, and says why
//! it ended. Never starts one by itself, never restarts one, and knows nothing of runs and jobs.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use hilrig_contract::{INTERFACE_VERSION, Ping, Topic, object};
use hilrig_port::Runtime;
use rustix::process::Signal;
use serde_json::{Map, Value, json};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::events::lock;
use crate::peer::{Peer, REPLY_OF_HOST, Unasked};
use crate::process::{Exit, Process};
use crate::{Bus, Root, host_start};

/// Time for a request that a host process answers from memory.
const ANSWER: Duration = Duration::from_secs(2);
/// Time for a host process to end, or to take a new connection, after its connection was lost.
const LIMBO: Duration = Duration::from_secs(10);
/// How often the socket of a host process that is not known is looked for.
const LOOK: Duration = Duration::from_secs(2);
/// Time to read what a process said before it ended.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// An app whose runs a host process carries.
pub(crate) trait HostWatcher: Send + Sync {
    fn app_id(&self) -> &str;
    /// The host is there, or there again, or events were lost: what it knows has to be asked for. Answers the task
    /// that asks.
    fn up(&self, link: &Link) -> Option<JoinHandle<()>>;
    /// The host tells something of this app.
    fn event(&self, link: &Link, topic: Topic, params: Map<String, Value>);
    /// The host process is no more.
    fn down(&self, end: &Ended);
}

/// The daemon's hold on one host process, whether or not it runs.
pub(crate) struct Host {
    name: String,
    root: Root,
    bus: Arc<Bus>,
    watchers: Mutex<Vec<Weak<dyn HostWatcher>>>,
    link: watch::Sender<Option<Link>>,
    /// Held while a host process is started or cleaned up after.
    starting: tokio::sync::Mutex<()>,
    stopping: watch::Sender<bool>,
}

/// A host process that runs. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Link(Arc<LinkInner>);

#[derive(Debug)]
struct LinkInner {
    process: Process,
    peer: watch::Sender<Peer>,
    ended: watch::Sender<Option<Ended>>,
}

/// How a host process ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    /// A sentence.
    pub(crate) reason: String,
    /// It ended in order: by itself, or because it was told to.
    pub(crate) in_order: bool,
}

/// A sentence on why there is no host process.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoHost(String);

impl Link {
    pub(crate) fn pid(&self) -> u32 {
        self.0.process.pid()
    }

    pub(crate) fn peer(&self) -> Peer {
        self.0.peer.borrow().clone()
    }

    /// Waits until the connection is there, or the process has ended.
    pub(crate) async fn settled(&self) -> Result<Peer, Ended> {
        let mut peers = self.0.peer.subscribe();
        tokio::select! {
            biased;
            peer = peers.wait_for(|peer| !peer.is_closed()) => Ok(peer.map_or_else(|_| self.peer(), |p| p.clone())),
            ended = self.ended() => Err(ended),
        }
    }

    /// Waits for the end of the process and says how it ended.
    pub(crate) async fn ended(&self) -> Ended {
        let mut ended = self.0.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone(),
            Err(_) => None,
        }
        .unwrap_or_else(|| Ended { reason: "it is gone".to_owned(), in_order: false })
    }
}

impl Host {
    pub(crate) fn new(name: &str, root: &Root, bus: &Arc<Bus>) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            root: root.clone(),
            bus: Arc::clone(bus),
            watchers: Mutex::default(),
            link: watch::Sender::new(None),
            starting: tokio::sync::Mutex::default(),
            stopping: watch::Sender::new(false),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Tells `watcher` of this host from now on.
    pub(crate) fn register(&self, watcher: Weak<dyn HostWatcher>) {
        lock(&self.watchers).push(watcher);
    }

    /// The host process, if one runs.
    pub(crate) fn link(&self) -> Option<Link> {
        self.link.borrow().clone()
    }

    /// Whether a host process runs, comes up, or is being cleaned up after.
    pub(crate) fn is_stirring(&self) -> bool {
        self.link.borrow().is_some() || self.starting.try_lock().is_err()
    }

    /// Takes over a host process that runs already; afterwards it is known what it does. `false`: there is none.
    ///
    /// # Errors
    /// There is one, but it does not answer.
    pub(crate) async fn adopt(self: &Arc<Self>) -> io::Result<bool> {
        let _starting = self.starting.lock().await;
        if self.link().is_some() {
            return Ok(true);
        }
        match self.connect().await {
            Ok((link, unasked)) => {
                tracing::info!("host process {} (pid {}) runs and was adopted", self.name, link.pid());
                for asked in self.follow(&link, unasked) {
                    let _ = tokio::time::timeout(ANSWER, asked).await;
                }
                Ok(true)
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                self.clean_up().await;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Adopts a host process that shows up without this daemon having started it: one that did not answer before, or
    /// that somebody else started.
    pub(crate) async fn keep_adopting(self: Arc<Self>) {
        while !*self.stopping.borrow() {
            tokio::time::sleep(LOOK).await;
            if self.link().is_none() && self.root.host_socket(&self.name).exists() {
                let _ = self.adopt().await;
            }
        }
    }

    /// The host process; starts it if there is none. Not to be dropped half way: give it a task of its own.
    pub(crate) async fn ensure(self: &Arc<Self>) -> Result<Link, NoHost> {
        loop {
            match self.link() {
                // It may be about to end or to be connected again.
                Some(link) => match tokio::time::timeout(LIMBO, link.settled()).await {
                    Ok(Ok(_)) => return Ok(link),
                    Ok(Err(_)) => self.gone(&link).await,
                    Err(_) => {
                        return Err(self.trouble(format!("(pid {}) does not answer any more", link.pid())));
                    }
                },
                None => {
                    let _starting = self.starting.lock().await;
                    if self.link().is_some() {
                        continue;
                    }
                    return self.start().await;
                }
            }
        }
    }

    /// Waits until `link` is not the host process any more.
    async fn gone(&self, link: &Link) {
        let is_other = |now: &Option<Link>| now.as_ref().is_none_or(|now| !Arc::ptr_eq(&now.0, &link.0));
        let _ = self.link.subscribe().wait_for(is_other).await;
    }

    fn trouble(&self, what: String) -> NoHost {
        NoHost(format!("host process {} {what}", self.name))
    }

    fn stopping(&self) -> NoHost {
        self.trouble("is not started any more: the daemon is stopping".to_owned())
    }

    async fn start(self: &Arc<Self>) -> Result<Link, NoHost> {
        if *self.stopping.borrow() {
            return Err(self.stopping());
        }
        // One that the daemon has not heard of may be there: it lost its connection, or someone started it.
        if let Ok((link, unasked)) = self.connect().await {
            self.follow(&link, unasked);
            return Ok(link);
        }
        self.clean_up().await;
        let mut stopping = self.stopping.subscribe();
        let process = tokio::select! {
            process = host_start::start(&self.root, &self.name) => process.map_err(|why| self.trouble(why))?,
            // What was begun is killed with the future.
            () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => return Err(self.stopping()),
        };
        let pid = process.pid();
        match self.greet().await {
            Ok((found, peer, unasked)) if found == pid => {
                tracing::info!("host process {} (pid {pid}) started", self.name);
                let link = Link::new(process, peer);
                self.follow(&link, unasked);
                Ok(link)
            }
            Ok((other, ..)) => {
                process.kill().await;
                Err(self.trouble(format!("(pid {pid}) came up, but process {other} has its socket")))
            }
            Err(error) => {
                process.kill().await;
                Err(self.trouble(format!("(pid {pid}) came up, but its socket does not answer: {error}")))
            }
        }
    }

    /// Connects to whoever listens on the host's socket.
    async fn connect(&self) -> io::Result<(Link, mpsc::Receiver<Unasked>)> {
        let (pid, peer, unasked) = self.greet().await?;
        Ok((Link::new(Process::of_pid(pid)?, peer), unasked))
    }

    /// Connects and makes sure that a host process answers; answers its pid.
    async fn greet(&self) -> io::Result<(u32, Peer, mpsc::Receiver<Unasked>)> {
        let connecting = UnixStream::connect(self.root.host_socket(&self.name));
        let stream =
            tokio::time::timeout(ANSWER, connecting).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let pid = stream.peer_cred()?.pid().and_then(|pid| u32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| io::Error::other("the system does not tell whose socket it is"))?;
        let (reader, writer) = stream.into_split();
        let (peer, unasked) = Peer::start(reader, writer, REPLY_OF_HOST);
        let ping: Ping = peer.ask("ping", Map::new(), ANSWER).await.map_err(io::Error::other)?;
        if ping.interface_version != INTERFACE_VERSION {
            let version = ping.interface_version;
            return Err(io::Error::other(format!("it speaks version {version} of the interface")));
        }
        // Topics on demand are asked for only while somebody wants them.
        let topics = [Topic::StatusChanged, Topic::JobChanged, Topic::Log].map(Topic::as_str);
        peer.request("events.subscribe", object(json!({"topics": topics})), ANSWER)
            .await
            .map_err(io::Error::other)?;
        Ok((pid, peer, unasked))
    }

    /// Makes `link` the host process from now on. Answers the tasks that ask it what it does.
    fn follow(self: &Arc<Self>, link: &Link, unasked: mpsc::Receiver<Unasked>) -> Vec<JoinHandle<()>> {
        self.link.send_replace(Some(link.clone()));
        tokio::spawn(Arc::clone(self).watch(link.clone(), unasked));
        self.tell_up(link)
    }

    fn tell_up(&self, link: &Link) -> Vec<JoinHandle<()>> {
        let mut asking = vec![];
        self.each(|w| asking.extend(w.up(link)));
        asking
    }

    fn each(&self, mut tell: impl FnMut(&dyn HostWatcher)) {
        let watchers: Vec<_> = lock(&self.watchers).iter().filter_map(Weak::upgrade).collect();
        watchers.iter().for_each(|w| tell(&**w));
    }

    /// Passes on what the host tells, until its process has ended.
    async fn watch(self: Arc<Self>, link: Link, mut unasked: mpsc::Receiver<Unasked>) {
        let ended = loop {
            self.pass_on(&link, &mut unasked).await;
            match self.after_loss(&link).await {
                Ok(again) => unasked = again,
                Err(ended) => break ended,
            }
            self.tell_up(&link);
        };
        if ended.in_order {
            tracing::info!("{}", ended.reason);
        } else {
            tracing::error!("{}", ended.reason);
        }
        // In this order: whoever finds the host gone finds out why, too.
        self.each(|w| w.down(&ended));
        self.link.send_replace(None);
        link.0.ended.send_replace(Some(ended));
        let _starting = self.starting.lock().await;
        self.clean_up().await;
    }

    /// Passes on what comes until the connection is over.
    async fn pass_on(&self, link: &Link, unasked: &mut mpsc::Receiver<Unasked>) {
        let peer = link.peer();
        let mut dropped = 0;
        // Topics on demand that nobody has asked the host for.
        let mut unasked_for = Topic::ON_DEMAND.to_vec();
        loop {
            let news = tokio::select! {
                news = unasked.recv() => news,
                _ = link.0.process.exited() => {
                    // The process may have left something that keeps its connection open.
                    match tokio::time::timeout(LAST_WORDS, unasked.recv()).await {
                        Ok(news) => news,
                        Err(_) => return,
                    }
                }
                topic = self.bus.until_one_wanted(&unasked_for) => {
                    unasked_for.retain(|t| *t != topic);
                    let topics = object(json!({"topics": [topic]}));
                    let _ = peer.request("events.subscribe", topics, ANSWER).await;
                    continue;
                }
            };
            match news {
                None => return,
                Some(Unasked::Noise(line)) => {
                    tracing::warn!("host process {} sent what is not of the contract: {line}", self.name);
                }
                Some(Unasked::Lost(count)) => {
                    tracing::warn!("{count} events of host process {} were lost; asking again", self.name);
                    self.tell_up(link);
                }
                Some(Unasked::Event { topic, mut params }) => {
                    let Some(topic) = Topic::parse(&topic) else { continue };
                    let on_demand = Topic::ON_DEMAND.contains(&topic) && !unasked_for.contains(&topic);
                    if on_demand && !self.bus.wanted(topic) {
                        unasked_for.push(topic);
                        let topics = object(json!({"topics": [topic]}));
                        let _ = peer.request("events.unsubscribe", topics, ANSWER).await;
                    }
                    let lost = params.remove("dropped").and_then(|d| d.as_u64()).unwrap_or(dropped);
                    if lost != dropped {
                        dropped = lost;
                        self.tell_up(link);
                    }
                    params.remove("seq");
                    params.remove("ts");
                    let Some(Value::String(app)) = params.remove("appId") else { continue };
                    let mut params = Some(params);
                    self.each(|w| {
                        if w.app_id() == app
                            && let Some(params) = params.take()
                        {
                            w.event(link, topic, params);
                        }
                    });
                }
            }
        }
    }

    /// After the connection was lost: connected again, or the end of the process.
    async fn after_loss(&self, link: &Link) -> Result<mpsc::Receiver<Unasked>, Ended> {
        let process = &link.0.process;
        let deadline = Instant::now() + LIMBO;
        loop {
            if let Ok(exit) = tokio::time::timeout(Duration::from_millis(100), process.exited()).await {
                return Err(self.ended(link.pid(), &exit.to_string(), exit));
            }
            if let Ok((pid, peer, unasked)) = self.greet().await
                && pid == link.pid()
            {
                tracing::warn!(
                    "the connection to host process {} (pid {pid}) was lost and made again",
                    self.name
                );
                link.0.peer.send_replace(peer);
                return Ok(unasked);
            }
            if Instant::now() > deadline {
                let exit = process.kill().await;
                let how = "closed its connection but did not end, and was killed";
                return Err(self.ended(link.pid(), how, exit));
            }
        }
    }

    fn ended(&self, pid: u32, how: &str, exit: Exit) -> Ended {
        // One that ends in order takes its socket with it.
        let said_goodbye = exit == Exit::Unknown && !self.root.host_socket(&self.name).exists();
        let in_order = exit == Exit::Code(0) || said_goodbye || *self.stopping.borrow();
        let how = if said_goodbye { "ended in order" } else { how };
        Ended { reason: format!("host process {} (pid {pid}) {how}", self.name), in_order }
    }

    /// Removes what a host process left behind. The caller holds `starting`, so that nothing of a living one goes.
    async fn clean_up(&self) {
        let root = self.root.clone();
        let socket = self.root.host_socket(&self.name);
        let swept = tokio::task::spawn_blocking(move || {
            let is_socket = fs::symlink_metadata(&socket).is_ok_and(|m| m.file_type().is_socket());
            let refuses = |e: io::Error| e.kind() == io::ErrorKind::ConnectionRefused;
            if is_socket && std::os::unix::net::UnixStream::connect(&socket).is_err_and(refuses) {
                let _ = fs::remove_file(&socket);
            }
            Runtime::at(root.runtime_dir().to_owned()).map(|runtime| runtime.sweep())
        })
        .await;
        for path in swept.ok().and_then(Result::ok).unwrap_or_default() {
            tracing::info!("removed {}, whose owner is gone", path.display());
        }
    }

    /// Ends the host process at once, and starts none from now on.
    pub(crate) fn kill(&self) {
        self.stopping.send_replace(true);
        if let Some(link) = self.link() {
            link.0.process.signal(Signal::KILL);
        }
    }

    /// Stops the host process in order, at most `deadline` long, and starts none from now on.
    pub(crate) async fn stop(&self, deadline: Duration) {
        self.stopping.send_replace(true);
        let _starting = self.starting.lock().await;
        if let Some(link) = self.link() {
            if link.0.process.stop(deadline).await == Exit::Signal(Signal::KILL.as_raw()) {
                let seconds = deadline.as_secs();
                tracing::error!("host process {} did not stop within {seconds} s and was killed", self.name);
            }
            let _ = tokio::time::timeout(ANSWER, link.ended()).await;
        }
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Link {
    fn new(process: Process, peer: Peer) -> Self {
        Self(Arc::new(LinkInner { process, peer: watch::Sender::new(peer), ended: watch::Sender::new(None) }))
    }
}
