//! Where the bytes of a bench have gone: what each link counted, and what is missing between two that should agree.

use hilrig_port::PortSnapshot;

use super::Bench;
use crate::hall::{Hall, Joined};
use crate::plan::Seat;
use crate::report::BytesResult;

impl<H: Hall> Bench<'_, H> {
    /// Bytes that vanished other than by a fault, in words per place; on one link, or everywhere. Exact once the
    /// masters are idle.
    pub fn lost(&self, only: Option<usize>) -> (u64, String) {
        let mut total = 0;
        let mut places = Vec::new();
        let mut add = |n: u64, what: String| {
            if n > 0 {
                total += n;
                places.push(format!("{n} {what}"));
            }
        };
        let wanted = |seat: Seat| only.is_none_or(|l| self.plan.links[l].ends.contains(&seat));
        for (l, link) in self.links.iter().enumerate() {
            if only.is_none_or(|only| only == l) {
                self.lost_inside(&self.plan.links[l].name, link, &mut add);
            }
        }
        for (pair, port) in self.pairs.iter().zip(&self.plan.ports) {
            if let (Some(link), None) = (pair, only) {
                self.lost_inside(&format!("pair {}", port.name), link, &mut add);
            }
        }
        // What the one put on a pair is what the pair saw, and the other way round.
        for (seat, stats) in self.seats().into_iter().filter(|(seat, _)| wanted(*seat)) {
            let Some(pair) = &self.pairs[seat.port] else { continue };
            let (user, wire): (PortSnapshot, _) = (stats.snapshot(), pair.ports()[seat.end].snapshot());
            let name = self.plan.seat_name(seat);
            add(
                user.tx_bytes.abs_diff(wire.rx_bytes),
                format!("between what was sent on {name} and its wire"),
            );
            add(wire.tx_bytes.abs_diff(user.rx_bytes), format!("between the wire and what came from {name}"));
        }
        (total, places.join("; "))
    }

    fn lost_inside(&self, name: &str, link: &H::Link, add: &mut dyn FnMut(u64, String)) {
        let stats = link.stats();
        for d in &stats.directions {
            add(d.discarded_bytes, format!("on {name} for a far end that nobody had open"));
            add(d.pending, format!("stuck on {name}"));
            let known = d.bytes_out + d.fault_bytes + d.discarded_bytes + d.pending;
            add((d.bytes_in + d.inserted_bytes).abs_diff(known), format!("on {name} without a trace"));
        }
    }

    pub fn bytes(&self) -> Vec<BytesResult> {
        let mut rows = Vec::new();
        let mut add = |name: String, ends: [String; 2], link: &H::Link| {
            for (i, d) in link.stats().directions.iter().enumerate() {
                rows.push(BytesResult {
                    link: name.clone(),
                    from: ends[i].clone(),
                    to: ends[1 - i].clone(),
                    bytes_in: d.bytes_in,
                    bytes_out: d.bytes_out,
                    inserted_bytes: d.inserted_bytes,
                    fault_bytes: d.fault_bytes,
                    discarded_bytes: d.discarded_bytes,
                    pending: d.pending,
                });
            }
        };
        for (plan, link) in self.plan.links.iter().zip(&self.links) {
            add(format!("link {}", plan.name), plan.ends.map(|seat| self.plan.seat_name(seat)), link);
        }
        for (port, link) in self.pairs.iter().enumerate().filter_map(|(i, l)| Some((i, l.as_ref()?))) {
            let ends = [0, 1].map(|end| self.plan.seat_name(Seat { port, end }));
            add(format!("pair {}", self.plan.ports[port].name), ends, link);
        }
        rows
    }
}
