//! What the bridge says of its actions: names, help, arguments. Runs nothing.

use hilrig_contract::arg::{float, int, needed, switch, text};
use hilrig_contract::{ActionDescriptor, ArgDescriptor, ValueKind};
use hilrig_record::{capture_action, replay_action};

fn link(label: &str) -> ArgDescriptor {
    text("link", label)
}

fn seconds(label: &str) -> ArgDescriptor {
    float("durationSeconds", label, 0.1, 604_800.0).unit("s")
}

const SIDE: &str = "Port as LINK.a or LINK.b";
/// For actions that last as long as what they do.
const LONG: f64 = 700_000.0;

/// All of them, in the order in which a console shows them.
pub(crate) fn all() -> Vec<ActionDescriptor> {
    let [start, stop] = ActionDescriptor::run_pair();
    let action = ActionDescriptor::new;
    vec![
        start
            .arg(text("rig", "Rig: a file of rigs/ to run instead of the configured links"))
            .arg(seconds("Stop by itself after")),
        stop,
        action(
            "pair_run_start",
            "Start pair run",
            "Start the simulators and the bridge together: a PLC and a master that polls it over a bridged pair. \
             The job ends when it is up; the verdict will be in the status.",
        )
        .arg(seconds("Duration; 28800 is an 8 h soak. Without it until run_stop"))
        .arg(int("baud", "Baud rate of the lines", 300, 1_000_000).default(19_200))
        .exclusive(),
        action("soak", "Soak", "Watch the run for a while; fails when a port goes or a byte is lost.")
            .arg(seconds("Duration").default(10.0))
            .timeout(LONG)
            .read_only(),
        action("link_start", "Start link", "Open one link of the config, also one that is not enabled.")
            .arg(needed("link", "Link"))
            .exclusive(),
        action("link_stop", "Stop link", "Close one link; the others go on.")
            .arg(needed("link", "Link"))
            .exclusive(),
        action(
            "pair_create",
            "Create pair",
            "Make a virtual null modem with ends NAME.a and NAME.b and a wire that behaves like one.",
        )
        .arg(ArgDescriptor::required("name", "Name", ValueKind::Text { pattern: Some("^[A-Za-z0-9_-]{1,40}$") }))
        .arg(text("options", "Wire as JSON or TOML, for example baud = 9600, noise = 1e-5"))
        .arg(text("format", "Character format that the ends have, as 8E1; a PTY hides it"))
        .arg(switch("pace", "Let bytes take the time they take on a line"))
        .arg(switch("shim", "Serve programs that use the preload library"))
        .exclusive(),
        action("pair_remove", "Remove pair", "Take a pair away that pair_create has made.")
            .arg(needed("name", "Name"))
            .exclusive(),
        capture_action(
            action(
                "capture_start",
                "Start capture",
                "Write what goes over links to a pcapng file, or live into a FIFO; the job ends when it is up.",
            )
            .arg(text("links", "Links, separated by commas; empty for all")),
            text("framing", "raw, silence, silence:2ms or terminator:0d0a").default("raw"),
            "out",
        ),
        action("capture_stop", "Stop capture", "End captures; the result says what they hold.")
            .arg(text("capture", "Capture: its id or file; empty for all")),
        action(
            "fault_arm",
            "Arm fault",
            "Arm a fault rule on a link that is up; its firings are counted from now on.",
        )
        .arg(needed("rule", "Rule as JSON or TOML, or the id of one in the config"))
        .arg(link("Link; may be left out when only one is up")),
        action("fault_clear", "Clear faults", "Rules fire no more; what they did stays in the account.")
            .arg(text("rule", "Id of the rule; empty for all"))
            .arg(link("Link; empty for all")),
        action("fault_list", "List faults", "The rules of all links and what they did.")
            .arg(link("Link; empty for all"))
            .read_only(),
        replay_action(
            action(
                "replay_start",
                "Replay",
                "Send a capture again with its own timing; with expect, compare what comes back. The job ends with the replay.",
            ),
            [
                text("port", "Port URL to send to"),
                text("to", "Instead of a port: the far end of LINK.a or LINK.b"),
            ],
        ),
        action("line_set", "Set lines", "Set modem lines in one step: DTR and RTS of a device, or what an application sees.")
            .arg(needed("port", &format!("{SIDE}, and what to set: main.b dtr=on rts=off")))
            .arg(switch("dtr", "DTR"))
            .arg(switch("rts", "RTS"))
            .arg(switch("cts", "CTS"))
            .arg(switch("dsr", "DSR"))
            .arg(switch("dcd", "DCD"))
            .arg(switch("ri", "RI")),
        action("send_break", "Send break", "Hold a line in break for a time.")
            .arg(needed("port", SIDE))
            .arg(int("milliseconds", "Length", 1, 10_000).default(250).unit("ms")),
        action("port_list", "List ports", "The serial ports of this machine and who holds them.").read_only(),
        action("rig_list", "List rigs", "The rigs that run_start can run.").read_only(),
        action("db_counts", "DB counts", "How many runs and frames the database of runs has.").read_only(),
        // Not read-only: such an action takes defaults for what is wrong in the config, and this one must tell.
        action(
            "validate_contract",
            "Validate contract",
            "Check the config, the links, the rules and the rigs without opening a port.",
        ),
    ]
}
