use super::*;
use crate::{Flow, Packet, Reader};
use hilrig_port::{Lines, TapKind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

fn link(name: &str) -> LinkInfo {
    LinkInfo::new(name, ["pty:a".into(), "pty:b".into()], Duration::from_micros(1000))
}

fn record(at: Time, kind: TapKind, side: u8, bytes: &[u8]) -> TapRecord<'_> {
    TapRecord { at, kind, side, lines: Lines::DTR, value: 0, bytes }
}

/// Name, link type and drops.
type Interface = (String, u16, Option<u64>);

fn read(file: &[u8]) -> (Vec<Packet>, Vec<Interface>) {
    let mut reader = Reader::new(file);
    let mut packets = Vec::new();
    while let Some(packet) = reader.next_packet().unwrap() {
        packets.push(packet);
    }
    assert_eq!(reader.cut_at(), None);
    let interfaces = reader.interfaces().iter();
    (packets, interfaces.map(|i| (i.name.clone(), i.link_type, i.dropped)).collect())
}

#[test]
fn a_file_can_be_read_after_every_round() {
    let dir = tempfile::tempdir().unwrap();
    let spec = CaptureSpec::new(dir.path().join("new/x.pcapng"));
    let mut sink = PcapngSink::create(&spec).unwrap();
    let file = || std::fs::read(&spec.file).unwrap();
    assert!(read(&file()).0.is_empty());
    let link = link("line");
    sink.start(std::slice::from_ref(&link)).unwrap();
    assert_eq!(read(&file()).1.len(), 2);
    for n in 0..20 {
        let at = Time::now();
        sink.record(&link, &record(at, TapKind::Out, n & 1, &[n; 7])).unwrap();
        sink.record(&link, &record(at, TapKind::In, n & 1, b"not shown")).unwrap();
        sink.tick(at).unwrap();
        let (packets, interfaces) = read(&file());
        assert_eq!(packets.len(), usize::from(n) + 1);
        assert_eq!(interfaces[0], ("pty:a".to_owned(), 250, None));
        let last = packets.last().unwrap();
        assert_eq!(
            (last.bytes.as_slice(), last.flow, last.lines),
            (&[n; 7][..], Some(Flow::Out), Lines::DTR)
        );
        assert_eq!(last.interface, usize::from(n & 1));
        assert_eq!(last.at, sink.clock.at(at));
    }
    sink.finish().unwrap();
    assert_eq!(read(&file()).1[1], ("pty:b".to_owned(), 250, Some(0)));
    assert_eq!(sink.files(), std::slice::from_ref(&spec.file));
}

#[test]
fn exported_pdus_keep_what_is_no_data_on_interfaces_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = CaptureSpec::new(dir.path().join("x.pcapng"));
    spec.format = "pdu:mbrtu".parse().unwrap();
    let mut sink = PcapngSink::create(&spec).unwrap();
    let link = link("line");
    let now = Time::now();
    sink.record(&link, &record(now, TapKind::Out, 1, b"ab")).unwrap();
    sink.record(&link, &record(now, TapKind::BreakOut, 1, b"")).unwrap();
    sink.finish().unwrap();
    let (packets, interfaces) = read(&std::fs::read(&spec.file).unwrap());
    assert_eq!(interfaces.iter().map(|i| i.1).collect::<Vec<_>>(), [252, 252, 250]);
    assert_eq!((packets[0].bytes.as_slice(), packets[0].interface), (&b"ab"[..], 1));
    assert_eq!((packets[1].event, packets[1].interface), (Some(Event::Break), 2));
}

#[test]
fn what_is_no_capture_is_not_overwritten_nor_what_is_being_written() {
    let dir = tempfile::tempdir().unwrap();
    let spec = CaptureSpec::new(dir.path().join("x.pcapng"));
    let refused = || PcapngSink::create(&spec).unwrap_err().to_string();
    let sink = PcapngSink::create(&spec).unwrap();
    assert!(refused().ends_with("x.pcapng: another capture is writing it"), "{}", refused());
    assert!(!std::fs::read(&spec.file).unwrap().is_empty());
    drop(sink);
    drop(PcapngSink::create(&spec).unwrap());
    std::fs::write(&spec.file, "[bridge]").unwrap();
    assert!(refused().ends_with("x.pcapng: it is there and is no pcapng file"), "{}", refused());
    assert_eq!(std::fs::read(&spec.file).unwrap(), b"[bridge]");
}

#[test]
fn two_rows_of_files_with_one_name_do_not_meet() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = CaptureSpec::new(dir.path().join("x.pcapng"));
    spec.rotate_megabytes = Some(1.0);
    let (one, two) = (PcapngSink::create(&spec).unwrap(), PcapngSink::create(&spec).unwrap());
    assert_ne!(one.files(), two.files());
}

#[test]
fn files_follow_each_other_by_size_and_the_oldest_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = CaptureSpec::new(dir.path().join("x.pcapng"));
    (spec.rotate_megabytes, spec.keep) = (Some(0.002), Some(3));
    let mut sink = PcapngSink::create(&spec).unwrap();
    let link = link("line");
    for n in 0..100u8 {
        sink.record(&link, &record(Time::now(), TapKind::Out, 0, &[n; 100])).unwrap();
        sink.tick(Time::now()).unwrap();
    }
    sink.finish().unwrap();
    let files = sink.files();
    assert_eq!(files.len(), 3);
    let there = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(there, 3, "older files are gone");
    let mut seen = Vec::new();
    for file in &files {
        let bytes = std::fs::read(file).unwrap();
        // The last statistics come after the limit.
        assert!(bytes.len() < 2_300, "{} bytes in {}", bytes.len(), file.display());
        let (packets, interfaces) = read(&bytes);
        assert!(interfaces.iter().all(|i| i.2 == Some(0)), "each has its statistics");
        seen.extend(packets.iter().map(|p| p.bytes[0]));
    }
    let first = seen[0];
    assert_eq!(seen, (first..100).collect::<Vec<_>>(), "nothing is missing between files");
    let again = PcapngSink::create(&spec).unwrap();
    let number = |p: &PathBuf| p.file_stem().unwrap().to_str().unwrap()[2..].parse::<u32>().unwrap();
    assert_eq!(number(&again.files()[0]), number(files.last().unwrap()) + 1);
}

#[test]
fn files_follow_each_other_by_time_but_never_empty_ones() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = CaptureSpec::new(dir.path().join("x.pcapng"));
    spec.rotate_seconds = Some(60.0);
    let mut sink = PcapngSink::create(&spec).unwrap();
    let link = link("line");
    let start = Time::now();
    let minute = |n: u64| start + Duration::from_secs(60 * n + 1);
    sink.tick(minute(5)).unwrap();
    assert_eq!(sink.files().len(), 1);
    sink.record(&link, &record(start, TapKind::Out, 0, b"x")).unwrap();
    sink.tick(start).unwrap();
    assert_eq!(sink.files().len(), 1);
    sink.tick(minute(1)).unwrap();
    assert_eq!(sink.files().len(), 2);
}

#[test]
fn a_disk_that_is_full_ends_the_capture_with_a_sentence_and_whole_blocks() {
    let mut spec = CaptureSpec::new("/dev/full");
    let full = PcapngSink::create(&spec).and_then(|mut sink| sink.finish()).unwrap_err().to_string();
    assert_eq!(full, "the capture cannot be written: No space left on device (os error 28)");
    spec.file = "/proc/x/y.pcapng".into();
    let nowhere = PcapngSink::create(&spec).unwrap_err().to_string();
    assert!(nowhere.starts_with("cannot make the directory /proc/x: "), "{nowhere}");
}

/// Writes only as often as it is let.
struct Gate {
    open: Receiver<()>,
    to: Sender<Vec<u8>>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.open.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
        let _ = self.to.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_stalls_costs_packets_which_are_counted_and_nobody_waits() {
    let ((let_go, open), (to, got)) = (channel(), channel());
    let mut sink = PcapngSink::stream(&CaptureSpec::new("-"), Gate { open, to }).unwrap();
    let link = link("line");
    // Far more than the buffer holds.
    let rounds = 2 * crate::pump::ROOM / 4096;
    for _ in 0..rounds {
        sink.record(&link, &record(Time::now(), TapKind::Out, 1, &[7; 4096])).unwrap();
        sink.tick(Time::now()).unwrap();
    }
    let lost = sink.lost_bytes();
    assert!(lost > 0 && lost < (rounds * 4096) as u64, "{lost}");
    for _ in 0..1_000 {
        let_go.send(()).unwrap();
    }
    let mut stream = Vec::new();
    let deadline = Time::now() + Duration::from_secs(20);
    while sink.output.room() < crate::pump::ROOM {
        assert!(Time::now() < deadline, "the buffer is not emptied");
        stream.extend(got.recv_timeout(Duration::from_millis(10)).unwrap_or_default());
    }
    sink.record(&link, &record(Time::now(), TapKind::Out, 1, b"after")).unwrap();
    sink.finish().unwrap();
    stream.extend(got.try_iter().flatten());
    let (packets, interfaces) = read(&stream);
    let bytes: usize = packets.iter().map(|p| p.bytes.len()).sum();
    assert_eq!(bytes as u64 + lost, (rounds * 4096 + 5) as u64);
    let [.., told, last] = &packets[..] else { panic!("{} packets", packets.len()) };
    assert_eq!((told.event, last.bytes.as_slice()), (Some(Event::DataLost), &b"after"[..]));
    let says = format!("{} packets with {lost} bytes are missing here", lost / 4096);
    assert!(told.comments[0].starts_with(&says), "{}: {says}", told.comments[0]);
    assert_eq!(interfaces[1].2, Some(lost / 4096));
}

#[test]
fn a_reader_that_leaves_ends_the_capture_with_a_sentence() {
    let ((let_go, open), (to, _got)) = (channel(), channel());
    let mut sink = PcapngSink::stream(&CaptureSpec::new("-"), Gate { open, to }).unwrap();
    drop(let_go);
    assert_eq!(sink.finish().unwrap_err().to_string(), "the reader of the capture has gone");
}

#[test]
fn a_clock_that_is_set_is_remarked() {
    use std::sync::atomic::{AtomicI64, Ordering};
    static OFFSET: AtomicI64 = AtomicI64::new(1_700_000_000_000_000_000);
    let dir = tempfile::tempdir().unwrap();
    let spec = CaptureSpec::new(dir.path().join("x.pcapng"));
    let mut sink = PcapngSink::create(&spec).unwrap();
    sink.clock = WallClock::measured_by(|| OFFSET.load(Ordering::Relaxed));
    let link = link("line");
    let at = |s: u64| Time(s * 1_000_000_000);
    sink.record(&link, &record(at(1), TapKind::Out, 0, b"x")).unwrap();
    sink.tick(at(1)).unwrap();
    OFFSET.fetch_add(3_600_000_000_000, Ordering::Relaxed);
    sink.tick(at(3)).unwrap();
    sink.record(&link, &record(at(4), TapKind::Out, 1, b"y")).unwrap();
    sink.finish().unwrap();
    let file = std::fs::read(&spec.file).unwrap();
    let (packets, _) = read(&file);
    assert_eq!(packets[1].comments, ["the clock was set by +3600000000000 ns here"]);
    assert_eq!(packets[2].at - packets[0].at, 3_603_000_000_000);
    let recording = crate::Recording::read(&file[..], None).unwrap();
    let times: Vec<_> = recording.moments.iter().map(|m| m.at).collect();
    assert_eq!(times, [Duration::ZERO, Duration::from_secs(3)], "a replay is not an hour late");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn what_was_sent_can_be_replayed_whatever_the_form(
        pieces in proptest::collection::vec((0u8..2, 0u64..30_000, proptest::collection::vec(0u8..4, 1..40)), 1..60),
        format in proptest::sample::select(vec!["rtac", "pdu:mbrtu"]),
        framing in proptest::sample::select(vec!["raw", "silence", "silence:1ms", "terminator:0102"]),
        both in proptest::bool::ANY,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = CaptureSpec::new(dir.path().join("x.pcapng"));
        (spec.format, spec.framing) = (format.parse().unwrap(), framing.parse().unwrap());
        spec.points = if both { crate::Points::Both } else { crate::Points::Out };
        let mut sink = PcapngSink::create(&spec).unwrap();
        let link = link("line");
        let (mut now, mut sent) = (Time(5_000_000_000), [Vec::new(), Vec::new()]);
        for (from, wait, bytes) in &pieces {
            now = now + Duration::from_micros(*wait);
            sink.record(&link, &record(now, TapKind::In, *from, bytes)).unwrap();
            sink.record(&link, &record(now, TapKind::Out, 1 - from, bytes)).unwrap();
            sink.tick(now).unwrap();
            sent[usize::from(*from)].extend_from_slice(bytes);
        }
        sink.finish().unwrap();
        let recording = crate::Recording::open(&spec.file, None).unwrap();
        proptest::prop_assert_eq!(recording.sent_by(crate::Side::A), &sent[0][..]);
        proptest::prop_assert_eq!(recording.sent_by(crate::Side::B), &sent[1][..]);
        let times: Vec<u64> = read(&std::fs::read(&spec.file).unwrap()).0.iter().map(|p| p.at).collect();
        // A frame that waits long for its terminator does not hold back the others.
        let in_order = times.is_sorted() || framing.starts_with("terminator");
        proptest::prop_assert!(in_order, "{times:?}");
    }
}
