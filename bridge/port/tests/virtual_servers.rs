//! Servers on simulated time: who is heard when, in what order, and what becomes of those who call.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hilrig_port::{Caller, Calls, LineEvent, PortError, PortState, Server, Station, Time, Tx, VirtualShard};
use hilrig_tests::{Counting, allocator_calls};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What happened, in order, with the microsecond.
type Diary = Arc<Mutex<Vec<String>>>;

fn read(diary: &Diary) -> Vec<String> {
    std::mem::take(&mut diary.lock().unwrap())
}

fn note(diary: &Diary, now: Time, what: String) {
    diary.lock().unwrap().push(format!("{} {what}", now.0 / 1000));
}

fn us(n: u64) -> Time {
    Time(n * 1000)
}

/// Echoes, in capitals; `bye` ends a call, `die` the server; what begins with `>` goes to the line.
struct Echo {
    diary: Diary,
    most: usize,
    callers: usize,
    last: Option<Caller>,
}

impl Echo {
    fn boxed(diary: &Diary, most: usize) -> Box<Self> {
        Box::new(Self { diary: diary.clone(), most, callers: 0, last: None })
    }
}

impl Server for Echo {
    fn on_caller(&mut self, now: Time, caller: Caller) -> bool {
        note(&self.diary, now, format!("{} calls", caller.0));
        self.callers += usize::from(self.callers < self.most);
        self.callers <= self.most && self.most > 0
    }

    fn on_bytes(&mut self, now: Time, caller: Caller, bytes: &[u8], calls: &mut Calls) {
        assert_ne!(bytes, b"die", "told to");
        note(&self.diary, now, format!("{} says {}", caller.0, String::from_utf8_lossy(bytes)));
        self.last = Some(caller);
        if bytes.starts_with(b">") {
            assert!(calls.line.send(&bytes[1..]));
            return;
        }
        calls.send(caller, &bytes.to_ascii_uppercase());
        if bytes == b"bye" {
            calls.close(caller);
        }
    }

    fn on_end(&mut self, now: Time, caller: Caller, calls: &mut Calls) {
        note(&self.diary, now, format!("{} ends", caller.0));
        calls.close(caller);
    }

    fn on_closed(&mut self, now: Time, caller: Caller) {
        note(&self.diary, now, format!("{} has gone", caller.0));
    }

    fn on_deadline(&mut self, _: Time, _: &mut Calls) {}

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn on_line_bytes(&mut self, now: Time, bytes: &[u8], calls: &mut Calls) {
        note(&self.diary, now, format!("the line says {}", String::from_utf8_lossy(bytes)));
        if let Some(last) = self.last {
            calls.send(last, bytes);
        }
    }

    fn on_line(&mut self, now: Time, event: LineEvent, _: &mut Calls) {
        note(&self.diary, now, format!("line {event:?}"));
    }
}

/// Says what it is told to, and writes down what it hears.
struct Client {
    name: &'static str,
    diary: Diary,
}

impl Client {
    fn boxed(name: &'static str, diary: &Diary) -> Box<Self> {
        Box::new(Self { name, diary: diary.clone() })
    }
}

impl Station for Client {
    fn on_bytes(&mut self, now: Time, bytes: &[u8], _: &mut Tx) {
        note(&self.diary, now, format!("{} hears {}", self.name, String::from_utf8_lossy(bytes)));
    }

    fn on_deadline(&mut self, _: Time, _: &mut Tx) {}

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn on_line(&mut self, now: Time, event: LineEvent, _: &mut Tx) {
        note(&self.diary, now, format!("{} {event:?}", self.name));
    }
}

fn say(shard: &mut VirtualShard, client: &hilrig_port::VirtualStation, bytes: &[u8]) {
    shard.with_station(client, |_: &mut Client, _, tx| assert!(tx.send(bytes))).unwrap();
}

#[test]
fn each_caller_is_heard_after_its_travel_and_answered() {
    let (mut shard, diary) = (VirtualShard::new(), Diary::default());
    let net = shard.listener("net");
    let server = shard.add_server(net, None, Echo::boxed(&diary, 9)).unwrap();
    let a = shard.call(net, Client::boxed("a", &diary)).unwrap();
    let b = shard.call(net, Client::boxed("b", &diary)).unwrap();
    assert_eq!(read(&diary), ["0 0 calls", "0 a Opened", "0 1 calls", "0 b Opened"]);
    assert_eq!((server.callers(), server.port().snapshot().state), (2, PortState::Open));
    say(&mut shard, &b, b"one");
    shard.run_until(us(50));
    say(&mut shard, &a, b"two");
    say(&mut shard, &b, b"more");
    shard.run_until(us(1000));
    let wanted = ["100 1 says onemore", "100 b hears ONEMORE", "150 0 says two", "150 a hears TWO"];
    assert_eq!(read(&diary), wanted);
    let stats = server.port().snapshot();
    assert_eq!((stats.rx_bytes, stats.tx_bytes, stats.opens), (10, 10, 2));
    assert_eq!(a.port().snapshot().rx_bytes, 3);

    // A place is given again, once its caller has gone; its last words are heard.
    say(&mut shard, &a, b"so");
    shard.remove_station(a);
    assert_eq!(read(&diary), ["1000 0 says so", "1000 0 ends", "1000 0 has gone"]);
    let _c = shard.call(net, Client::boxed("c", &diary)).unwrap();
    assert_eq!(read(&diary), ["1000 0 calls", "1000 c Opened"]);
    shard.remove_server(server);
    assert_eq!(read(&diary), ["1000 0 has gone", "1000 1 has gone", "1000 c Lost", "1000 b Lost"]);
    assert!(b.port().gone());
    let refused = shard.call(net, Client::boxed("d", &diary)).unwrap_err();
    assert!(matches!(refused, PortError::Connect { .. }), "{refused}");
}

#[test]
fn a_caller_is_hung_up_on_after_its_answer() {
    let (mut shard, diary) = (VirtualShard::new(), Diary::default());
    let net = shard.listener("net");
    let server = shard.add_server(net, None, Echo::boxed(&diary, 9)).unwrap();
    let a = shard.call(net, Client::boxed("a", &diary)).unwrap();
    read(&diary);
    say(&mut shard, &a, b"bye");
    shard.run_until(us(500));
    assert_eq!(read(&diary), ["100 0 says bye", "100 0 has gone", "100 a hears BYE", "100 a Lost"]);
    assert!(a.port().gone() && server.callers() == 0);
    // What it says now reaches nobody.
    say(&mut shard, &a, b"hello?");
    shard.run_until(us(900));
    assert_eq!(read(&diary), [""; 0]);
    assert_eq!(a.port().snapshot().discarded_bytes, 6);
}

#[test]
fn who_is_sent_away_is_told_so() {
    let (mut shard, diary) = (VirtualShard::new(), Diary::default());
    let net = shard.listener("net");
    assert!(shard.call(net, Client::boxed("a", &diary)).is_err(), "nobody is there yet");
    let server = shard.add_server(net, None, Echo::boxed(&diary, 0)).unwrap();
    assert!(shard.call(net, Client::boxed("a", &diary)).is_err());
    assert_eq!(server.port().snapshot().refused, 1);
    let second = shard.add_server(net, None, Echo::boxed(&diary, 1));
    assert!(matches!(second, Err(PortError::Busy { .. })));
}

#[test]
fn a_server_has_a_line_behind_it() {
    let (mut shard, diary) = (VirtualShard::new(), Diary::default());
    let (_pair, [near, far]) = shard.pair("p", None);
    let net = shard.listener("net");
    let server = shard.add_server(net, Some(near), Echo::boxed(&diary, 9)).unwrap();
    let device = shard.add_station(far, Client::boxed("device", &diary)).unwrap();
    let a = shard.call(net, Client::boxed("a", &diary)).unwrap();
    assert_eq!(read(&diary), ["0 line Opened", "0 device Opened", "0 0 calls", "0 a Opened"]);
    say(&mut shard, &a, b">ask");
    shard.run_until(us(200));
    say(&mut shard, &device, b"told");
    assert_eq!(
        read(&diary),
        ["100 0 says >ask", "100 device hears ask", "200 the line says told", "200 a hears told"]
    );
    let line = server.line().unwrap().snapshot();
    assert_eq!((line.tx_bytes, line.rx_bytes), (3, 4));
    shard
        .with_server(&server, |echo: &mut Echo, now, calls| {
            note(&echo.diary, now, "asked".to_owned());
            calls.send(Caller(0), b"by hand");
        })
        .unwrap();
    assert_eq!(read(&diary), ["200 asked", "200 a hears by hand"]);
    assert!(shard.with_server(&server, |_: &mut Other, _, _| ()).is_err());
    shard.remove_server(server);
    assert!(shard.add_server(net, Some(near), Echo::boxed(&diary, 9)).is_ok(), "the line is free again");
}

struct Other;

impl Server for Other {
    fn on_caller(&mut self, _: Time, _: Caller) -> bool {
        true
    }
    fn on_bytes(&mut self, _: Time, _: Caller, _: &[u8], _: &mut Calls) {}
    fn on_closed(&mut self, _: Time, _: Caller) {}
    fn on_deadline(&mut self, _: Time, _: &mut Calls) {}
    fn deadline(&self) -> Option<Time> {
        None
    }
}

#[test]
fn a_server_that_panics_loses_its_callers_and_nothing_else() {
    let (mut shard, diary) = (VirtualShard::new(), Diary::default());
    let net = shard.listener("net");
    let server = shard.add_server(net, None, Echo::boxed(&diary, 9)).unwrap();
    let a = shard.call(net, Client::boxed("a", &diary)).unwrap();
    let b = shard.call(net, Client::boxed("b", &diary)).unwrap();
    read(&diary);
    say(&mut shard, &a, b"die");
    shard.run_until(us(500));
    assert_eq!(read(&diary), ["100 a Lost", "100 b Lost"]);
    assert!(server.port().snapshot().reason.contains("told to"), "{:?}", server.port().snapshot());
    assert!(b.port().gone());
    assert!(shard.call(net, Client::boxed("c", &diary)).is_err());
}

/// Sends the next as soon as it has an answer.
struct Eager {
    sent: u64,
}

impl Station for Eager {
    fn on_bytes(&mut self, _: Time, _: &[u8], tx: &mut Tx) {
        self.sent += 1;
        assert!(tx.send(b"next"));
    }

    fn on_deadline(&mut self, _: Time, _: &mut Tx) {}

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn on_line(&mut self, _: Time, _: LineEvent, tx: &mut Tx) {
        assert!(tx.send(b"first"));
    }
}

struct Quiet;

impl Server for Quiet {
    fn on_caller(&mut self, _: Time, _: Caller) -> bool {
        true
    }
    fn on_bytes(&mut self, _: Time, caller: Caller, bytes: &[u8], calls: &mut Calls) {
        calls.send(caller, bytes);
    }
    fn on_closed(&mut self, _: Time, _: Caller) {}
    fn on_deadline(&mut self, _: Time, _: &mut Calls) {}
    fn deadline(&self) -> Option<Time> {
        None
    }
}

#[test]
fn time_goes_on_however_eager_they_are_and_costs_no_memory() {
    let mut shard = VirtualShard::new();
    let net = shard.listener("net");
    shard.add_server(net, None, Box::new(Quiet)).unwrap();
    let clients: Vec<_> = (0..3).map(|_| shard.call(net, Box::new(Eager { sent: 0 })).unwrap()).collect();
    shard.run_until(us(10_000));
    let before = allocator_calls();
    shard.run_until(Time(0) + Duration::from_secs(1));
    assert_eq!(allocator_calls() - before, 0);
    for client in &clients {
        let sent = shard.with_station(client, |eager: &mut Eager, _, _| eager.sent).unwrap();
        assert_eq!(sent, 10_000);
    }
}

#[test]
fn more_than_a_connection_holds_waits_and_arrives() {
    let (mut shard, diary) = (VirtualShard::new(), Diary::default());
    let net = shard.listener("net");
    let server = shard.add_server(net, None, Echo::boxed(&diary, 9)).unwrap();
    let a = shard.call(net, Client::boxed("a", &diary)).unwrap();
    read(&diary);
    let much = vec![b'x'; 20_000];
    shard
        .with_server(&server, |_: &mut Echo, _, calls| {
            calls.send(Caller(0), &much);
            calls.close(Caller(0));
        })
        .unwrap();
    let heard: usize = read(&diary).iter().map(|line| line.matches('x').count()).sum();
    assert_eq!(heard, 20_000);
    assert_eq!(a.port().snapshot().rx_bytes, 20_000);
    assert!(a.port().gone());
}
