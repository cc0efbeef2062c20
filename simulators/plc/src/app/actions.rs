//! The actions of the app as consoles list them. What they do is in the modules beside.

use hilrig_contract::arg::{choice, float, int, needed, switch, text};
use hilrig_contract::{ActionDescriptor, ArgDescriptor, ValueKind};
use hilrig_record::{capture_action, replay_action};

use super::config::{PLACE, SETTING};

fn seed() -> ArgDescriptor {
    int("seed", "Seed, in place of the model's", 0, i64::MAX)
}

pub(super) fn all() -> Vec<ActionDescriptor> {
    let pattern = |pattern| ValueKind::Text { pattern: Some(pattern) };
    let unit = || int("unit", "Unit id; the first unit if left out", 1, 247);
    let [start, stop] = ActionDescriptor::run_pair();
    let action = ActionDescriptor::new;
    vec![
        start.arg(text("scenario", "Model file in the root; left out, the one of the config")).arg(seed()),
        stop,
        action(
            "scenario_load",
            "Load scenario",
            "Check a model file and run it, in place of what runs; a wrong file changes nothing.",
        )
        .arg(needed("scenario", "Model file in the root"))
        .arg(seed())
        .exclusive(),
        action(
            "reload",
            "Reload",
            "Read the files of the running model again and go on with them at a frame boundary; points of the same name and type keep their values, polls and telegrams their rhythm.",
        )
        .exclusive(),
        action("point_list", "List points", "All points, or those of a name or pattern, with their values.")
            .arg(text("points", "Names or patterns such as pump.*, separated by commas; left out, all"))
            .read_only(),
        action("point_get", "Get points", "Values of points.")
            .arg(needed("points", "Names or patterns such as pump.*, separated by commas"))
            .read_only(),
        action("point_set", "Set points", "Give points values, all or none.")
            .arg(needed("set", "As pump.speed=12.5; several are separated by blanks")),
        action("point_ramp", "Ramp a point", "Move a point to a value in even steps.")
            .arg(needed("ramp", "As pump.speed=50"))
            .arg(float("seconds", "Duration", 0.0, 86_400.0).default(10.0).unit("s")),
        action("point_release", "Release points", "Let the signals of points go on that were set.")
            .arg(text("points", "Names or patterns; left out, all")),
        action("register_get", "Read cells", "Raw values of a unit, from a place on.")
            .arg(ArgDescriptor::optional("at", "Place", pattern(PLACE)).default("holding:0"))
            .arg(int("count", "How many", 1, 2000).default(1))
            .arg(unit())
            .read_only(),
        action("register_set", "Set cells", "Sets raw values of a unit, inputs too.")
            .arg(ArgDescriptor::required("set", "Place and values, as holding:0=42", pattern(SETTING)))
            .arg(unit()),
        action(
            "fault_arm",
            "Arm fault",
            "Arm a fault of replies: one of the model by its name, or a new one; its firings are counted from now on.",
        )
        .arg(needed(
            "rule",
            "Name, or a table such as name=\"slow\", when={unit=17, every=10}, effect={delay=\"200ms\"}",
        ))
        .arg(text("port", "Port; left out, all that answer")),
        action("fault_clear", "Clear faults", "Rules fire no more; what they did stays counted.")
            .arg(text("rule", "Name of the rule; left out, all"))
            .arg(text("port", "Port; left out, all that answer")),
        action("fault_list", "List faults", "The rules of all ports and what they did.").read_only(),
        action("telegram_send", "Send telegram", "Send a telegram of the model now.")
            .arg(needed("telegram", "TABLE.TELEGRAM, or TELEGRAM alone")),
        action("poll_start", "Start polls", "Let entries of poll lists be asked.")
            .arg(text("poll", "MASTER.POLL, or MASTER for all of one; left out, all")),
        action("poll_stop", "Stop polls", "Let entries of poll lists rest.")
            .arg(text("poll", "MASTER.POLL, or MASTER for all of one; left out, all")),
        action(
            "sniff_start",
            "Start sniffing",
            "Listen on a line without sending: pair requests with replies, count them, and learn which addresses are asked for.",
        )
        .arg(needed("port", "Port URL"))
        .arg(choice("framing", "Framing", ["rtu", "ascii"]).default("rtu"))
        .arg(int("baud", "Speed", 50, 20_000_000).default(19200).unit("baud"))
        .arg(text("format", "Characters").default("8E1")),
        action(
            "sniff_stop",
            "Stop sniffing",
            "End what sniff_start began; the result says what was heard, and a unit table of what was asked for.",
        )
        .arg(text("port", "Port URL or name; left out, all that sniff_start began")),
        action("sniff_get", "What was heard", "Statistics and learnt addresses of all sniffers.")
            .arg(text("port", "Port URL or name; left out, all"))
            .read_only(),
        capture_action(
            action(
                "record_start",
                "Start recording",
                "Write what passes on ports of the model, both ways and noise too, to a pcapng file that Wireshark opens, or live into a FIFO; of a gateway it is the line behind it. The job ends when it is up; the recording ends by record_stop or with the run.",
            )
            .arg(text("ports", "Ports of the model, separated by commas; left out, all but listeners")),
            text(
                "framing",
                "raw, silence, silence:2ms or terminator:0d0a; left out, what parts frames on these ports",
            ),
            "both",
        ),
        action("record_stop", "Stop recording", "End recordings; the result says what they hold.")
            .arg(text("capture", "Recording: its id or file; left out, all")),
        replay_action(
            action(
                "replay_start",
                "Replay",
                "Send a recording out of a port of the model with its own timing, for example a master's requests to a device, or noise. Meanwhile whoever sits on the port finds its line closed: a slave does not answer, polls and telegrams rest, and go on in their rhythm afterwards. With beside it goes on, and what both send goes out in turn. The job ends with the replay.",
            ),
            [
                text("port", "Port of the model; may be left out if only one has a line"),
                switch("beside", "Whoever sits on the port goes on").default(false),
            ],
        ),
        action("snapshot_save", "Save state", "Write the state of all points to state/plc/ of the root.")
            .arg(text("file", "Name of the file; left out, that of the model")),
        action(
            "events_set",
            "Select events",
            "What the events point.changed and frame tell of; they are made only while somebody subscribes to them.",
        )
        .arg(text("points", "Names or patterns; what masters write is told in any case"))
        .arg(text("frames", "off, all, errors, or a number N for each N-th").default("off"))
        .arg(int("unit", "Frames of this unit only", 0, 255))
        .arg(text("port", "Frames of this port only")),
    ]
}
