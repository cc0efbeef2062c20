//! What an exchange says in terms of points, for people. Allocates, so it is for whoever shows frames, not for a shard.

use hilrig_points::{Plant, Point, Value};

use crate::learn::{Span, spans, value};
use crate::reply::{Reply, match_reply};

/// Name and value of each point that a request PDU wrote or that the reply PDU to it tells, in the order of their
/// ids. `plant` says how the points of the unit lie; its values are not touched.
pub fn decode(plant: &Plant, unit: u8, request: &[u8], reply: &[u8]) -> Vec<(String, Value)> {
    let Reply::Done(data) = match_reply(request, reply) else { return vec![] };
    let (read, written) = spans(request);
    // Masks and the one coil of function 5 do not lie as a write of many lies.
    let written = written.filter(|_| !matches!(request.first(), Some(22)));
    let on = [u8::from(request.get(3).is_some_and(|on| *on != 0))];
    let written =
        written.map(|(span, data)| (span, if request.first() == Some(&5) { &on[..] } else { data }));
    let told = |point: &Point| {
        let of = |span: Span, data: &[u8]| {
            let offset = point.address.checked_sub(span.first).filter(|_| point.table == span.table)?;
            let cells = usize::from(offset)..usize::from(offset) + usize::from(point.cells);
            if cells.end > usize::from(span.count) {
                return None;
            }
            let cells: Option<Vec<u16>> = cells.map(|i| value(span.table, data, i)).collect();
            point.decode(&cells?)
        };
        let value = read.and_then(|span| of(span, data));
        Some((point.name.clone(), value.or_else(|| written.and_then(|(span, data)| of(span, data)))?))
    };
    plant.points().filter(|(_, point)| point.unit == unit).filter_map(|(_, point)| told(point)).collect()
}
