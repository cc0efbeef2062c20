//! tokio-modbus behind a guard: another implementation than the simulator's, on purpose, so that one checks the other.
//! Each call is a task of its own with a deadline; whatever becomes of it (no answer, a panic on a reply, an endless
//! loop), the caller goes on, and nothing of that call is used again. Every answer is checked against its request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use hilrig_port::{PortUrl, Runtime};
use tokio::io::AsyncReadExt;
use tokio_modbus::client::{Client as _, Context, rtu, tcp};
use tokio_modbus::prelude::SlaveContext as _;
use tokio_modbus::{Error, ExceptionCode, ProtocolError, Request, Response, Slave};

use super::check::check;
use super::line::{Heard, Port, Stream};
use crate::args::FramingArg;
use crate::output::{Exit, Failure};

/// How often a call looks at the signals and at its port.
const LOOK: Duration = Duration::from_millis(20);
/// How long slaves may take over a broadcast (SL 2.4.1: 100 to 200 ms).
const TURNAROUND: Duration = Duration::from_millis(200);
/// What a line is listened to at least before it counts as quiet, for adapters that hold bytes back.
const QUIET: Duration = Duration::from_millis(20);

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The unit refused.
    Exception(ExceptionCode),
    /// No good answer in time, and what came instead.
    Silence(String),
    /// An answer that cannot be the one.
    Wrong(String),
    /// The port cannot be used.
    Port(String),
    Interrupted,
}

/// A client of one port.
pub struct Client {
    tasks: tokio::runtime::Runtime,
    url: PortUrl,
    runtime: Runtime,
    framing: FramingArg,
    pub timeout: Duration,
    retries: u32,
    interrupted: Arc<AtomicBool>,
    port: Option<Port>,
    context: Option<Context>,
    /// A request without an answer: one may still come.
    open: Option<(u8, Request<'static>)>,
    /// Silence between two frames.
    gap: Duration,
    last: Option<Instant>,
}

enum Ended<T> {
    Done(T),
    Late,
    /// The task has panicked, or its runtime is gone.
    Broken,
    Lost(String),
    Interrupted,
}

impl Client {
    pub fn new(
        url: PortUrl,
        runtime: Runtime,
        framing: FramingArg,
        timeout: Duration,
        retries: u32,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Self, Failure> {
        super::quiet_panics();
        let tasks = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(super::TASKS)
            .enable_all()
            .build()
            .map_err(|e| Failure::infrastructure(format!("cannot start the client's thread: {e}")))?;
        let gap = url.serial_options().map_or(Duration::from_millis(2), |options| {
            hilrig_modbus::Timing::new(options.baud, options.format).t35
        });
        Ok(Self {
            tasks,
            url,
            runtime,
            framing,
            timeout,
            retries,
            interrupted,
            port: None,
            context: None,
            open: None,
            gap,
            last: None,
        })
    }

    /// Opens the port, if it is not open.
    pub fn connect(&mut self) -> Result<(), Trouble> {
        if self.port.as_ref().is_some_and(|port| port.lost().is_none()) {
            return Ok(());
        }
        self.port = None;
        self.context = None;
        let _inside = self.tasks.enter();
        let until = Instant::now() + self.timeout.max(Duration::from_secs(3));
        let stop = || self.interrupted.load(Ordering::Relaxed) || Instant::now() > until;
        match Port::open(&self.url, &self.runtime, &stop) {
            Ok(port) => {
                self.port = Some(port);
                Ok(())
            }
            Err(_) if self.interrupted.load(Ordering::Relaxed) => Err(Trouble::Interrupted),
            Err(hilrig_port::PortError::Stopped { port }) => {
                Err(Trouble::Port(format!("{port}: nobody answers; check host, port and firewall")))
            }
            Err(e) => Err(Trouble::Port(e.to_string())),
        }
    }

    fn is_serial(&self) -> bool {
        self.framing != FramingArg::Tcp
    }

    /// Asks, again as often as allowed, and gives an answer that fits. A broadcast (`None`) has none.
    pub fn call(&mut self, unit: u8, request: &Request<'static>) -> Result<Option<Response>, Trouble> {
        if unit == 0 && self.is_serial() {
            return match self.once(unit, request, TURNAROUND) {
                Ok(_) | Err(Trouble::Silence(_)) => {
                    self.open = None;
                    Ok(None)
                }
                Err(other) => Err(other),
            };
        }
        let mut asked = 0;
        loop {
            let answer = self.once(unit, request, self.timeout);
            match answer {
                Err(Trouble::Silence(_) | Trouble::Wrong(_)) if asked < self.retries => asked += 1,
                // A connection may have been closed since the last call.
                Err(Trouble::Port(_)) if asked < self.retries && self.port.is_none() => asked += 1,
                other => return other.map(Some),
            }
        }
    }

    fn once(&mut self, unit: u8, request: &Request<'static>, limit: Duration) -> Result<Response, Trouble> {
        self.connect()?;
        self.settle(unit, request)?;
        let Some(port) = &self.port else { return Err(Trouble::Port(format!("{} is closed", self.url))) };
        let stream = port.stream.clone();
        stream.take_heard();
        let framing = self.framing;
        let mut context = self.context.take().unwrap_or_else(|| attach(framing, stream.clone()));
        context.set_slave(Slave(unit));
        let asked = request.clone();
        let before = port.state();
        let ended = self.run(limit, async move {
            let answer = context.call(asked).await;
            (context, answer)
        });
        self.last = Some(Instant::now());
        let (context, answer) = match ended {
            Ended::Done(done) => done,
            ended => {
                self.open = Some((unit, request.clone()));
                let trouble = match ended {
                    Ended::Late => Trouble::Silence(self.silence(unit, limit, &stream.take_heard(), &before)),
                    Ended::Lost(reason) => {
                        Trouble::Port(format!("{}: the port was lost: {reason}", self.url))
                    }
                    Ended::Interrupted => Trouble::Interrupted,
                    _ => Trouble::Wrong(format!(
                        "the answer of unit {unit} is malformed{}",
                        hex(&stream.take_heard())
                    )),
                };
                self.forget();
                return Err(trouble);
            }
        };
        let heard = stream.take_heard();
        match answer {
            Ok(Ok(response)) => match check(request, &response) {
                Ok(()) => {
                    self.context = Some(context);
                    self.open = None;
                    Ok(response)
                }
                Err(what) => {
                    self.open = Some((unit, request.clone()));
                    self.forget();
                    Err(Trouble::Wrong(format!("unit {unit} {what}")))
                }
            },
            Ok(Err(exception)) => {
                self.context = Some(context);
                self.open = None;
                Err(Trouble::Exception(exception))
            }
            Err(error) => {
                let lost = self.port.as_ref().and_then(Port::lost);
                self.open = Some((unit, request.clone()));
                self.forget();
                Err(match (error, lost) {
                    (Error::Transport(_), Some(reason)) => {
                        Trouble::Port(format!("{}: the port was lost: {reason}", self.url))
                    }
                    (Error::Protocol(ProtocolError::HeaderMismatch { .. }), _) => Trouble::Wrong(format!(
                        "an answer came that is not to the request to unit {unit}{}: another master on the line, \
                         an answer that came late, or two units with one id",
                        hex(&heard)
                    )),
                    (Error::Protocol(ProtocolError::FunctionCodeMismatch { .. }), _) => {
                        Trouble::Wrong(format!(
                            "unit {unit} answered with another function than it was asked for{}",
                            hex(&heard)
                        ))
                    }
                    (Error::Transport(_), None) => Trouble::Wrong(format!(
                        "what came back is no Modbus frame{}; check baud rate and format, and --framing",
                        hex(&heard)
                    )),
                })
            }
        }
    }

    /// Drops what belongs to a call that went wrong: over TCP with the connection, so that a late answer finds nobody.
    fn forget(&mut self) {
        self.context = None;
        if matches!(self.url, PortUrl::Tcp { .. }) || self.framing == FramingArg::Tcp {
            self.port = None;
        }
    }

    /// Makes sure that the line is silent, and that no answer to an older request is taken for that to this one: on a
    /// serial line nothing in a frame tells them apart. If the same is asked again, a late answer is as good.
    fn settle(&mut self, unit: u8, request: &Request<'static>) -> Result<(), Trouble> {
        if !self.is_serial() {
            return Ok(());
        }
        let open = self.open.take();
        if let Some((before, asked)) = open {
            let same = before == unit && asked == *request;
            // An answer of another unit would be seen; one of the same unit to another request would not.
            let wait = if same || before != unit { self.gap.max(QUIET) } else { self.timeout };
            if let Some(port) = &self.port {
                let stream = port.stream.clone();
                match self.run(wait + self.timeout, drain(stream, wait, self.gap.max(QUIET))) {
                    Ended::Interrupted => return Err(Trouble::Interrupted),
                    Ended::Late => {
                        return Err(Trouble::Wrong(format!(
                            "{}: the line does not fall silent; is another master talking?",
                            self.url
                        )));
                    }
                    _ => {}
                }
            }
        } else if let Some(last) = self.last {
            std::thread::sleep((last + self.gap).saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    /// Runs something for at most `limit`, on a thread that may be lost to it.
    fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Ended<T> {
        let (done, result) = sync_channel(1);
        let task = self.tasks.spawn(async move {
            let _ = done.send(work.await);
        });
        let until = Instant::now() + limit;
        let ended = loop {
            let left = until.saturating_duration_since(Instant::now());
            match result.recv_timeout(left.min(LOOK)) {
                Ok(value) => break Ended::Done(value),
                Err(RecvTimeoutError::Disconnected) => break Ended::Broken,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.interrupted.load(Ordering::Relaxed) {
                break Ended::Interrupted;
            }
            if let Some(reason) = self.port.as_ref().and_then(Port::lost) {
                break Ended::Lost(reason);
            }
            if left.is_zero() {
                break Ended::Late;
            }
        };
        task.abort();
        ended
    }

    fn silence(
        &self,
        unit: u8,
        limit: Duration,
        heard: &Heard,
        before: &hilrig_port::PortSnapshot,
    ) -> String {
        let limit = hilrig_files::show_time(limit);
        let nothing = format!("unit {unit} did not answer within {limit}");
        let state = self.port.as_ref().map(Port::state);
        let errors = state.map_or(0, |now| {
            (now.framing_errors + now.parity_errors)
                .saturating_sub(before.framing_errors + before.parity_errors)
        });
        let serial = self.url.serial_options().is_some();
        if errors > 0 {
            return format!(
                "{nothing}; {errors} characters came with errors: check baud rate, parity and wiring"
            );
        }
        if heard.bytes > 0 {
            return format!(
                "{nothing}; {} came, but no whole frame of it{}: check {}",
                count(heard.bytes),
                hex(heard),
                if serial {
                    "baud rate and format, and whether two devices talk at once"
                } else {
                    "--framing"
                }
            );
        }
        let advice = match self.framing {
            _ if serial => "the unit id, baud rate and format, the wiring (A and B), and that it has power",
            FramingArg::Tcp => "the unit id, and what is behind the gateway if there is one",
            _ => "the unit id, and that the device is there and talks RTU",
        };
        format!("{nothing}, and no byte came: check {advice}")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The thread may be lost in a call; nobody waits for it.
        let empty = tokio::runtime::Builder::new_current_thread().build();
        if let Ok(empty) = empty {
            std::mem::replace(&mut self.tasks, empty).shutdown_background();
        }
    }
}

fn attach(framing: FramingArg, stream: Stream) -> Context {
    match framing {
        FramingArg::Tcp => tcp::attach(stream),
        FramingArg::Rtu | FramingArg::RtuOverTcp => rtu::attach(stream),
    }
}

/// Reads and throws away for `time`, and on until nothing has come for `quiet`.
async fn drain(mut stream: Stream, time: Duration, quiet: Duration) {
    let until = tokio::time::Instant::now() + time;
    let mut block = [0; 256];
    loop {
        let silent = until.max(tokio::time::Instant::now() + quiet);
        match tokio::time::timeout_at(silent, stream.read(&mut block)).await {
            Ok(Ok(1..)) => {}
            _ => return,
        }
    }
}

fn count(bytes: usize) -> String {
    if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") }
}

fn hex(heard: &Heard) -> String {
    if heard.first.is_empty() {
        return String::new();
    }
    let bytes: Vec<String> = heard.first.iter().map(|b| format!("{b:02x}")).collect();
    let more = if heard.bytes > heard.first.len() { " …" } else { "" };
    format!(" ({}{more})", bytes.join(" "))
}

/// An exception in words, and what to look at.
pub fn exception(code: ExceptionCode) -> String {
    let (number, words): (u8, &str) = match code {
        ExceptionCode::IllegalFunction => (1, "illegal function; it does not do this to this table"),
        ExceptionCode::IllegalDataAddress => {
            (2, "illegal data address; not all of these addresses exist (handbooks often count from 1)")
        }
        ExceptionCode::IllegalDataValue => {
            (3, "illegal data value; it takes fewer at once, or not this value")
        }
        ExceptionCode::ServerDeviceFailure => (4, "server device failure; see its own diagnostics"),
        ExceptionCode::Acknowledge => (5, "acknowledge; it has begun and takes long, ask again later"),
        ExceptionCode::ServerDeviceBusy => (6, "server device busy; ask again later"),
        ExceptionCode::MemoryParityError => (8, "memory parity error; its extended memory is damaged"),
        ExceptionCode::GatewayPathUnavailable => {
            (10, "gateway path unavailable; the gateway has no way to this unit id")
        }
        ExceptionCode::GatewayTargetDevice => {
            (11, "gateway target device failed to respond; the gateway asked and the unit is silent")
        }
        ExceptionCode::Custom(7) => (7, "negative acknowledge; it cannot do this"),
        ExceptionCode::Custom(number) => (number, "a code of its maker; see its handbook"),
    };
    format!("exception {number}, {words}")
}

impl Trouble {
    /// As the sentence for a device at a unit id.
    pub fn sentence(&self, unit: u8, doing: &str) -> String {
        match self {
            Self::Exception(code) => format!("unit {unit} refused to {doing}: {}", exception(*code)),
            Self::Silence(text) | Self::Wrong(text) | Self::Port(text) => format!("cannot {doing}: {text}"),
            Self::Interrupted => "interrupted".to_owned(),
        }
    }

    pub fn exit(&self) -> Exit {
        match self {
            Self::Exception(_) | Self::Silence(_) | Self::Wrong(_) => Exit::Fail,
            Self::Port(_) => Exit::Infrastructure,
            Self::Interrupted => Exit::Stopped,
        }
    }
}
