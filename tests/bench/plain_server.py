"""A plain JSON-line server in the usual style: socketserver, a thread per connection, dictionaries.

It is the peer tests/bench/contract measures against, so it is written as one would write it: no delay, no
validation beyond the obvious, Nagle off. Prints `port N` once it listens. Usage: plain_server.py [PORT]
"""
import json
import os
import socketserver
import sys
import threading
import time

INTERFACE = {"interfaceName": "generic-process-interface", "interfaceVersion": 1}
TITLES = {
    "bridge": "Serial Bridge",
    "40318": "40318",
    "plc-simulator": "PLC Simulator",
    "ble-simulator": "BLE Simulator",
}
ACTIONS = [
    {"name": "run_start", "label": "Start", "args": []},
    {"name": "run_stop", "label": "Stop", "args": []},
    {"name": "soak", "label": "Soak", "args": [{"name": "durationSeconds", "type": "int", "required": False}]},
]
APPS = {
    app: {"running": False, "boot": 0, "config": {"profile": "sim", "transportMode": "Com", "port": "pty:" + app}}
    for app in TITLES
}
JOBS = {}
LOCK = threading.Lock()


class Refused(Exception):
    def __init__(self, code, message, **details):
        super().__init__(message)
        self.error = {"code": code, "message": message, "details": details}


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def status_get(app_id, params):
    app = APPS[app_id]
    pid = os.getpid() if app["running"] else None
    return {
        **INTERFACE,
        "appId": app_id,
        "appTitle": TITLES[app_id],
        "running": app["running"],
        "pid": pid,
        "hostRunning": True,
        "hostPid": os.getpid(),
        "bootId": f"{app_id}:{pid}:{app['boot']}" if pid else "",
        "error": None,
    }


def config_get(app_id, params):
    config = APPS[app_id]["config"]
    entries = [{"key": key, "value": value, "fileKey": app_id} for key, value in config.items()]
    return {"repoRoot": os.getcwd(), "valid": True, "errors": [], "entries": entries, "paths": [], "configTree": config}


def config_set(app_id, params):
    config, key = APPS[app_id]["config"], params.get("key")
    if key not in config:
        raise Refused("E_NOT_FOUND", f"unknown key: {key}", key=key)
    changed = config[key] != params.get("value")
    config[key] = params.get("value")
    return {"appId": app_id, "key": key, "value": config[key], "changed": changed, "restartRequired": False}


def action_list(app_id, params):
    return {"appId": app_id, "actions": ACTIONS}


def work(app_id, action, args, job):
    job.update(state="running", startedAt=now())
    if action == "soak":
        time.sleep(float(args.get("durationSeconds", 1)))
    else:
        with LOCK:
            APPS[app_id]["running"] = action == "run_start"
            APPS[app_id]["boot"] += 1
    job.update(state="succeeded", finishedAt=now(), result={"ok": True})


def action_invoke(app_id, params):
    action = params.get("actionName")
    if action not in [known["name"] for known in ACTIONS]:
        raise Refused("E_NOT_FOUND", f"unknown action: {action}", actionName=action)
    job = {"jobId": f"job-{time.time_ns()}", "state": "queued", "acceptedAt": now(), "stdout": "", "stderr": "", "error": None}
    JOBS[job["jobId"]] = job
    answer = dict(job)
    threading.Thread(target=work, args=(app_id, action, params.get("args") or {}, job), daemon=True).start()
    return answer


def action_job_get(app_id, params):
    if params.get("jobId") not in JOBS:
        raise Refused("E_NOT_FOUND", f"unknown job: {params.get('jobId')}", jobId=params.get("jobId"))
    return JOBS[params["jobId"]]


METHODS = {
    "status.get": status_get,
    "config.get": config_get,
    "config.set": config_set,
    "action.list": action_list,
    "action.invoke": action_invoke,
    "action.job.get": action_job_get,
}


def answer(line):
    reply = {}
    try:
        request = json.loads(line)
        if "id" in request:
            reply["id"] = request["id"]
        method, params = request.get("method"), request.get("params") or {}
        if method == "ping":
            return {**reply, "ok": True, "response": {"pong": True, **INTERFACE}}
        if method not in METHODS:
            raise Refused("E_UNSUPPORTED_METHOD", f"unsupported method: {method}", method=method)
        if params.get("appId") not in APPS:
            raise Refused("E_UNSUPPORTED_APP", f"unsupported app: {params.get('appId')}", appId=params.get("appId"))
        return {**reply, "ok": True, "response": METHODS[method](params["appId"], params)}
    except Refused as refused:
        return {**reply, "ok": False, "error": refused.error}
    except (ValueError, AttributeError) as broken:
        return {**reply, "ok": False, "error": {"code": "E_BAD_ARG", "message": str(broken), "details": {}}}


class Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self):
        for line in self.rfile:
            self.wfile.write(json.dumps(answer(line)).encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    with Server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Handler) as server:
        print("port", server.server_address[1], flush=True)
        server.serve_forever()
