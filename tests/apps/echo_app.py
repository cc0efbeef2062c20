#!/usr/bin/env python3
"""A third-party app: the process interface on stdin and stdout, one JSON object a line, standard library only."""
import json, os, sys, time

NAME = {"interfaceName": "generic-process-interface", "interfaceVersion": 1}
STATUS = NAME | {"appId": "echo", "appTitle": "Echo", "running": False, "pid": None, "hostRunning": True,
                 "hostPid": os.getpid(), "bootId": "", "error": "", "echoed": 0}
ACTIONS = [{"name": "run_start", "label": "Start", "args": []}, {"name": "run_stop", "label": "Stop", "args": []},
           {"name": "echo", "label": "Echo", "args": [{"name": "text", "label": "Text", "type": "string", "required": True}]}]
JOBS = {}

def answer(method, params):
    if method == "ping": return NAME | {"pong": True}
    if method == "status.get": return STATUS
    if method == "config.get":
        return {"repoRoot": os.getcwd(), "valid": True, "errors": [], "entries": [], "paths": [], "configTree": {}}
    if method == "action.list": return {"actions": ACTIONS}
    if method == "action.job.get": return JOBS[params["jobId"]]
    if method != "action.invoke": raise KeyError(method)
    name, args, now = params["actionName"], params.get("args", {}), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if name == "echo": STATUS["echoed"] += 1
    else: up = STATUS["running"] = name == "run_start"; STATUS.update(pid=os.getpid() if up else None, bootId=f"echo:{os.getpid()}:{now}" if up else "")
    job = {"jobId": params.get("jobId") or f"job-{len(JOBS)}", "state": "succeeded", "startedAt": now, "finishedAt": now,
           "result": args, "stdout": args.get("text", ""), "stderr": "", "error": None}
    JOBS[job["jobId"]] = job
    return {"jobId": job["jobId"], "state": "queued", "acceptedAt": now}

for line in sys.stdin:
    request = json.loads(line)
    try: reply = {"ok": True, "response": answer(request["method"], request.get("params", {}))}
    except KeyError as key: reply = {"ok": False, "error": {"code": "E_UNSUPPORTED_METHOD", "message": f"no {key} here", "details": {}}}
    print(json.dumps({"id": request.get("id")} | reply), flush=True)
