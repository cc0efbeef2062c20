"""A third-party app: counts. Speaks the contract on standard input and output, one JSON object a line."""
import json, os, sys, time
count, jobs, started = 0, {}, None
print("counter: a line that is not of the contract")
print("hello from", os.getpid(), file=sys.stderr, flush=True)

def answer(method, p):
    global count, started
    if method == "ping":
        return {"pong": True, "interfaceName": "generic-process-interface", "interfaceVersion": 1}
    if method == "status.get":
        up = started is not None
        return {"interfaceName": "generic-process-interface", "interfaceVersion": 1, "appId": "counter", "appTitle": "C",
                "running": up, "pid": os.getpid() if up else None, "hostRunning": True, "hostPid": os.getpid(),
                "bootId": f"counter:{os.getpid()}:{started}" if up else "", "error": "", "count": count}
    if method == "config.get":
        return {"repoRoot": os.getcwd(), "valid": True, "errors": [], "entries": [], "paths": [], "configTree": {}}
    if method == "action.list":
        return {"actions": [{"name": n, "label": n, "args": [], "cmd": ["touch", "x"]} for n in ("run_start", "run_stop", "count", "hang", "crash", "silence", "nonsense")]}
    if method == "action.invoke":
        action, job = p["actionName"], f"j/{len(jobs)}"
        if action == "crash":
            print("counter: out of numbers", file=sys.stderr, flush=True); os._exit(7)
        if action == "silence":
            time.sleep(3600)
        if action == "nonsense":
            return ["what?"]
        count += action == "count"
        started = {"run_start": time.time(), "run_stop": None}.get(action, started)
        state = "running" if action == "hang" else "succeeded"
        jobs[job] = {"jobId": job, "state": state, "startedAt": None, "finishedAt": None, "result": {"count": count}, "stdout": f"{action}\n", "stderr": "", "error": None}
        return {"jobId": job, "state": "queued", "acceptedAt": ""}
    if method == "action.job.get":
        return jobs[p["jobId"]]

for line in sys.stdin:
    request = json.loads(line)
    reply = answer(request["method"], request.get("params", {}))
    reply = {"ok": True, "response": reply} if reply is not None else {"ok": False, "error": {"code": "E_UNSUPPORTED_METHOD", "message": "no such method", "details": {}}}
    print(json.dumps({"id": request.get("id"), **reply}), flush=True)
