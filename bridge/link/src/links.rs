//! A set of named links on one shard: opened all or none, reported as flat rows.

use std::sync::Arc;

use hilrig_port::{Link, LinkOptions, OpenPort, PortError, PortSnapshot, PortState, PortStats, PortUrl, Runtime, Shard};
use serde::Serialize;

/// One link to open.
#[derive(Debug, Clone)]
pub struct LinkSpec {
    pub name: String,
    pub a: PortUrl,
    pub b: PortUrl,
}

/// Why a link could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("link {link}: {source}")]
    Port {
        link: String,
        #[source]
        source: PortError,
    },
    #[error("{0}")]
    Shard(#[from] PortError),
    #[error(
        "link {link}: profile sim opens virtual ports only, and {port} may be a real line; set `profile` to lab or prod"
    )]
    RealPort { link: String, port: String },
}

/// Refuses ports that may be real lines, for runs of profile `sim`.
///
/// # Errors
/// The first link with such a port.
pub fn refuse_real_ports(links: &[LinkSpec]) -> Result<(), LinkError> {
    for link in links {
        if let Some(port) = [&link.a, &link.b].into_iter().find(|port| !port.is_virtual()) {
            return Err(LinkError::RealPort { link: link.name.clone(), port: port.to_string() });
        }
    }
    Ok(())
}

struct NamedLink {
    name: String,
    urls: [PortUrl; 2],
    far_ends: [Option<String>; 2],
    ports: [Arc<PortStats>; 2],
    link: Link,
}

/// Open links and the shard that carries them; dropping it closes everything.
pub struct LinkSet {
    links: Vec<NamedLink>,
    warnings: Vec<String>,
    shard: Shard,
}

impl LinkSet {
    /// Opens every port of every link, or none. `stop` ends the wait for a port that takes its time.
    ///
    /// # Errors
    /// The first port that could not be opened, by link and URL.
    pub fn open(specs: &[LinkSpec], runtime: &Runtime, stop: &dyn Fn() -> bool) -> Result<Self, LinkError> {
        let shard = Shard::start("bridge")?;
        let mut set = Self { links: Vec::with_capacity(specs.len()), warnings: Vec::new(), shard };
        for spec in specs {
            let in_link = |source| LinkError::Port { link: spec.name.clone(), source };
            let a = OpenPort::open(&spec.a, runtime, stop).map_err(in_link)?;
            let b = OpenPort::open(&spec.b, runtime, stop).map_err(in_link)?;
            let far_ends = [&a, &b].map(|p| p.far_end().map(|path| path.display().to_string()));
            for (port, url) in [(&a, &spec.a), (&b, &spec.b)] {
                set.warnings.extend(port.warnings().iter().map(|w| format!("{url}: {w}")));
            }
            let link = set.shard.add_link(a, b, LinkOptions::default())?;
            let ports = link.ports();
            set.links.push(NamedLink {
                name: spec.name.clone(),
                urls: [spec.a.clone(), spec.b.clone()],
                far_ends,
                ports,
                link,
            });
        }
        Ok(set)
    }

    /// What the ports could not grant.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Kernel id of the thread that carries the links.
    pub fn thread_id(&self) -> i32 {
        self.shard.thread_id()
    }

    /// One row a link and direction.
    pub fn rows(&self) -> Vec<LinkRow> {
        self.links.iter().flat_map(NamedLink::rows).collect()
    }

    /// One row a port.
    pub fn ports(&self) -> Vec<PortRow> {
        self.links.iter().flat_map(NamedLink::port_rows).collect()
    }

    /// How many ports are gone, and whether every link has lost one. Costs a few loads, so that who carries bytes in
    /// the foreground can look often.
    pub fn lost(&self) -> (usize, bool) {
        let lost = |link: &NamedLink| link.ports.iter().filter(|p| p.gone()).count();
        let counts = self.links.iter().map(lost);
        counts.fold((0, true), |(sum, all), n| (sum + n, all && n > 0))
    }

    /// A sentence on every port that is gone; empty when all is well.
    pub fn trouble(&self) -> String {
        let gone: Vec<String> = self
            .links
            .iter()
            .flat_map(|link| {
                link.ports.iter().zip(&link.urls).filter_map(|(port, url)| {
                    let port = port.snapshot();
                    (!port.reason.is_empty()).then(|| format!("port {url} is gone: {}", port.reason))
                })
            })
            .collect();
        gone.join("; ")
    }
}

impl std::fmt::Debug for LinkSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkSet").field("links", &self.links.len()).finish_non_exhaustive()
    }
}

impl NamedLink {
    fn rows(&self) -> [LinkRow; 2] {
        let stats = self.link.stats();
        [0, 1].map(|i| {
            let d = &stats.directions[i];
            let micros = |q: f64| d.latency.quantile(q).as_nanos() as f64 / 1000.0;
            LinkRow {
                link: self.name.clone(),
                from: self.urls[i].to_string(),
                to: self.urls[1 - i].to_string(),
                bytes_in: d.bytes_in,
                bytes_out: d.bytes_out,
                fault_bytes: d.fault_bytes,
                discarded_bytes: d.discarded_bytes,
                pending: d.pending,
                messages: d.messages,
                latency_p50_us: micros(0.5),
                latency_p99_us: micros(0.99),
                latency_max_us: d.latency.max().as_nanos() as f64 / 1000.0,
            }
        })
    }

    fn port_rows(&self) -> [PortRow; 2] {
        [0, 1].map(|i| {
            let PortSnapshot { state, reason, peer_open, baud, .. } = self.ports[i].snapshot();
            PortRow {
                link: self.name.clone(),
                side: ["a", "b"][i],
                url: self.urls[i].to_string(),
                far_end: self.far_ends[i].clone().unwrap_or_default(),
                state: match state {
                    PortState::Open => "open",
                    PortState::Waiting => "waiting",
                    PortState::Lost => "lost",
                },
                peer_open,
                baud,
                reason,
            }
        })
    }
}

/// Traffic of one direction of a link. Always: `bytesIn = bytesOut + faultBytes + discardedBytes + pending`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkRow {
    pub link: String,
    pub from: String,
    pub to: String,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Taken out by a fault that was asked for.
    pub fault_bytes: u64,
    /// Dropped because nobody was at the far end.
    pub discarded_bytes: u64,
    pub pending: u64,
    /// Reads from the line; each is written on at once.
    pub messages: u64,
    pub latency_p50_us: f64,
    pub latency_p99_us: f64,
    pub latency_max_us: f64,
}

/// One port of a link.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortRow {
    pub link: String,
    pub side: &'static str,
    pub url: String,
    /// What others open, for a virtual port; else `""`.
    pub far_end: String,
    pub state: &'static str,
    /// Somebody is at the far end.
    pub peer_open: bool,
    /// As the application at the far end set it, where that can be seen.
    pub baud: u32,
    pub reason: String,
}
