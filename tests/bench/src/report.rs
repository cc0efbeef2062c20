//! Figures: quantiles, tables with aligned columns, floors with PASS or MISS. It knows no benchmark.

use serde_json::{Value, json};

/// The sample at a fraction of the sorted samples (nearest rank); NaN without samples.
pub fn quantile(samples: &[f64], fraction: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (fraction * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank.min(sorted.len()).wrapping_sub(1)).copied().unwrap_or(f64::NAN)
}

pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// One measured quantity over the rounds of a run.
#[derive(Debug, Default, Clone)]
pub struct Rounds(pub Vec<f64>);

impl Rounds {
    /// The best round: neighbours on the machine only ever add time.
    pub fn best(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    /// The round with the highest figure, the best one of a rate.
    pub fn highest(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }

    pub fn median(&self) -> f64 {
        median(&self.0)
    }

    pub fn json(&self) -> Value {
        json!({"best": self.best(), "median": self.median(), "rounds": self.0})
    }
}

/// A table printed with a title, left-aligned first column and right-aligned figures.
#[derive(Debug)]
pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: impl Into<String>, header: &[&str]) -> Self {
        Self { title: title.into(), rows: vec![header.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub fn print(&self) {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        println!("\n{}", self.title);
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let gap = " ".repeat(widths[column] - cell.chars().count());
                line += &if column == 0 { format!("  {cell}{gap}") } else { format!("  {gap}{cell}") };
            }
            println!("{}", line.trim_end());
        }
    }
}

/// A figure in three significant places; `-` when it was not measured.
pub fn figure(value: f64) -> String {
    match value {
        v if v.is_nan() => "-".to_owned(),
        v if v.abs() >= 100.0 => format!("{v:.0}"),
        v if v.abs() >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// A figure with its ratio to a peer's.
pub fn with_ratio(value: f64, peer: f64) -> String {
    let ratio = value / peer;
    if ratio.is_nan() { figure(value) } else { format!("{} x{ratio:.2}", figure(value)) }
}

/// What a floor asks and what was measured.
#[derive(Debug)]
pub struct Floor {
    pub what: String,
    pub limit: f64,
    pub measured: f64,
}

impl Floor {
    pub fn new(what: impl Into<String>, limit: f64, measured: f64) -> Self {
        Self { what: what.into(), limit, measured }
    }

    fn verdict(&self) -> &'static str {
        match self.measured {
            m if m.is_nan() => "not measured",
            m if m <= self.limit => "PASS",
            _ => "MISS",
        }
    }

    pub fn json(&self) -> Value {
        json!({"what": self.what, "limit": self.limit, "measured": self.measured, "verdict": self.verdict()})
    }
}

pub fn print_floors(floors: &[Floor], smoke: bool) {
    if floors.is_empty() {
        return;
    }
    let mut table = Table::new(
        if smoke { "Floors (a smoke run shows that it runs, not how fast)" } else { "Floors" },
        &["", "at most", "measured", ""],
    );
    for floor in floors {
        let measured = figure(floor.measured);
        table.row(vec![
            floor.what.clone(),
            format!("{:.2}", floor.limit),
            measured,
            floor.verdict().to_owned(),
        ]);
    }
    table.print();
}

/// A word when others used the machine while we measured; the bench itself accounts for about one core.
pub fn print_load() {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    if load > 1.0 + cores / 4.0 {
        println!(
            "\nnote: others use the machine (load {load:.1} on {cores} cores); medians and tails are theirs as well"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_take_the_nearest_rank() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&samples, 0.5), 50.0);
        assert_eq!(quantile(&samples, 0.99), 99.0);
        assert_eq!(quantile(&samples, 1.0), 100.0);
        assert_eq!(quantile(&[7.0], 0.01), 7.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn a_floor_is_missed_only_above_its_limit_and_never_without_a_figure() {
        assert_eq!(Floor::new("x", 1.1, 1.1).verdict(), "PASS");
        assert_eq!(Floor::new("x", 1.1, 1.11).verdict(), "MISS");
        assert_eq!(Floor::new("x", 1.1, f64::NAN).verdict(), "not measured");
    }
}
