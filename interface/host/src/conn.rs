//! stub
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::{Dispatcher, listen::Token};

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
    /// Its first line looked like HTTP.
    Http,
    /// It did not read for 30 s, or its socket failed.
    Stalled,
    Io(std::io::Error),
    /// `stop` became true.
    Stopped,
}

/// Serves one connection until its end. `stop`: finish the request under way, flush, and end when it turns true.
pub async fn serve_connection<R, W>(
    _reader: R,
    _writer: W,
    _dispatcher: &Dispatcher,
    _access: &Access,
    _stop: watch::Receiver<bool>,
) -> End
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    unimplemented!()
}
