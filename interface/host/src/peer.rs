//! The asking side of the contract on one connection: pipelined requests, replies matched to them, events handed
//! on. Believes nothing the other side says about shape or size, and never waits for whoever takes the events.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hilrig_contract::{ContractError, ErrorCode};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot, watch};

/// Longest line taken from a third-party app: a job record with both outputs full, every byte of them escaped.
pub(crate) const REPLY_OF_STRANGER: usize = 8 << 20;
/// Longest line taken from a host process: its list of jobs with all their results.
pub(crate) const REPLY_OF_HOST: usize = 64 << 20;
/// Most requests under way, the ones given up included.
const MAX_PENDING: usize = 4096;
/// Events waiting to be taken; what comes on top is lost and counted.
const EVENT_QUEUE: usize = 4096;
/// Time to read what is left after a write failed.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Longest part of a line shown to people.
const SHOWN: usize = 200;

/// A connection to something that speaks the contract. Clones share it; the last one dropped closes it.
#[derive(Debug, Clone)]
pub struct Peer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    reader: tokio::task::AbortHandle,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Why the connection is over, once it is.
    closed: watch::Sender<Option<String>>,
}

#[derive(Debug, Default)]
struct State {
    pending: VecDeque<Pending>,
    next_id: u64,
    /// `None` once the connection is over.
    lines: Option<mpsc::UnboundedSender<Vec<u8>>>,
}

#[derive(Debug)]
struct Pending {
    id: String,
    reply: oneshot::Sender<Result<Value, PeerError>>,
}

/// What the other side sends unasked.
#[derive(Debug, Clone)]
pub enum Unasked {
    Event {
        topic: String,
        params: Map<String, Value>,
    },
    /// A line that is not of the contract, shortened.
    Noise(String),
    /// So many were lost here because nobody took them.
    Lost(u64),
}

/// Why a request has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PeerError {
    /// The other side refused.
    #[error("{0}")]
    Refused(ContractError),
    #[error("{method} was not answered within {} ms", deadline.as_millis())]
    Deadline { method: String, deadline: Duration },
    /// The connection is over.
    #[error("{0}")]
    Closed(String),
    /// The answer is not what the contract says.
    #[error("the answer to {method} is not of the contract: {why}")]
    Malformed { method: String, why: String },
}

impl Peer {
    /// Speaks the contract over `reader` and `writer`; needs a tokio runtime. A line longer than `max_line` ends the
    /// connection. The receiver gets what comes unasked and ends after the connection did.
    pub fn start(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        max_line: usize,
    ) -> (Self, mpsc::Receiver<Unasked>) {
        let (lines, from_requests) = mpsc::unbounded_channel();
        let (unasked, to_owner) = mpsc::channel(EVENT_QUEUE);
        let state = State { lines: Some(lines), ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), closed: watch::Sender::new(None) });
        tokio::spawn(write(writer, from_requests, Arc::clone(&shared)));
        let reading = tokio::spawn(read(reader, max_line, unasked, Arc::clone(&shared)));
        (Self(Arc::new(Inner { shared, reader: reading.abort_handle() })), to_owner)
    }

    /// Asks and waits for the answer, at most `deadline`. An answer that comes later is dropped.
    ///
    /// # Errors
    /// The other side refused, did not answer in time, or is gone.
    pub async fn request(
        &self,
        method: &str,
        params: Map<String, Value>,
        deadline: Duration,
    ) -> Result<Value, PeerError> {
        let answer = self.0.shared.send(method, params)?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(Err(PeerError::Malformed { why, .. }))) => {
                Err(PeerError::Malformed { method: method.to_owned(), why })
            }
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(PeerError::Closed(self.0.shared.reason())),
            Err(_) => Err(PeerError::Deadline { method: method.to_owned(), deadline }),
        }
    }

    /// Like [`Peer::request`], with the answer as a `T`.
    ///
    /// # Errors
    /// As [`Peer::request`], and the answer is not a `T`.
    pub async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        method: &str,
        params: Map<String, Value>,
        deadline: Duration,
    ) -> Result<T, PeerError> {
        let answer = self.request(method, params, deadline).await?;
        serde_json::from_value(answer)
            .map_err(|e| PeerError::Malformed { method: method.to_owned(), why: e.to_string() })
    }

    /// Waits until the connection is over and says why.
    pub async fn closed(&self) -> String {
        let mut closed = self.0.shared.closed.subscribe();
        // The sender lives as long as `self`, so this only ends with a reason.
        let _ = closed.wait_for(Option::is_some).await;
        self.0.shared.reason()
    }

    /// Whether the connection is over.
    pub fn is_closed(&self) -> bool {
        self.0.shared.closed.borrow().is_some()
    }

    /// Ends the sending direction: the other side sees the end of its input and may still answer.
    pub fn finish(&self) {
        self.0.shared.lock().lines = None;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.reader.abort();
        self.shared.close("the connection was given up");
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reason(&self) -> String {
        self.closed.borrow().clone().unwrap_or_else(|| "the connection is closing".to_owned())
    }

    /// Queues a request. Under the lock, so that requests wait in the order in which they are sent.
    fn send(
        &self,
        method: &str,
        params: Map<String, Value>,
    ) -> Result<oneshot::Receiver<Result<Value, PeerError>>, PeerError> {
        let mut state = self.lock();
        if state.pending.len() >= MAX_PENDING {
            return Err(PeerError::Closed(format!("{MAX_PENDING} requests wait for an answer already")));
        }
        state.next_id += 1;
        let id = format!("r{}", state.next_id);
        let mut line = json!({"id": id, "method": method, "params": params}).to_string().into_bytes();
        line.push(b'\n');
        let sent = state.lines.as_ref().is_some_and(|lines| lines.send(line).is_ok());
        if !sent {
            drop(state);
            return Err(PeerError::Closed(self.reason()));
        }
        let (reply, answer) = oneshot::channel();
        state.pending.push_back(Pending { id, reply });
        Ok(answer)
    }

    /// Ends every request under way; the first reason stays.
    fn close(&self, reason: &str) {
        self.closed.send_if_modified(|closed| {
            let first = closed.is_none();
            closed.get_or_insert_with(|| reason.to_owned());
            first
        });
        let pending = {
            let mut state = self.lock();
            state.lines = None;
            std::mem::take(&mut state.pending)
        };
        let reason = self.reason();
        for request in pending {
            let _ = request.reply.send(Err(PeerError::Closed(reason.clone())));
        }
    }

    /// Hands a reply to its request: by its id, or, of a program that echoes none, to the oldest one, since
    /// replies come in order.
    fn settle(&self, mut reply: Map<String, Value>) -> Result<(), &'static str> {
        let answer = match (reply.remove("ok"), reply.remove("response"), reply.remove("error")) {
            (Some(Value::Bool(true)), Some(response), _) => Ok(response),
            (Some(Value::Bool(false)), _, Some(error)) => Err(PeerError::Refused(refusal(error))),
            _ => Err(PeerError::Malformed {
                method: String::new(),
                why: "neither ok with a response nor not ok with an error".to_owned(),
            }),
        };
        let mut state = self.lock();
        let at = match reply.get("id") {
            None | Some(Value::Null) => 0,
            Some(id) => state
                .pending
                .iter()
                .position(|p| id.as_str() == Some(&p.id))
                .ok_or("a reply to no request of ours")?,
        };
        let request = state.pending.remove(at).ok_or("a reply without a request")?;
        drop(state);
        let _ = request.reply.send(answer);
        Ok(())
    }
}

/// Reads the error object of a refusal; what is not of the contract becomes `E_INTERNAL`.
fn refusal(error: Value) -> ContractError {
    serde_json::from_value(error.clone()).unwrap_or_else(|_| {
        let text = |key| error.get(key).and_then(Value::as_str).map(shorten);
        let message = text("message").unwrap_or_else(|| shorten(&error.to_string()));
        ContractError::new(ErrorCode::Internal, message).with("code", text("code"))
    })
}

async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut lines: mpsc::UnboundedReceiver<Vec<u8>>,
    shared: Arc<Shared>,
) {
    while let Some(line) = lines.recv().await {
        let mut sent = writer.write_all(&line).await;
        if sent.is_ok() && lines.is_empty() {
            sent = writer.flush().await;
        }
        if let Err(error) = sent {
            // What the other side said before it closed is still to be read, and its end says more than ours.
            tokio::time::sleep(LAST_WORDS).await;
            shared.close(&format!("the connection broke: {error}"));
            return;
        }
    }
    let _ = writer.shutdown().await;
}

async fn read(
    reader: impl AsyncRead + Unpin,
    max_line: usize,
    unasked: mpsc::Sender<Unasked>,
    shared: Arc<Shared>,
) {
    let mut reader = BufReader::with_capacity(64 << 10, reader);
    let mut line = Vec::new();
    let mut lost = 0;
    let reason = loop {
        line.clear();
        match read_line(&mut reader, &mut line, max_line).await {
            Ok(true) => {}
            Ok(false) => break "the other side closed the connection".to_owned(),
            Err(reason) => break reason,
        }
        let news = match serde_json::from_slice(&line) {
            Ok(Value::Object(mut message)) if !message.contains_key("ok") => {
                match (message.remove("event"), message.remove("params")) {
                    (Some(Value::String(topic)), Some(Value::Object(params))) => {
                        Some(Unasked::Event { topic, params })
                    }
                    _ => Some(Unasked::Noise(shorten(&String::from_utf8_lossy(&line)))),
                }
            }
            Ok(Value::Object(reply)) => shared.settle(reply).err().map(|why| Unasked::Noise(why.to_owned())),
            _ if line.iter().all(u8::is_ascii_whitespace) => None,
            _ => Some(Unasked::Noise(shorten(&String::from_utf8_lossy(&line)))),
        };
        let Some(news) = news else { continue };
        if lost > 0 && unasked.try_send(Unasked::Lost(lost)).is_ok() {
            lost = 0;
        }
        lost += u64::from(unasked.try_send(news).is_err());
    };
    shared.close(&reason);
}

/// Reads one line without its end into `line`. `false` at the end of the stream.
async fn read_line(
    reader: &mut (impl AsyncBufReadExt + Unpin),
    line: &mut Vec<u8>,
    max_line: usize,
) -> Result<bool, String> {
    loop {
        let part = reader.fill_buf().await.map_err(|e| format!("the connection broke: {e}"))?;
        if part.is_empty() {
            return Ok(!line.is_empty());
        }
        let end = part.iter().position(|b| *b == b'\n');
        let take = end.unwrap_or(part.len());
        if line.len() + take > max_line {
            return Err(format!("the other side sent a line longer than {} MiB", max_line >> 20));
        }
        line.extend_from_slice(&part[..take]);
        reader.consume(take + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// Fits text of the other side into one readable line of a message.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, DuplexStream};

    const LONG: Duration = Duration::from_secs(20);

    fn start() -> (Peer, mpsc::Receiver<Unasked>, BufReader<DuplexStream>) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (reader, writer) = tokio::io::split(ours);
        let (peer, unasked) = Peer::start(reader, writer, REPLY_OF_STRANGER);
        (peer, unasked, BufReader::new(theirs))
    }

    async fn request(theirs: &mut BufReader<DuplexStream>) -> Value {
        let mut line = Vec::new();
        assert!(read_line(theirs, &mut line, REPLY_OF_STRANGER).await.unwrap());
        serde_json::from_slice(&line).unwrap()
    }

    async fn say(theirs: &mut BufReader<DuplexStream>, line: &str) {
        theirs.get_mut().write_all(line.as_bytes()).await.unwrap();
        theirs.get_mut().write_all(b"\n").await.unwrap();
    }

    #[tokio::test]
    async fn replies_find_their_requests_in_any_order() {
        let (peer, _unasked, mut theirs) = start();
        let ask = |method: &'static str| {
            let peer = peer.clone();
            async move { peer.request(method, Map::new(), LONG).await.unwrap() }
        };
        let other_side = async {
            let (one, two) = (request(&mut theirs).await, request(&mut theirs).await);
            for asked in [two, one] {
                let reply = json!({"id": asked["id"], "ok": true, "response": asked["method"]});
                say(&mut theirs, &reply.to_string()).await;
            }
        };
        let (a, b, ()) = tokio::join!(ask("a"), ask("b"), other_side);
        assert_eq!((a, b), (json!("a"), json!("b")));
    }

    #[tokio::test]
    async fn without_ids_replies_come_in_order_even_after_a_deadline() {
        let (peer, _unasked, mut theirs) = start();
        let late = peer.request("late", Map::new(), Duration::from_millis(1)).await.unwrap_err();
        assert!(matches!(late, PeerError::Deadline { .. }), "{late}");
        let other_side = async {
            let (_, _) = (request(&mut theirs).await, request(&mut theirs).await);
            say(&mut theirs, r#"{"ok":true,"response":"late"}"#).await;
            say(&mut theirs, r#"{"ok":true,"response":"now"}"#).await;
        };
        let (now, ()) = tokio::join!(peer.request("now", Map::new(), LONG), other_side);
        assert_eq!(now.unwrap(), json!("now"));
    }

    #[tokio::test]
    async fn the_end_of_the_stream_ends_what_waits() {
        let (peer, mut unasked, theirs) = start();
        let (answer, ()) =
            tokio::join!(peer.request("status.get", Map::new(), LONG), async move { drop(theirs) });
        assert!(answer.unwrap_err().to_string().contains("closed the connection"));
        assert!(peer.closed().await.contains("closed the connection"));
        assert!(unasked.recv().await.is_none());
        let after = peer.request("ping", Map::new(), LONG).await.unwrap_err();
        assert!(matches!(after, PeerError::Closed(_)), "{after}");
    }

    #[tokio::test]
    async fn refusals_events_and_noise() {
        let (peer, mut unasked, mut theirs) = start();
        let other_side = async {
            request(&mut theirs).await;
            say(&mut theirs, "Starting up...").await;
            say(&mut theirs, "").await;
            say(&mut theirs, r#"{"event":"log","params":{"appId":"x","line":"hello"}}"#).await;
            say(&mut theirs, r#"{"id":"zzz","ok":true,"response":{}}"#).await;
            say(&mut theirs, r#"{"id":"r1","ok":false,"error":{"code":"weird","message":"no way"}}"#).await;
        };
        let (answer, ()) = tokio::join!(peer.request("x", Map::new(), LONG), other_side);
        let PeerError::Refused(error) = answer.unwrap_err() else { panic!("not refused") };
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::Internal, "no way"));
        assert!(matches!(unasked.recv().await, Some(Unasked::Noise(line)) if line == "Starting up..."));
        let Some(Unasked::Event { topic, params }) = unasked.recv().await else { panic!("no event") };
        assert_eq!((topic.as_str(), &params["line"]), ("log", &json!("hello")));
        assert!(matches!(unasked.recv().await, Some(Unasked::Noise(_))));
    }

    #[tokio::test]
    async fn answers_that_are_not_of_the_contract_are_errors() {
        let (peer, _unasked, mut theirs) = start();
        for reply in [r#"{"id":"r1","ok":true}"#, r#"{"id":"r2","ok":"yes","response":{}}"#] {
            let (answer, _) = tokio::join!(peer.request("x", Map::new(), LONG), say(&mut theirs, reply));
            assert!(matches!(answer, Err(PeerError::Malformed { .. })), "{answer:?}");
        }
        let typed = async {
            say(&mut theirs, r#"{"id":"r3","ok":true,"response":7}"#).await;
        };
        let (answer, ()) = tokio::join!(peer.ask::<String>("x", Map::new(), LONG), typed);
        assert!(matches!(answer, Err(PeerError::Malformed { .. })), "{answer:?}");
    }

    #[tokio::test]
    async fn an_endless_line_ends_the_connection_in_bounded_memory() {
        let (peer, _unasked, mut theirs) = start();
        let flood = async {
            let block = vec![b'x'; 1 << 16];
            while theirs.get_mut().write_all(&block).await.is_ok() {}
        };
        let (reason, ()) = tokio::join!(
            async {
                let reason = peer.closed().await;
                drop(peer);
                reason
            },
            flood
        );
        assert!(reason.contains("longer than 8 MiB"), "{reason}");
    }

    #[tokio::test]
    async fn finishing_shows_the_other_side_its_end() {
        let (peer, _unasked, mut theirs) = start();
        peer.finish();
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
        assert!(peer.request("ping", Map::new(), LONG).await.is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_end_in_an_answer_or_an_error(
            bytes in proptest::collection::vec(
                proptest::prop_oneof![
                    proptest::strategy::Just(b"{\"ok\":true,\"response\":{}}\n".to_vec()),
                    proptest::strategy::Just(b"{\"id\":\"r1\",\"ok\":false,\"error\":5}\n".to_vec()),
                    proptest::strategy::Just(b"{\"event\":\"log\",\"params\":{}}\n".to_vec()),
                    proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
                ],
                0..8,
            )
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (peer, mut unasked, mut theirs) = start();
                let other_side = async move {
                    theirs.get_mut().write_all(&bytes.concat()).await.unwrap();
                };
                let (answer, ()) = tokio::join!(peer.request("x", Map::new(), LONG), other_side);
                assert!(!matches!(answer, Err(PeerError::Deadline { .. })), "{answer:?}");
                while unasked.recv().await.is_some() {}
            });
        }
    }
}
