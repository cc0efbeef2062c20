//! One connection, whatever carries it: request lines in, reply lines and events out, in order. Reads no request
//! before the reply to the one before is written, so a peer that does not read costs one buffer, not more.

use std::io;
use std::pin::pin;
use std::time::Duration;

use hilrig_contract::{ContractError, ErrorCode, MAX_LINE};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use crate::dispatch::Session;
use crate::lines::{Lines, Piece};
use crate::{Dispatcher, Token, envelope};

/// A peer that takes no byte for this long is given up.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Output gathered before it is written, while there are more requests at hand.
const BATCH: usize = 32 << 10;

/// What a listener demands and allows.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Demanded as `token` in every request.
    pub token: Option<Token>,
    /// Accept `params.jobId` on `action.invoke`: only on a host process's own socket.
    pub job_ids: bool,
}

/// Why a connection ended.
#[derive(Debug)]
pub enum End {
    /// The client closed it.
    Eof,
    /// Its first line was not the contract's: HTTP, or far too long. Nothing was executed.
    Foreign,
    /// The client took nothing for [`WRITE_TIMEOUT`].
    Stalled,
    Io(io::Error),
    /// `stop` became true.
    Stopped,
}

/// Serves one connection until its end. When `stop` turns true, the request under way is answered first.
pub async fn serve_connection<R, W>(
    mut reader: R,
    writer: W,
    dispatcher: &Dispatcher,
    access: &Access,
    mut stop: watch::Receiver<bool>,
) -> End
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let session = Session::new(access.clone());
    let mut lines = Lines::default();
    let mut output = Writer { writer, pending: Vec::new() };
    let mut first = true;
    let mut eof = false;
    let end = loop {
        let piece = if eof { lines.last() } else { lines.next() };
        if let Some(piece) = piece {
            let outcome = match piece {
                Piece::Line(line) if envelope::trim(line).is_empty() => continue,
                Piece::Line(line) if first && looks_like_http(line) => break End::Foreign,
                Piece::TooLong(start) if first && !may_be_json(start) => break End::Foreign,
                Piece::Line(line) => answer(dispatcher, line, &session, &mut output).await,
                Piece::TooLong(_) => {
                    envelope::write_reply(&mut output.pending, None, &Err(too_long()));
                    Ok(())
                }
            };
            first = false;
            let full = output.pending.len() >= BATCH;
            if let Err(end) = outcome.and(if full { output.flush().await } else { Ok(()) }) {
                break end;
            }
            continue;
        }
        if let Err(end) = output.flush().await {
            break end;
        }
        if eof {
            break End::Eof;
        }
        tokio::select! {
            biased;
            read = reader.read_buf(lines.space()) => match read {
                Ok(0) => eof = true,
                Ok(_) => {}
                Err(e) => break End::Io(e),
            },
            () = output.event(&session) => {}
            _ = stop.wait_for(|stop| *stop) => break End::Stopped,
        }
    };
    if matches!(end, End::Eof | End::Stopped) {
        let _ = output.writer.shutdown().await;
    }
    end
}

/// Answers one line. While the answer takes its time, events go out.
async fn answer<W: AsyncWrite + Unpin>(
    dispatcher: &Dispatcher,
    line: &[u8],
    session: &Session,
    output: &mut Writer<W>,
) -> Result<(), End> {
    let mut reply = pin!(dispatcher.answer(line, session));
    loop {
        tokio::select! {
            biased;
            reply = &mut reply => {
                output.pending.extend_from_slice(&reply);
                return Ok(());
            }
            () = output.event(session) => output.flush().await?,
        }
    }
}

struct Writer<W> {
    writer: W,
    pending: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// Waits for an event and takes it and those behind it, up to a batch. Never ends without a subscription.
    async fn event(&mut self, session: &Session) {
        let Some(subscription) = session.subscription() else { return std::future::pending().await };
        let mut next = Some(subscription.next().await);
        while let Some(event) = next {
            event.write_line(&mut self.pending);
            next = if self.pending.len() < BATCH { subscription.try_next() } else { None };
        }
    }

    /// Writes all that is pending. Each step of it may take [`WRITE_TIMEOUT`].
    async fn flush(&mut self) -> Result<(), End> {
        let mut rest = self.pending.as_slice();
        if rest.is_empty() {
            return Ok(());
        }
        while !rest.is_empty() {
            match tokio::time::timeout(WRITE_TIMEOUT, self.writer.write(rest)).await {
                Err(_) => return Err(End::Stalled),
                Ok(Ok(0)) => return Err(End::Io(io::ErrorKind::WriteZero.into())),
                Ok(Ok(n)) => rest = &rest[n..],
                Ok(Err(e)) => return Err(End::Io(e)),
            }
        }
        self.pending.clear();
        self.pending.shrink_to(2 * BATCH);
        match tokio::time::timeout(WRITE_TIMEOUT, self.writer.flush()).await {
            Err(_) => Err(End::Stalled),
            Ok(flushed) => flushed.map_err(End::Io),
        }
    }
}

/// A web page can make a browser send a request whose body is one of ours; such a connection ends unread.
fn looks_like_http(line: &[u8]) -> bool {
    const METHODS: [&str; 10] =
        ["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI"];
    let line = line.trim_ascii();
    let word = line.split(|b| *b == b' ').next().unwrap_or_default();
    let known = word.len() < line.len() && METHODS.iter().any(|m| m.as_bytes() == word);
    let version = line.rsplit(|b| *b == b' ').next().unwrap_or_default();
    known || (!may_be_json(line) && version.len() < line.len() && version.starts_with(b"HTTP/"))
}

fn may_be_json(line: &[u8]) -> bool {
    matches!(envelope::trim(line).first(), Some(b'{' | b'['))
}

fn too_long() -> ContractError {
    ContractError::new(ErrorCode::BadArg, format!("the request line is longer than {MAX_LINE} bytes"))
        .with("reason", "lineTooLong")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, ReadHalf, WriteHalf, duplex, split};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::testing::{Bench, DEADLINE, code_of, reply_of};

    struct Client {
        reader: BufReader<ReadHalf<DuplexStream>>,
        writer: WriteHalf<DuplexStream>,
        served: JoinHandle<End>,
        stop: watch::Sender<bool>,
    }

    /// A connection with `room` bytes in each direction.
    fn connect(bench: &Bench, room: usize, access: Access) -> Client {
        let (near, far) = duplex(room);
        let (stop, stopped) = watch::channel(false);
        let dispatcher = Arc::clone(&bench.dispatcher);
        let served = tokio::spawn(async move {
            let (reader, writer) = split(far);
            serve_connection(reader, writer, &dispatcher, &access, stopped).await
        });
        let (reader, writer) = split(near);
        Client { reader: BufReader::new(reader), writer, served, stop }
    }

    impl Client {
        async fn send(&mut self, bytes: impl AsRef<[u8]>) {
            self.writer.write_all(bytes.as_ref()).await.unwrap();
        }

        /// The next line, `None` at the end.
        async fn line(&mut self) -> Option<Value> {
            let mut line = vec![];
            let read = self.reader.read_until(b'\n', &mut line);
            tokio::time::timeout(DEADLINE, read).await.unwrap().unwrap();
            (!line.is_empty()).then(|| serde_json::from_slice(&line).unwrap())
        }

        async fn reply(&mut self) -> Value {
            let line = self.line().await.expect("a reply");
            reply_of(format!("{line}\n").as_bytes())
        }

        async fn ping(&mut self, id: usize) {
            self.send(format!("{{\"id\":{id},\"method\":\"ping\"}}\n")).await;
            assert_eq!(self.reply().await["id"], id);
        }

        async fn end(self) -> End {
            tokio::time::timeout(DEADLINE, self.served).await.unwrap().unwrap()
        }
    }

    #[tokio::test]
    async fn malformed_lines_are_answered_and_the_connection_goes_on() {
        let bench = Bench::new();
        let mut client = connect(&bench, 4096, Access::default());
        for line in ["hello\n", "[]\r\n", "{\n", "\n \r\n\"x\"\n", "\u{0}\n"] {
            client.send(line).await;
            assert_eq!(code_of(&client.reply().await).0, "E_BAD_ARG");
            client.ping(7).await;
        }
    }

    #[tokio::test]
    async fn pipelined_requests_are_answered_in_order_through_a_narrow_pipe() {
        let bench = Bench::new();
        let client = connect(&bench, 64, Access::default());
        let mut requests = String::new();
        for id in 0..300 {
            let method = ["ping", "status.get", "no.such", "config.get"][id % 4];
            requests += &json!({"id": id, "method": method, "params": {"appId": "bridge"}}).to_string();
            requests += if id % 3 == 0 { "\r\n" } else { "\n" };
        }
        let Client { mut reader, mut writer, served, stop: _stop } = client;
        let sent = tokio::spawn(async move {
            writer.write_all(requests.as_bytes()).await.unwrap();
            writer.shutdown().await.unwrap();
            writer
        });
        for id in 0..300 {
            let mut line = vec![];
            reader.read_until(b'\n', &mut line).await.unwrap();
            assert_eq!(reply_of(&line)["id"], id);
        }
        let _writer = sent.await.unwrap();
        assert!(matches!(served.await.unwrap(), End::Eof));
    }

    #[tokio::test]
    async fn last_line_without_its_end_is_answered() {
        let bench = Bench::new();
        let mut client = connect(&bench, 4096, Access::default());
        client.send("{\"method\":\"ping\"}").await;
        client.writer.shutdown().await.unwrap();
        assert_eq!(client.reply().await["response"]["pong"], true);
        assert_eq!(client.line().await, None);
        assert!(matches!(client.end().await, End::Eof));
    }

    #[tokio::test]
    async fn overlong_line_is_answered_once_and_skipped() {
        let bench = Bench::new();
        let mut client = connect(&bench, 64 << 10, Access::default());
        client.send(format!("{{\"x\":\"{}\"", "a".repeat(3 * MAX_LINE))).await;
        assert_eq!(code_of(&client.reply().await).1["reason"], "lineTooLong");
        client.send("x\n").await;
        client.ping(1).await;
        client
            .send(format!("{{\"id\":2,\"method\":\"ping\",\"x\":\"{}\"}}\n", "a".repeat(MAX_LINE - 40)))
            .await;
        assert_eq!(client.reply().await["id"], 2);
    }

    #[tokio::test]
    async fn http_ends_the_connection_and_executes_nothing() {
        let bench = Bench::new();
        let body =
            json!({"method": "action.invoke", "params": {"appId": "bridge", "actionName": "run_start"}});
        for head in [
            "POST / HTTP/1.1".to_owned(),
            "\r\nGET /x HTTP/1.1".to_owned(),
            "BREW /x HTTP/1.1".to_owned(),
            "foo /x HTTP/1.1".to_owned(),
            "OPTIONS * HTTP/1.1".to_owned(),
            format!("POST /{} HTTP/1.1", "x".repeat(2 * MAX_LINE)),
        ] {
            let client = connect(&bench, 8 << 20, Access::default());
            let Client { mut reader, mut writer, served, stop: _stop } = client;
            let _ = writer.write_all(format!("{head}\r\nHost: x\r\n\r\n{body}\n").as_bytes()).await;
            let mut all = vec![];
            let _ = reader.read_to_end(&mut all).await;
            assert_eq!(all, b"");
            assert!(matches!(served.await.unwrap(), End::Foreign));
        }
        let jobs = bench.ok("action.job.list", json!({})).await;
        assert_eq!(jobs["jobs"], json!([]));
    }

    #[tokio::test]
    async fn a_token_is_demanded_in_every_request() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "0123456789abcdef\n").unwrap();
        let token = Token::from_file(file.path()).unwrap();
        let bench = Bench::new();
        let mut client = connect(&bench, 4096, Access { token: Some(token), job_ids: false });
        for token in
            ["", ",\"token\":\"0123456789abcdee\"", ",\"token\":\"0123456789abcdef0\"", ",\"token\":5"]
        {
            client.send(format!("{{\"id\":1,\"method\":\"ping\"{token}}}\n")).await;
            let reply = client.reply().await;
            assert_eq!((&reply["id"], &code_of(&reply).1["param"]), (&json!(1), &json!("token")));
        }
        client.send("{\"method\":\"ping\",\"token\":\"0123456789abcdef\"}\n").await;
        assert_eq!(client.reply().await["ok"], true);
    }

    #[tokio::test]
    async fn events_come_only_after_subscription_and_beside_replies() {
        let bench = Bench::new();
        let mut quiet = connect(&bench, 4096, Access::default());
        let mut client = connect(&bench, 4096, Access::default());
        client
            .send("{\"id\":1,\"method\":\"events.subscribe\",\"params\":{\"topics\":[\"job.changed\"]}}\n")
            .await;
        assert_eq!(client.reply().await["response"]["subscribed"], json!(["job.changed"]));
        let run = json!({"id": 2, "method": "action.run", "params":
            {"appId": "bridge", "actionName": "sleep", "args": {"seconds": 0.05}}});
        client.send(format!("{run}\n")).await;
        let (mut states, mut seq) = (vec![], 0);
        let reply = loop {
            let line = client.line().await.unwrap();
            if line.get("ok").is_some() {
                break line;
            }
            seq += 1;
            assert_eq!((&line["event"], &line["params"]["seq"]), (&json!("job.changed"), &json!(seq)));
            assert_eq!(line["params"]["dropped"], 0);
            states.push(line["params"]["state"].clone());
        };
        assert_eq!((&reply["id"], &reply["response"]["state"]), (&json!(2), &json!("succeeded")));
        assert_eq!(states[..2], [json!("queued"), json!("running")]);
        quiet.ping(1).await;
    }

    /// Neither the bus nor other connections wait for a subscriber that does not read, and it learns what it missed.
    #[tokio::test]
    async fn a_stalled_subscriber_costs_nothing() {
        let bench = Bench::new();
        let mut stalled = connect(&bench, 256, Access::default());
        stalled.send("{\"method\":\"events.subscribe\",\"params\":{\"topics\":[\"log\"]}}\n").await;
        stalled.reply().await;
        let mut other = connect(&bench, 4096, Access::default());
        for n in 0..2000u32 {
            let more = serde_json::Map::from_iter([("line".to_owned(), json!("x".repeat(500)))]);
            bench.dispatcher.bus().publish(hilrig_contract::Topic::Log, "bridge", more);
            if n % 100 == 0 {
                other.ping(n as usize).await;
            }
        }
        bench.dispatcher.bus().publish(hilrig_contract::Topic::Log, "40318", serde_json::Map::new());
        let last = loop {
            let event = stalled.line().await.unwrap();
            if event["params"]["appId"] == "40318" {
                break event;
            }
        };
        assert_eq!(last["params"]["seq"], 2001);
        assert!(last["params"]["dropped"].as_u64().unwrap() > 1500, "{last}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_reads_is_given_up() {
        let bench = Bench::new();
        let client = connect(&bench, 1024, Access::default());
        let Client { reader: _reader, mut writer, served, stop: _stop } = client;
        let flood = tokio::spawn(async move {
            let mut sent = 0u32;
            while sent < 20_000 && writer.write_all(b"{\"method\":\"ping\"}\n").await.is_ok() {
                sent += 1;
            }
            sent
        });
        assert!(matches!(served.await.unwrap(), End::Stalled));
        assert!(flood.await.unwrap() < 1000, "what it sent was not read either");
    }

    #[tokio::test]
    async fn stopping_ends_an_idle_connection() {
        let bench = Bench::new();
        let mut client = connect(&bench, 1024, Access::default());
        client.ping(1).await;
        client.stop.send(true).unwrap();
        assert_eq!(client.line().await, None);
        assert!(matches!(client.end().await, End::Stopped));
    }

    #[tokio::test]
    async fn job_ids_are_taken_only_where_allowed() {
        let bench = Bench::new();
        let id = "job-0123456789abcdef0123456789abcdef";
        let mut client = connect(&bench, 4096, Access { token: None, job_ids: true });
        let invoke = |id: &str| {
            let params = json!({"appId": "bridge", "actionName": "run_stop", "jobId": id});
            format!("{}\n", json!({"method": "action.invoke", "params": params}))
        };
        client.send(invoke(id)).await;
        assert_eq!(client.reply().await["response"]["jobId"], id);
        for bad in [id, "job-1", "../x"] {
            client.send(invoke(bad)).await;
            assert_eq!(code_of(&client.reply().await).1["param"], "jobId");
        }
    }
}
