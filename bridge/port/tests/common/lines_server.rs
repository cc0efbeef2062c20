//! A server that answers lines, and callers for it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use hilrig_port::{Caller, Calls, LineEvent, Runtime, Server, ServerRef, Shard, Time};

use crate::common::{PATIENCE, open, runtime, wait_until};

/// Answers each line that ends with `\n` with itself. `later` answers after a while, `bye` ends the connection, `big`
/// brings much; what begins with `>` goes to the line, whose bytes go to the last who sent any there.
#[derive(Default)]
pub struct Lines {
    pub heard: Vec<Vec<u8>>,
    pub here: Vec<Caller>,
    pub most: usize,
    pub room: Option<usize>,
    pub later: VecDeque<(Time, Caller)>,
    pub ended: Vec<Caller>,
    pub asked: Option<Caller>,
    pub line: Vec<LineEvent>,
    pub closed: u64,
}

const LATER: Duration = Duration::from_millis(20);
pub const BIG: usize = 200_000;

impl Server for Lines {
    fn on_caller(&mut self, _: Time, caller: Caller) -> bool {
        assert!(!self.here.contains(&caller), "the number is in use");
        if self.room.is_some_and(|room| self.here.len() >= room) {
            return false;
        }
        self.here.push(caller);
        self.most = self.most.max(self.here.len());
        let at = caller.0 as usize;
        self.heard.resize(self.heard.len().max(at + 1), Vec::new());
        self.heard[at].clear();
        true
    }

    fn on_bytes(&mut self, now: Time, caller: Caller, bytes: &[u8], calls: &mut Calls) {
        assert!(self.here.contains(&caller));
        let mut heard = std::mem::take(&mut self.heard[caller.0 as usize]);
        heard.extend_from_slice(bytes);
        while let Some(end) = heard.iter().position(|b| *b == b'\n') {
            let rest = heard.split_off(end + 1);
            match heard.as_slice() {
                b"later\n" => self.later.push_back((now + LATER, caller)),
                b"bye\n" => {
                    calls.send(caller, b"bye\n");
                    calls.close(caller);
                    calls.send(caller, b"never");
                }
                b"big\n" => calls.send(caller, &[b'x'; BIG]),
                b"panic\n" => panic!("a line this server cannot stand"),
                [b'>', to_line @ ..] => {
                    self.asked = Some(caller);
                    assert!(calls.line.send(to_line));
                }
                line => calls.send(caller, line),
            }
            heard = rest;
        }
        self.heard[caller.0 as usize] = heard;
    }

    fn on_end(&mut self, _: Time, caller: Caller, calls: &mut Calls) {
        self.ended.push(caller);
        if !self.later.iter().any(|l| l.1 == caller) {
            calls.close(caller);
        }
    }

    fn on_closed(&mut self, _: Time, caller: Caller) {
        let at = self.here.iter().position(|c| *c == caller).expect("closed twice, or never here");
        self.here.remove(at);
        self.later.retain(|l| l.1 != caller);
        self.ended.retain(|c| *c != caller);
        self.closed += 1;
    }

    fn on_deadline(&mut self, now: Time, calls: &mut Calls) {
        assert!(self.deadline().is_some_and(|at| at <= now), "called before its time");
        while let Some(&(at, caller)) = self.later.front().filter(|l| l.0 <= now) {
            assert!(at <= now);
            self.later.pop_front();
            calls.send(caller, b"later\n");
            if self.ended.contains(&caller) {
                calls.close(caller);
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.later.front().map(|l| l.0)
    }

    fn on_line_bytes(&mut self, _: Time, bytes: &[u8], calls: &mut Calls) {
        if let Some(caller) = self.asked {
            calls.send(caller, bytes);
        }
    }

    fn on_line(&mut self, _: Time, event: LineEvent, _: &mut Calls) {
        self.line.push(event);
    }
}

pub struct Bench {
    pub _tmp: tempfile::TempDir,
    pub runtime: Runtime,
    pub shard: Shard,
    pub server: ServerRef,
    pub address: SocketAddr,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(Lines::default())
    }

    pub fn with(lines: Lines) -> Self {
        let (tmp, runtime) = runtime();
        let shard = Shard::start("test").unwrap();
        let listener = open("tcp-listen:127.0.0.1:0", &runtime);
        let address = listener.local_addr().unwrap();
        let server = shard.add_server(listener, None, Box::new(lines)).unwrap();
        Self { _tmp: tmp, runtime, shard, server, address }
    }

    pub fn call(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    pub fn ask<R: Send>(&self, f: impl FnOnce(&mut Lines) -> R + Send) -> R {
        self.shard.with_server(&self.server, |lines: &mut Lines, _, _| f(lines)).unwrap()
    }

    pub fn callers(&self, n: u32) {
        wait_until("the callers are so many", || self.server.callers() == n);
    }
}

pub fn says(client: &mut (impl Read + Write), line: &[u8]) {
    client.write_all(line).unwrap();
    hears(client, line);
}

pub fn hears(client: &mut impl Read, what: &[u8]) {
    let mut got = vec![0; what.len()];
    client.read_exact(&mut got).unwrap();
    assert!(got == what, "{:?} is not {:?}", String::from_utf8_lossy(&got), String::from_utf8_lossy(what));
}

pub fn is_over(client: &mut impl Read) {
    match client.read(&mut [0; 16]) {
        Ok(0) => {}
        Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("the connection is not over: {other:?}"),
    }
}
