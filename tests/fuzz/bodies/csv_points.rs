//! Any text as a CSV file of points, and as a recording: either it is one, or every problem can be shown; and points
//! that were taken in can be read, written, exported and taken in again, as the same points with the same values.

use hilrig_files::{At, Problems, render};
use hilrig_points::{Builder, CsvFile, PlaceText, PointFile, SignalFile, Table, UnitFile};
use hilrig_port::Time;

fn at<T>(value: T) -> At<T> {
    At { value, span: 0..0 }
}

fn build(folder: &std::path::Path, file: &UnitFile) -> Result<hilrig_points::Plant, hilrig_files::FileError> {
    let mut problems = Problems::new("model", "model.toml", "");
    let mut builder = Builder::new(1);
    builder.unit(&at("u".to_owned()), file, folder, &mut problems);
    let plant = builder.finish(&mut problems);
    if problems.is_empty() { Ok(plant) } else { Err(problems.into_error()) }
}

fn import(text: &[u8]) -> Result<hilrig_points::Plant, hilrig_files::FileError> {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("f.csv"), text).expect("a file");
    build(dir.path(), &UnitFile { csv: Some(at("f.csv".to_owned())), ..UnitFile::default() })
}

fn record(text: &[u8]) -> Result<hilrig_points::Plant, hilrig_files::FileError> {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("f.csv"), text).expect("a file");
    let csv = CsvFile { file: at("f.csv".to_owned()), column: None, between: None, repeat: Some(true) };
    let point = PointFile {
        at: Some(at(PlaceText("holding:0".to_owned()))),
        signal: Some(at(SignalFile::Csv(csv))),
        ..PointFile::default()
    };
    let point = hilrig_files::Entries(vec![(at("p".to_owned()), at(point))]);
    build(dir.path(), &UnitFile { point, ..UnitFile::default() })
}

pub fn run(data: &[u8]) {
    for made in [import(data), record(data)] {
        let mut plant = match made {
            Ok(plant) => plant,
            Err(error) => {
                assert!(!error.problems.is_empty());
                let report = error.into();
                assert!(!render(&report, false).is_empty());
                continue;
            }
        };
        let ids: Vec<_> = plant.points().map(|(id, point)| (id, point.clone())).collect();
        let mut out = [0; 250];
        for (n, (id, point)) in ids.iter().take(50).enumerate() {
            let now = Time(n as u64 * 777_000_000);
            let value = plant.get(now, *id);
            let _ = plant.number(now, *id);
            if point.table.is_bits() {
                let _ = plant.read_bits(now, 1, point.table, point.address, 1, &mut out[..1]);
                let _ = plant.write_bits(now, 1, point.address, 1, &[1]);
            } else {
                let bytes = usize::from(point.cells) * 2;
                let _ =
                    plant.read_registers(now, 1, point.table, point.address, point.cells, &mut out[..bytes]);
                if point.table == Table::HoldingRegisters {
                    let _ = plant.write_registers(now, 1, point.address, &out[..bytes]);
                }
            }
            let _ = plant.set(now, *id, &value);
        }
        let now = Time(u64::MAX / 2);
        let exported = plant.export_csv(now);
        // A recording is no column of a file of points.
        let mut again = import(exported.as_bytes()).unwrap_or_else(|e| panic!("{exported}\n{}", e.lines()));
        assert_eq!(plant.points().count(), again.points().count(), "{exported}");
        for (id, point) in &ids {
            let other =
                again.points().find(|(_, other)| other.name == point.name).map(|(id, p)| (id, p.clone()));
            let (other, copy) = other.unwrap_or_else(|| panic!("{} is gone\n{exported}", point.name));
            let what =
                |p: &hilrig_points::Point| (p.place(), p.kind, p.cells, p.order, p.bit, p.measure.clone());
            assert_eq!(what(point), what(&copy));
            // A scale may cost the last digit, and an expression goes on where a value was set by hand.
            if point.expr.is_none() && point.scale == 1.0 && point.offset == 0.0 {
                assert_eq!(plant.get(now, *id).to_string(), again.get(now, other).to_string(), "{exported}");
            }
        }
    }
}
