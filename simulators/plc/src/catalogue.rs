//! What the points of a model are, for those who look on: names and values of points in frames, without asking the
//! shard that owns them.

use std::collections::HashMap;

use hilrig_points::{Plant, Point, Table, Value};

use crate::words::Said;

/// The points of a plant by place.
#[derive(Debug, Default)]
pub struct Catalogue {
    points: Vec<Point>,
    /// Places in `points`, by address.
    by_place: HashMap<(u8, Table), Vec<usize>>,
}

impl Catalogue {
    pub fn new(plant: &Plant) -> Self {
        let points: Vec<Point> = plant.points().map(|(_, point)| point.clone()).collect();
        let mut by_place: HashMap<(u8, Table), Vec<usize>> = HashMap::new();
        for (i, point) in points.iter().enumerate() {
            by_place.entry((point.unit, point.table)).or_default().push(i);
        }
        for places in by_place.values_mut() {
            places.sort_by_key(|i| (points[*i].address, points[*i].bit));
        }
        Self { points, by_place }
    }

    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The points that what was said carries as a whole, with the values it gives them.
    pub fn values(&self, unit: u8, said: &Said) -> Vec<(&Point, Value)> {
        let Some(range) = said.range.filter(|_| !said.values.is_empty()) else { return vec![] };
        let Some(places) = self.by_place.get(&(unit, range.table)) else { return vec![] };
        let first = range.address;
        let end = u32::from(first) + said.values.len() as u32;
        let from = places.partition_point(|i| self.points[*i].address < first);
        let inside = places[from..].iter().map(|i| &self.points[*i]);
        inside
            .take_while(|p| u32::from(p.address) < end)
            .filter(|p| u32::from(p.address) + u32::from(p.cells) <= end)
            .filter_map(|p| {
                let at = usize::from(p.address - first);
                Some((p, p.decode(said.values.get(at..at + usize::from(p.cells))?)?))
            })
            .collect()
    }
}
