//! What came of a run: for programs (JSON, JUnit) and for people. Knows nothing of how it was run.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use schemars::JsonSchema;
use serde::Serialize;

use crate::plan::Plan;
use hilrig_files::show_time;

const RESULT_VERSION: u32 = 1;

/// How a run or a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Pass,
    /// Passed, but beyond a marginal limit.
    Marginal,
    /// The device did not do what the rig says.
    Fail,
    /// The bench did not work; says nothing about the device.
    Error,
    Canceled,
    Timeout,
    /// Steps only: not reached.
    Skip,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Marginal => "marginal",
            Self::Fail => "fail",
            Self::Error => "error",
            Self::Canceled => "canceled",
            Self::Timeout => "timeout",
            Self::Skip => "skip",
        }
    }
}

/// The result of a run, `result.json`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunResult {
    /// Version of this shape: 1.
    pub result_version: u32,
    pub rig: String,
    pub file: String,
    pub verdict: Verdict,
    /// What the verdict rests on, in a sentence.
    pub reason: String,
    pub exit_code: u8,
    /// Start value of everything random in this run.
    pub seed: u64,
    /// `YYYY-MM-DDTHH:MM:SSZ`
    pub started_at: String,
    /// The run was in virtual time, and so are all times below.
    pub virtual_time: bool,
    pub duration_ms: f64,
    /// In order; the first is the start of the bench and the last what is checked at the end of every run.
    pub steps: Vec<StepResult>,
    pub faults: Vec<FaultResult>,
    /// Faults of the replies of models.
    pub reply_faults: Vec<ReplyFaultResult>,
    /// One entry a link and direction, pairs included.
    pub bytes: Vec<BytesResult>,
    /// One entry a simulator or master.
    pub stations: Vec<StationResult>,
    /// What the ports could not grant, and other things worth knowing.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepResult {
    /// Number of the step, from 1; 0 is the start of the bench.
    pub step: usize,
    /// Line in the rig file; 0 when it is not about one line.
    pub line: usize,
    pub kind: String,
    /// The step in words.
    pub text: String,
    pub verdict: Verdict,
    /// What was wanted, empty when nothing was compared.
    pub expected: String,
    /// What was seen.
    pub got: String,
    /// Why it did not pass, else empty.
    pub message: String,
    /// Since the start of the run.
    pub at_ms: f64,
    pub duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measurement: Option<Measurement>,
}

/// Round trips, in microseconds.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// MASTER.POLL
    pub of: String,
    /// Round trips seen.
    pub count: u64,
    /// Requests without a good reply in time.
    pub lost: u64,
    pub min_us: f64,
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
    pub limits: Vec<LimitResult>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitResult {
    /// `p50`, `p99`, `max` (microseconds) or `loss` (a number).
    pub name: String,
    pub got: f64,
    pub max: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marginal: Option<f64>,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FaultResult {
    pub name: String,
    pub link: String,
    /// As the link names its ends.
    pub direction: hilrig_wire::Way,
    /// Line of the step that injects it.
    pub line: usize,
    /// Its step was reached.
    pub injected: bool,
    /// How often it may fire, if that is limited.
    pub limit: Option<u64>,
    pub fired: u64,
    /// The last firings.
    pub firings: Vec<FiringResult>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FiringResult {
    /// Since the start of the run.
    pub at_ms: f64,
    /// Place of the first byte among all that came in this direction.
    pub offset: u64,
    pub bytes: u64,
}

/// What a fault of a model has done at all ports of its simulator.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplyFaultResult {
    pub name: String,
    pub sim: String,
    /// Replies that it could have acted on.
    pub seen: u64,
    pub fired: u64,
}

/// Always: `bytesIn + insertedBytes = bytesOut + faultBytes + discardedBytes + pending`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BytesResult {
    pub link: String,
    pub from: String,
    pub to: String,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Put in by faults, or by an echo of the wire.
    pub inserted_bytes: u64,
    /// Taken out by faults.
    pub fault_bytes: u64,
    /// For a far end that nobody had open.
    pub discarded_bytes: u64,
    pub pending: u64,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StationResult {
    pub name: String,
    pub port: String,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// Counters by name.
    pub counters: std::collections::BTreeMap<String, u64>,
}

/// JSON Schema of `result.json`.
pub fn result_schema() -> schemars::Schema {
    schemars::schema_for!(RunResult)
}

impl StepResult {
    /// A step that was not reached.
    pub(crate) fn skipped(step: usize, line: usize, kind: &str, text: &str) -> Self {
        Self {
            step,
            line,
            kind: kind.to_owned(),
            text: text.to_owned(),
            verdict: Verdict::Skip,
            expected: String::new(),
            got: String::new(),
            message: String::new(),
            at_ms: 0.0,
            duration_ms: 0.0,
            measurement: None,
        }
    }
}

impl RunResult {
    pub(crate) fn empty(plan: &Plan, seed: u64) -> Self {
        Self {
            result_version: RESULT_VERSION,
            rig: plan.name.clone(),
            file: plan.file.clone(),
            verdict: Verdict::Error,
            reason: String::new(),
            exit_code: 3,
            seed,
            started_at: hilrig_contract::timestamp(),
            virtual_time: false,
            duration_ms: 0.0,
            steps: vec![],
            faults: vec![],
            reply_faults: vec![],
            bytes: vec![],
            stations: vec![],
            warnings: vec![],
        }
    }

    /// The verdict of the run from those of its steps.
    pub(crate) fn judge(&mut self, plan: &Plan) {
        let ended = self.steps.iter().find(|s| !matches!(s.verdict, Verdict::Pass | Verdict::Marginal));
        let marginal = self.steps.iter().find(|s| s.verdict == Verdict::Marginal);
        let place = |s: &StepResult| match s.line {
            0 if s.step == 0 => "at the start".to_owned(),
            0 if s.kind == "golden" => "compared with the golden log".to_owned(),
            0 => "at the end".to_owned(),
            line => format!("step {}, {} in line {line}", s.step, s.kind),
        };
        let (verdict, reason) = match (ended, marginal) {
            (Some(s), _) => {
                (s.verdict, format!("{}: {}", place(s), s.message.lines().next().unwrap_or_default()))
            }
            (None, Some(s)) => (Verdict::Marginal, format!("{}: {}", place(s), s.message)),
            (None, None) => (Verdict::Pass, format!("all {} steps passed", plan.steps.len())),
        };
        self.verdict = verdict;
        self.reason = reason;
        self.exit_code = match verdict {
            Verdict::Pass | Verdict::Marginal => 0,
            Verdict::Fail => 1,
            Verdict::Error | Verdict::Skip => 3,
            Verdict::Canceled | Verdict::Timeout => 4,
        };
    }

    /// 0 pass or marginal, 1 fail, 3 trouble of the bench, 4 canceled or timed out.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// What the verdict rests on, in a sentence.
    pub fn message(&self) -> String {
        self.reason.clone()
    }

    /// A few lines for people; colour only where it is asked for.
    pub fn render(&self, colour: bool) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_text(&mut text, colour);
        text
    }

    fn write_text(&self, out: &mut String, colour: bool) -> std::fmt::Result {
        let paint = |verdict: Verdict, text: &str| {
            let code = match verdict {
                Verdict::Pass => "32",
                Verdict::Marginal => "33",
                Verdict::Skip => "2",
                _ => "1;31",
            };
            if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        for step in &self.steps {
            let passed = step.verdict == Verdict::Pass;
            if (step.kind == "start" || step.kind == "end") && passed {
                continue;
            }
            let word = if passed { "ok" } else { step.verdict.as_str() };
            write!(
                out,
                "  {} {:>2}  {:<8}",
                paint(step.verdict, &format!("{word:<8}")),
                step.step,
                step.kind
            )?;
            write!(out, "{}", step.text)?;
            if passed && !step.got.is_empty() && step.kind != "set" {
                write!(out, "  ({})", step.got)?;
            }
            writeln!(out)?;
            if !step.message.is_empty() {
                let place =
                    if step.line > 0 { format!("{}:{}: ", self.file, step.line) } else { String::new() };
                writeln!(out, "               {place}{}", step.message)?;
            }
        }
        writeln!(out)?;
        for fault in self.faults.iter().filter(|f| f.injected) {
            let places: Vec<String> = fault
                .firings
                .iter()
                .take(3)
                .map(|f| format!("{} bytes at {:.0} ms", f.bytes, f.at_ms))
                .collect();
            let places = if places.is_empty() { String::new() } else { format!(" ({})", places.join(", ")) };
            let limit = fault.limit.map_or(String::new(), |n| format!(" of {n}"));
            writeln!(out, "  fault {}: fired {}{limit}{places}", fault.name, fault.fired)?;
        }
        for fault in self.reply_faults.iter().filter(|f| f.fired > 0) {
            writeln!(
                out,
                "  fault {} of {}: fired {} of {}",
                fault.name, fault.sim, fault.fired, fault.seen
            )?;
        }
        for row in self.bytes.iter().filter(|b| !b.link.starts_with("pair ")) {
            write!(
                out,
                "  {} {} -> {}: {} bytes in, {} out",
                row.link, row.from, row.to, row.bytes_in, row.bytes_out
            )?;
            for (n, what) in [
                (row.fault_bytes, "by fault"),
                (row.inserted_bytes, "inserted"),
                (row.discarded_bytes, "discarded"),
                (row.pending, "pending"),
            ] {
                if n > 0 {
                    write!(out, ", {n} {what}")?;
                }
            }
            writeln!(out)?;
        }
        for warning in &self.warnings {
            writeln!(out, "  note: {warning}")?;
        }
        let verdict = paint(self.verdict, &self.verdict.as_str().to_uppercase());
        let time = show_time(Duration::from_secs_f64(self.duration_ms.max(0.0) / 1000.0));
        let virtually = if self.virtual_time { " of virtual time" } else { "" };
        writeln!(out, "{verdict} rig {} in {time}{virtually}, seed {}: {}", self.rig, self.seed, self.reason)
    }

    /// Writes `result.json` and `junit.xml` into a directory, which is made if it is missing.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn write_reports(&self, dir: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(dir)?;
        let mut json = serde_json::to_string_pretty(self)?;
        json.push('\n');
        std::fs::write(dir.join("result.json"), json)?;
        let junit = self.junit().to_string().map_err(std::io::Error::other)?;
        std::fs::write(dir.join("junit.xml"), junit)
    }

    fn junit(&self) -> Report {
        let time = |ms: f64| Duration::from_secs_f64(ms.max(0.0) / 1000.0);
        let mut suite = TestSuite::new(self.rig.as_str());
        suite.set_time(time(self.duration_ms));
        suite.add_property(("seed", self.seed.to_string().as_str()));
        suite.add_property(("file", self.file.as_str()));
        suite.add_property(("verdict", self.verdict.as_str()));
        for step in &self.steps {
            let status = match step.verdict {
                Verdict::Pass | Verdict::Marginal => TestCaseStatus::success(),
                Verdict::Skip => TestCaseStatus::skipped(),
                verdict => {
                    let kind = if verdict == Verdict::Fail {
                        NonSuccessKind::Failure
                    } else {
                        NonSuccessKind::Error
                    };
                    let mut status = TestCaseStatus::non_success(kind);
                    status.set_message(step.message.as_str()).set_type(verdict.as_str());
                    status.set_description(format!("{}:{}: {}", self.file, step.line, step.message));
                    status
                }
            };
            let mut case = TestCase::new(format!("{:02} {} {}", step.step, step.kind, step.text), status);
            case.set_classname(self.rig.as_str()).set_time(time(step.duration_ms));
            for (name, value) in [("expected", &step.expected), ("got", &step.got)] {
                if !value.is_empty() {
                    case.add_property((name, value.as_str()));
                }
            }
            if step.verdict == Verdict::Marginal {
                case.add_property(("marginal", step.message.as_str()));
            }
            if let Some(m) = &step.measurement {
                for (name, value) in [("p50Us", m.p50_us), ("p99Us", m.p99_us), ("maxUs", m.max_us)] {
                    case.add_property((name, format!("{value:.1}").as_str()));
                }
                case.add_property(("lost", m.lost.to_string().as_str()));
            }
            suite.add_test_case(case);
        }
        let mut report = Report::new("hilrig");
        report.set_time(time(self.duration_ms));
        report.add_test_suite(suite);
        report
    }
}
