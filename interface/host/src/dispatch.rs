//! From a request line to its reply line, over a list of apps. Holds the order of the checks and the method table's
//! meaning; no transport, and no logic of an app.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use hilrig_contract::{ActionList, ContractError, ErrorCode, JobRecord, Topic};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::conn::Access;
use crate::describe::{AppList, JobList, Subscribed, Unsubscribed, describe, ping};
use crate::envelope::{self, Envelope};
use crate::methods::{Params, find};
use crate::{Backend, Bus, Invoke, Subscription};

/// How long `action.run` waits for a `job.changed` before it looks itself.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A response as JSON.
type Response = Result<Vec<u8>, ContractError>;

/// One per process: the method table over the apps.
pub struct Dispatcher {
    backends: Vec<Arc<dyn Backend>>,
    bus: Arc<Bus>,
    ping: Vec<u8>,
    describe: OnceLock<Vec<u8>>,
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let apps: Vec<&str> = self.backends.iter().map(|b| b.id()).collect();
        f.debug_struct("Dispatcher").field("apps", &apps).finish_non_exhaustive()
    }
}

/// What one connection has by itself.
#[derive(Debug, Default)]
pub struct Session {
    access: Access,
    subscription: OnceLock<Subscription>,
}

impl Session {
    pub fn new(access: Access) -> Self {
        Self { access, subscription: OnceLock::new() }
    }

    /// The connection's events, once it has subscribed.
    pub fn subscription(&self) -> Option<&Subscription> {
        self.subscription.get()
    }
}

impl Dispatcher {
    /// `backends` in the order of `app.list`.
    pub fn new(backends: Vec<Arc<dyn Backend>>, bus: Arc<Bus>) -> Arc<Self> {
        let ping = serde_json::to_vec(&ping()).unwrap_or_default();
        Arc::new(Self { backends, bus, ping, describe: OnceLock::new() })
    }

    pub fn bus(&self) -> &Arc<Bus> {
        &self.bus
    }

    pub fn backends(&self) -> &[Arc<dyn Backend>] {
        &self.backends
    }

    /// Answers one line, which must not be blank, with one line and its LF.
    pub async fn answer(&self, line: &[u8], session: &Session) -> Vec<u8> {
        let mut reply = Vec::with_capacity(512);
        match envelope::parse(envelope::trim(line)) {
            Ok(envelope) => {
                let outcome = unwound(self.respond(&envelope, session)).await;
                envelope::write_reply(&mut reply, envelope.id, &outcome);
            }
            Err(error) => envelope::write_reply(&mut reply, None, &Err(error)),
        }
        reply
    }

    async fn respond(&self, envelope: &Envelope<'_>, session: &Session) -> Response {
        if let Some(token) = &session.access.token
            && !envelope.token().is_some_and(|given| token.matches(&given))
        {
            return Err(ContractError::new(
                ErrorCode::BadArg,
                "this listener needs its token: the content of its token file as `token` beside `method`",
            )
            .with("param", "token")
            .with("reason", "token"));
        }
        envelope.check_version()?;
        let method = envelope.method()?;
        let given = envelope.params()?;
        self.call(&method, given, session).await
    }

    /// Carries out one method. `params` are as in the envelope.
    ///
    /// # Errors
    /// As the contract says.
    pub async fn call(&self, method: &str, params: Map<String, Value>, session: &Session) -> Response {
        let method = find(method)?;
        let mut params = Params::check(method, params)?;
        let app = match params.text("appId") {
            Some(id) if method.params.iter().any(|p| p.name == "appId") => Some(self.backend(id)?),
            _ => None,
        };
        // Present for every method whose table demands it.
        let one =
            || app.ok_or_else(|| ContractError::bad_param("appId", "missing required key: params.appId"));
        match method.name {
            "ping" => Ok(self.ping.clone()),
            "interface.describe" => Ok(self.describe.get_or_init(|| describe(&instance())).clone()),
            "app.list" => {
                // All at once: one that does not answer must not add up with the next.
                let ask = |backend: Arc<dyn Backend>| tokio::spawn(async move { backend.info().await });
                let asked: Vec<_> = self.backends.iter().cloned().map(ask).collect();
                let mut apps = Vec::with_capacity(asked.len());
                for answer in asked {
                    let defect = |e| ContractError::internal(format!("defect: {e}"));
                    apps.push(answer.await.map_err(defect)??);
                }
                json(&AppList { apps })
            }
            "status.get" => json(&one()?.status().await?),
            "config.get" => json(&one()?.config_get().await?),
            "config.set" => {
                let (key, value) = (params.need("key"), params.value("value"));
                json(&one()?.config_set(key, value, params.text("expectedRevision")).await?)
            }
            "action.list" => json(&ActionList { actions: one()?.action_list().await? }),
            "action.invoke" => {
                let invoke = invocation(&mut params, session)?;
                json(&one()?.invoke(invoke).await?)
            }
            "action.run" => {
                let invoke = invocation(&mut params, session)?;
                json(&self.run(one()?.as_ref(), invoke).await?)
            }
            "action.job.get" => json(&one()?.job_get(params.need("jobId")).await?),
            "action.job.cancel" => json(&one()?.job_cancel(params.need("jobId")).await?),
            "action.job.list" => {
                let mut jobs = vec![];
                for backend in self.backends.iter().filter(|b| app.is_none_or(|app| app.id() == b.id())) {
                    jobs.extend(backend.job_list().await?);
                }
                json(&JobList { jobs })
            }
            "events.subscribe" => {
                let subscription = session.subscription.get_or_init(|| self.bus.subscriber());
                let topics = topics(&params).unwrap_or_default();
                topics.iter().for_each(|topic| subscription.add(*topic, params.text("appId")));
                json(&Subscribed { subscribed: topics })
            }
            "events.unsubscribe" => {
                let topics = topics(&params).unwrap_or_else(|| Topic::ALL.to_vec());
                if let Some(subscription) = session.subscription() {
                    topics.iter().for_each(|topic| subscription.remove(*topic, params.text("appId")));
                }
                json(&Unsubscribed { unsubscribed: topics })
            }
            "log.tail" => json(&one()?.log_tail(params.tail_lines()?, params.text("cursor")).await?),
            other => Err(ContractError::internal(format!("{other} is in the table but not served"))),
        }
    }

    fn backend(&self, app_id: &str) -> Result<&Arc<dyn Backend>, ContractError> {
        self.backends.iter().find(|b| b.id() == app_id).ok_or_else(|| {
            let known: Vec<&str> = self.backends.iter().map(|b| b.id()).collect();
            let shown: String = app_id.chars().take(100).collect();
            ContractError::new(
                ErrorCode::UnsupportedApp,
                format!("no app {shown:?}; there are {}", known.join(", ")),
            )
            .with("appId", shown)
        })
    }

    /// Invokes and waits until the job is over.
    async fn run(&self, app: &dyn Backend, invoke: Invoke) -> Result<JobRecord, ContractError> {
        let changes = self.bus.subscriber();
        changes.add(Topic::JobChanged, Some(app.id()));
        let job_id = app.invoke(invoke).await?.job_id;
        loop {
            let record = app.job_get(&job_id).await?;
            if record.state.is_terminal() {
                return Ok(record);
            }
            let _ = tokio::time::timeout(LOOK_AGAIN, changes.next()).await;
        }
    }
}

fn invocation(params: &mut Params, session: &Session) -> Result<Invoke, ContractError> {
    Ok(Invoke {
        action: params.need("actionName").to_owned(),
        timeout_seconds: params.timeout_seconds()?,
        job_id: params.text("jobId").filter(|_| session.access.job_ids).map(str::to_owned),
        args: params.take_object("args"),
    })
}

/// The known ones of `topics`, each once.
fn topics(params: &Params) -> Option<Vec<Topic>> {
    let mut known = vec![];
    for topic in params.strings("topics")?.into_iter().filter_map(Topic::parse) {
        if !known.contains(&topic) {
            known.push(topic);
        }
    }
    Some(known)
}

fn json(value: &impl Serialize) -> Response {
    serde_json::to_vec(value).map_err(|e| ContractError::internal(format!("the answer is no JSON: {e}")))
}

/// Told by `interface.describe`: a client that sees another one talks to another life of the server.
fn instance() -> String {
    let mut bytes = [0u8; 8];
    // Without randomness the process id still tells lives apart that a client can see one after the other.
    let random = getrandom::fill(&mut bytes).map(|()| u64::from_ne_bytes(bytes)).unwrap_or_default();
    format!("{}-{random:016x}", std::process::id())
}

/// A defect in an app costs its caller an `E_INTERNAL`, not the connection.
async fn unwound(work: impl Future<Output = Response>) -> Response {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))).unwrap_or_else(|panic| {
            Poll::Ready(Err(
                ContractError::internal(format!("defect: {}", panic_text(&*panic))).with("reason", "panic")
            ))
        })
    })
    .await
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
