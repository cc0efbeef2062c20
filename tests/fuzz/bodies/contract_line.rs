//! Any lines as requests: each is answered by one line that is a JSON object with a boolean `ok`, a response exactly
//! if it is true and an error with a V0 code if not.

use std::sync::{Arc, OnceLock};

use hilrig_contract::ContractError;
use hilrig_firmware::FirmwareApp;
use hilrig_host::{Access, Bus, Dispatcher, LocalApp, Logbook, Root, Session};
use serde_json::Value;

struct Served {
    tokio: tokio::runtime::Runtime,
    dispatcher: Arc<Dispatcher>,
    _dir: tempfile::TempDir,
}

fn served() -> &'static Served {
    static SERVED: OnceLock<Served> = OnceLock::new();
    SERVED.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a directory");
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let root = Root::create(&dir.path().join("root")).expect("a root");
        let bus = Bus::new();
        let logbook = Logbook::new(&root, bus.clone());
        let entered = tokio.enter();
        let app = LocalApp::new(&root, Arc::new(FirmwareApp::default()), bus.clone(), logbook);
        drop(entered);
        let dispatcher = Dispatcher::new(vec![app], bus);
        Served { tokio, dispatcher, _dir: dir }
    })
}

pub fn run(data: &[u8]) {
    let served = served();
    let session = Session::new(Access::default());
    for line in data.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        let reply = served.tokio.block_on(served.dispatcher.answer(line, &session));
        let text = reply.strip_suffix(b"\n").expect("a reply ends with LF");
        assert!(!text.contains(&b'\n'), "one line: {}", String::from_utf8_lossy(text));
        let reply: Value = serde_json::from_slice(text).expect("a reply is JSON");
        match reply["ok"].as_bool().expect("ok is a boolean") {
            true => assert!(reply.get("response").is_some() && reply.get("error").is_none(), "{reply}"),
            false => {
                assert!(reply.get("response").is_none(), "{reply}");
                let error: ContractError =
                    serde_json::from_value(reply["error"].clone()).expect("a V0 error");
                assert!(!error.message.is_empty());
            }
        }
    }
}
