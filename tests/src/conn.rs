//! A client of the contract over TCP, a Unix socket or stdio that sends any bytes and waits for nothing without
//! a deadline. Never sends an envelope that the test did not write.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::{Map, Value, json};

use crate::sandbox::end_of;
use crate::{PATIENCE, finished_record, response, wait_for};

/// What came of waiting for a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    Line(Vec<u8>),
    /// The other side closed, or reset, the connection.
    Closed,
    /// Nothing came in time.
    Silence,
}

/// A connection.
#[derive(Debug)]
pub struct Conn {
    reads: OwnedFd,
    /// `None` once our side is closed.
    writes: Option<OwnedFd>,
    got: Vec<u8>,
    /// Bytes of `got` known to hold no line end.
    searched: usize,
    closed: bool,
    child: Option<Child>,
    requests: u64,
    /// Events that came while a reply was awaited.
    pub events: Vec<Value>,
}

impl Conn {
    fn new(reads: OwnedFd, writes: OwnedFd, child: Option<Child>) -> Self {
        for fd in [&reads, &writes] {
            rustix::io::ioctl_fionbio(fd, true).unwrap();
        }
        let (got, events) = (Vec::new(), Vec::new());
        Self { reads, writes: Some(writes), got, searched: 0, closed: false, child, requests: 0, events }
    }

    #[track_caller]
    pub fn tcp(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE).unwrap_or_else(|e| panic!("{addr}: {e}"));
        stream.set_nodelay(true).unwrap();
        Self::new(stream.try_clone().unwrap().into(), stream.into(), None)
    }

    #[track_caller]
    pub fn unix(path: &Path) -> Self {
        Self::try_unix(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// # Errors
    /// As [`UnixStream::connect`].
    pub fn try_unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        Ok(Self::new(stream.try_clone()?.into(), stream.into(), None))
    }

    /// Starts a process that speaks the contract on its stdin and stdout.
    #[track_caller]
    pub fn stdio(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self::new(stdout.into(), stdin.into(), Some(child))
    }

    /// The process at the other end of a stdio connection.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Waits for the end of the process at the other end.
    #[track_caller]
    pub fn end_of_process(&mut self) -> ExitStatus {
        end_of(self.child.as_mut().expect("a stdio connection"), PATIENCE, "the stdio process")
    }

    /// Sends bytes while reading what comes back, so that neither side waits for the other.
    ///
    /// # Errors
    /// The other side has closed the connection.
    #[track_caller]
    pub fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let end = Instant::now() + Duration::from_secs(60);
        while !bytes.is_empty() {
            let writes = self.writes.as_ref().expect("our side is open");
            match rustix::io::write(writes, bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(Errno::AGAIN) => {
                    assert!(Instant::now() < end, "the other side takes no more bytes");
                    let mut fds =
                        [PollFd::new(writes, PollFlags::OUT), PollFd::new(&self.reads, PollFlags::IN)];
                    let used = if self.closed { &mut fds[..1] } else { &mut fds[..] };
                    let _ = poll(used, Some(&timespec(Duration::from_secs(1))));
                    self.fill();
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Sends as much as the other side takes within `patience`, without reading anything.
    pub fn send_blindly(&mut self, mut bytes: &[u8], patience: Duration) -> usize {
        let all = bytes.len();
        let writes = self.writes.as_ref().expect("our side is open");
        while !bytes.is_empty() {
            match rustix::io::write(writes, bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(Errno::AGAIN) => {
                    let mut fds = [PollFd::new(writes, PollFlags::OUT)];
                    if poll(&mut fds, Some(&timespec(patience))) == Ok(0) {
                        break;
                    }
                }
                Err(_) => break,
            }
        }
        all - bytes.len()
    }

    /// Takes in whatever is there.
    fn fill(&mut self) {
        let mut block = vec![0; 1 << 16];
        while !self.closed {
            match rustix::io::read(&self.reads, &mut block) {
                Ok(0) => self.closed = true,
                Ok(n) => self.got.extend_from_slice(&block[..n]),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => self.closed = true,
            }
        }
    }

    /// Waits for a line at most so long. A line without its LF at the end of the connection is a line.
    pub fn read_line(&mut self, patience: Duration) -> Read {
        let end = Instant::now() + patience;
        loop {
            if let Some(n) = self.got[self.searched..].iter().position(|b| *b == b'\n') {
                let rest = self.got.split_off(self.searched + n + 1);
                let mut line = std::mem::replace(&mut self.got, rest);
                line.pop();
                self.searched = 0;
                return Read::Line(line);
            }
            self.searched = self.got.len();
            if self.closed {
                self.searched = 0;
                let line = std::mem::take(&mut self.got);
                return if line.is_empty() { Read::Closed } else { Read::Line(line) };
            }
            let Some(left) = end.checked_duration_since(Instant::now()) else { return Read::Silence };
            let mut fds = [PollFd::new(&self.reads, PollFlags::IN)];
            let _ = poll(&mut fds, Some(&timespec(left)));
            self.fill();
        }
    }

    /// The next line, which has to come and to be one JSON text.
    #[track_caller]
    pub fn line(&mut self) -> Value {
        match self.read_line(PATIENCE) {
            Read::Line(line) => parse(&line),
            other => panic!("no line came: {other:?}"),
        }
    }

    /// The next reply. Events on the way are put aside.
    #[track_caller]
    pub fn reply(&mut self) -> Value {
        loop {
            let line = self.line();
            if line.get("event").is_none() {
                return line;
            }
            self.events.push(line);
        }
    }

    /// The next event, also one put aside. Anything else that comes is wrong.
    #[track_caller]
    pub fn event(&mut self) -> Value {
        let event = if self.events.is_empty() { self.line() } else { self.events.remove(0) };
        assert!(event.get("event").is_some(), "no event: {event}");
        assert!(event.get("id").is_none() && event.get("ok").is_none(), "an event like a reply: {event}");
        event
    }

    /// The first event that `wanted` accepts.
    #[track_caller]
    pub fn event_with(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.event();
            if wanted(&event) {
                return event;
            }
        }
    }

    /// Sends text as one line and gives the reply.
    #[track_caller]
    pub fn raw(&mut self, line: &str) -> Value {
        self.send(format!("{line}\n").as_bytes()).expect("the connection is open");
        self.reply()
    }

    /// Sends a request as written and gives the reply.
    #[track_caller]
    pub fn ask(&mut self, request: &Value) -> Value {
        self.raw(&request.to_string())
    }

    /// As [`Conn::ask`], on a connection that may break.
    pub fn try_ask(&mut self, request: &Value) -> Option<Value> {
        self.send(format!("{request}\n").as_bytes()).ok()?;
        match self.read_line(PATIENCE) {
            Read::Line(line) => serde_json::from_slice(&line).ok(),
            _ => None,
        }
    }

    /// Calls a method with an id of its own and gives the whole reply.
    #[track_caller]
    pub fn request(&mut self, method: &str, params: Value) -> Value {
        self.requests += 1;
        let id = format!("t-{}", self.requests);
        let reply = self.ask(&json!({"id": id, "method": method, "params": params}));
        assert_eq!(reply["id"], id, "the reply to {method}: {reply}");
        reply
    }

    /// Calls a method that has to succeed and gives the response.
    #[track_caller]
    pub fn call(&mut self, method: &str, params: Value) -> Map<String, Value> {
        response(&self.request(method, params)).clone()
    }

    #[track_caller]
    pub fn ping(&mut self) {
        self.call("ping", json!({}));
    }

    #[track_caller]
    pub fn status(&mut self, app: &str) -> Map<String, Value> {
        self.call("status.get", json!({"appId": app}))
    }

    #[track_caller]
    pub fn set(&mut self, app: &str, key: &str, value: impl Into<Value>) -> Map<String, Value> {
        self.call("config.set", json!({"appId": app, "key": key, "value": value.into()}))
    }

    /// Invokes an action and gives the id of its job.
    #[track_caller]
    pub fn invoke(&mut self, app: &str, action: &str, args: Value) -> String {
        self.invoke_with(json!({"appId": app, "actionName": action, "args": args}))
    }

    #[track_caller]
    pub fn invoke_with(&mut self, params: Value) -> String {
        let invoked = self.call("action.invoke", params);
        invoked["jobId"].as_str().unwrap_or_else(|| panic!("no jobId: {invoked:?}")).to_owned()
    }

    /// Invokes an action that takes long; gives the id of its job once it is under way.
    #[track_caller]
    pub fn begin(&mut self, app: &str, action: &str, args: Value) -> String {
        let job = self.invoke(app, action, args);
        wait_for("the action is under way", || (self.job(app, &job)["state"] == "running").then_some(()));
        job
    }

    #[track_caller]
    pub fn job(&mut self, app: &str, job: &str) -> Map<String, Value> {
        self.call("action.job.get", json!({"appId": app, "jobId": job}))
    }

    /// Polls a job to its end, checks its record, and gives it.
    #[track_caller]
    pub fn end_of_job(&mut self, app: &str, job: &str) -> Map<String, Value> {
        let order = ["queued", "running", "succeeded", "failed", "timeout", "canceled"];
        let end = Instant::now() + Duration::from_secs(60);
        let mut reached = 0;
        loop {
            let record = self.job(app, job);
            assert_eq!(record["jobId"], job);
            let state = order.iter().position(|s| *s == record["state"]).expect("a known state");
            assert!(state >= reached, "from {} back to {}", order[reached], order[state]);
            reached = state;
            if state >= 2 {
                finished_record(&record);
                return record;
            }
            assert!(Instant::now() < end, "job without an end: {record:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Carries an action out that has to succeed.
    #[track_caller]
    pub fn act(&mut self, app: &str, action: &str, args: Value) -> Map<String, Value> {
        let record = self.try_act(app, action, args);
        assert_eq!(record["state"], "succeeded", "{record:?}");
        record
    }

    /// Carries an action out, however it ends.
    #[track_caller]
    pub fn try_act(&mut self, app: &str, action: &str, args: Value) -> Map<String, Value> {
        let job = self.invoke(app, action, args);
        self.end_of_job(app, &job)
    }

    /// Waits until the bridge knows who is at the far ends of its link.
    #[track_caller]
    pub fn wait_for_peers(&mut self, there: [bool; 2]) {
        wait_for(&format!("the bridge knows who is at its far ends ({there:?})"), || {
            let status = self.status("bridge");
            let ports = status["ports"].as_array().expect("ports");
            (ports.len() == 2 && ports.iter().zip(there).all(|(p, there)| p["peerOpen"] == there))
                .then_some(())
        });
    }

    /// Closes our side; the other may still answer.
    pub fn half_close(&mut self) {
        let writes = self.writes.take().expect("our side is open");
        // A pipe ends with its descriptor, a socket with a shutdown.
        let _ = rustix::net::shutdown(&writes, rustix::net::Shutdown::Write);
    }

    /// Closes a TCP connection by a reset.
    pub fn reset(self) {
        let linger = Some(Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(&self.reads, linger).expect("a socket");
    }

    /// Kills the process at the other end of a stdio connection with -9.
    pub fn kill9(&mut self) {
        let child = self.child.as_mut().expect("a stdio connection");
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.writes = None;
        if let Some(mut child) = self.child.take() {
            if std::thread::panicking() {
                let _ = child.kill();
            }
            end_of(&mut child, PATIENCE, "the stdio process after the end of its input");
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() }
}

/// One line as JSON: UTF-8, no CR, not pretty-printed.
#[track_caller]
fn parse(line: &[u8]) -> Value {
    let text = std::str::from_utf8(line).expect("a line is UTF-8");
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {:?}", &text[..text.len().min(500)]))
}
