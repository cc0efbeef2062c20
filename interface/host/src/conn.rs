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
