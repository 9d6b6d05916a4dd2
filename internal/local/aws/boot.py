"""`python boot.py` instead of `python -m ministack`. Patches for ministack 1.5.33; delete each one when upstream has it.
Needs in the venv: ministack aws-sam-translator cryptography (the last: Cognito token signing and the JWT authorizer)."""
import contextvars, datetime, functools, json, os, signal, socketserver, sys, threading, time, types

# 0. Standard input is a pipe that ends when whoever started this process dies, by whatever signal. Then this process and the Lambda
#    workers it started, which are in its process group, must go too.
def lifeline():
    while os.read(0, 1): pass
    os.killpg(0, signal.SIGKILL)
if "--lifeline" in sys.argv: sys.argv.remove("--lifeline"); threading.Thread(target=lifeline, daemon=True).start()

# 1. Latency, 80 ms -> 2 ms per invocation: the Lambda Runtime API server writes header and body apart (Nagle + delayed ACK = 40 ms) ...
socketserver.StreamRequestHandler.disable_nagle_algorithm = True
from ministack import app
from ministack.core import lambda_runtime as LR
from ministack.core.responses import _request_account_id, _request_region, error_response_json, json_response
from ministack.services import apigateway as A2, cloudwatch as CW, cloudwatch_logs as CL, dynamodb as D, lambda_svc as L, sqs as Q, stepfunctions as SF
from ministack.services import cloudformation as CF
from ministack.services.cloudformation import engine as E, handlers as CH, provisioners as P
# ... and it waits 50 ms for log lines after every invocation that logs nothing, 5 ms after one that does.
LR.Worker._drain_stderr_bounded.__defaults__ = (0.003, 0.001, 0.25)
# A Go handler that returns a nil BatchItemFailures slice ("batchItemFailures": null) breaks the SQS and stream pollers.
_inv = LR.ProvidedWorker.invoke
def invoke(self, *a, **k):
    r = _inv(self, *a, **k); b = r.get("result")
    if isinstance(b, dict) and b.get("batchItemFailures", 0) is None: b["batchItemFailures"] = []
    return r
LR.ProvidedWorker.invoke = invoke
H = P._RESOURCE_HANDLERS

def wrap(table, key, after):
    orig = table[key]
    def f(*a, **k):
        r = orig(*a, **k); after(r[0], *a); return r
    table[key] = f

# 2. SAM HttpApi: AWS::ApiGatewayV2::Api drops Body (the OpenAPI document that the SAM transform writes) and stores CORS under the wrong case.
def lower(d): return {k[:1].lower() + k[1:]: v for k, v in d.items()}
def import_body(api, props):
    spec, made = props.get("Body") or {}, lambda r: json.loads(r[2])
    cors = props.get("CorsConfiguration") or spec.get("x-amazon-apigateway-cors")
    if cors: A2._apis[api]["corsConfiguration"] = lower(cors)
    if not spec: return
    for t in (A2._routes, A2._integrations, A2._authorizers): t[api] = {}
    auth = {}
    for name, s in ((spec.get("components") or {}).get("securitySchemes") or {}).items():
        x = s["x-amazon-apigateway-authorizer"]; src = x.get("identitySource", "$request.header.Authorization"); jwt = x.get("type") == "jwt"
        auth[name] = (made(A2._create_authorizer(api, {**x, "name": name, "authorizerType": "JWT" if jwt else "REQUEST", "identitySource": src if isinstance(src, list) else [src]}))["authorizerId"], "JWT" if jwt else "CUSTOM")
    for path, item in (spec.get("paths") or {}).items():
        for verb, op in item.items():
            x = (op or {}).get("x-amazon-apigateway-integration")
            if not x: continue
            iid = made(A2._create_integration(api, {**x, "integrationType": x["type"].upper(), "integrationUri": x["uri"], "integrationMethod": "POST"}))["integrationId"]
            sec = next(iter((op.get("security") or [{}])[0].items()), None); a = auth.get(sec[0]) if sec else None
            A2._create_route(api, {"routeKey": "$default" if path == "/$default" else ("ANY" if verb == "x-amazon-apigateway-any-method" else verb.upper()) + " " + path, "target": "integrations/" + iid,
                                   **({"authorizationType": a[1], "authorizerId": a[0], "authorizationScopes": sec[1]} if a else {})})
wrap(H["AWS::ApiGatewayV2::Api"], "create", lambda pid, lid, props, stack: import_body(pid, props))
wrap(H["AWS::ApiGatewayV2::Api"], "update", lambda pid, phys, old, new, *a: import_body(pid, new))

# 3. Lambda: CloudFormation drops ReservedConcurrentExecutions and DeadLetterConfig.
def fn_props(name, props):
    f = L._functions[name]; c = props.get("ReservedConcurrentExecutions"); f["concurrency"] = None if c is None else int(c)
    f["config"].pop("DeadLetterConfig", None); f["config"].update({k: props[k] for k in ("DeadLetterConfig",) if props.get(k)})
wrap(H["AWS::Lambda::Function"], "create", lambda pid, lid, props, stack: fn_props(pid, props))
wrap(H["AWS::Lambda::Function"], "update", lambda pid, phys, old, new, *a: fn_props(pid, new))

# 4. HTTP API: throttling (DefaultRouteSettings / RouteSettings) is stored and ignored -> token bucket per route, 429.
buckets, exec_ = {}, A2._handle_execute_in_scope
async def execute(api, stage, path, method, *a, **k):
    st = A2._stages.get(api, {}).get(stage) or {}; r = A2._match_route(api, method, "/" + path.lstrip("/")) if st else None
    s = r and ((st.get("routeSettings") or {}).get(r["routeKey"]) or st.get("defaultRouteSettings"))
    s = lower(s or {})
    if s.get("throttlingRateLimit") is not None:
        rate, burst, now = float(s["throttlingRateLimit"]), float(s.get("throttlingBurstLimit") or 1), time.monotonic()
        n, t = buckets.get((api, stage, r["routeKey"]), (burst, now)); n = min(burst, n + (now - t) * rate); ok = n >= 1
        buckets[(api, stage, r["routeKey"])] = (n - ok, now)
        if not ok: return 429, {"Content-Type": "application/json"}, b'{"message":"Too Many Requests"}'
    return await exec_(api, stage, path, method, *a, **k)
A2._handle_execute_in_scope = execute

# 5. Step Functions: HeartbeatSeconds of waitForTaskToken is ignored.
tl, _cb, _Event = threading.local(), SF._invoke_with_callback, threading.Event
class HbEvent(_Event):
    def wait(self, timeout=None):
        hb, token = getattr(tl, "hb", (None, None))
        if not hb: return super().wait(timeout)
        t0 = time.time()
        while time.time() - t0 < (timeout or 99999):
            if super().wait(0.2): return True
            b = (SF._task_tokens.get(token) or {}).get("heartbeat")
            if time.time() - max(t0, datetime.datetime.fromisoformat(b.replace("Z", "+00:00")).timestamp() if b else 0) > hb:
                SF._task_tokens.pop(token, None); raise SF._ExecutionError("States.HeartbeatTimeout", "Task failed to heartbeat")
        return False
class _Thr:
    Event = HbEvent
    def __getattr__(self, n): return getattr(threading, n)
SF.threading = _Thr()
def callback(resource, inp, token, state):
    tl.hb = (state.get("HeartbeatSeconds"), token)
    try: return _cb(resource, inp, token, state)
    finally: tl.hb = (None, None)
SF._invoke_with_callback = callback

# 6. Step Functions: StartExecution with the name and input of a running execution is idempotent on AWS.
_start = SF._start_execution
def start(data):
    arn = data.get("stateMachineArn", ""); e = SF._executions.get(arn.replace(":stateMachine:", ":execution:") + ":" + (data.get("name") or "?"))
    if e and e["status"] == "RUNNING" and e["input"] == data.get("input", "{}"): return json_response({"executionArn": e["executionArn"], "startDate": e["startDate"]})
    return _start(data)
SF._start_execution = start
# Also: a 150 ms sleep before every execution, and the machine's own TimeoutSeconds is ignored.
class _Time:
    def __getattr__(self, n): return getattr(time, n)
    def sleep(self, s): time.sleep(0 if s == 0.15 else s)
SF.time = _Time()
_run, _fail = SF._run_execution, SF._fail_execution
def expire(e):
    if e["status"] == "RUNNING":
        e.update(status="TIMED_OUT", stopDate=SF.now_iso(), error="States.Timeout"); SF._add_event(e, "ExecutionTimedOut", {"executionTimedOutEventDetails": {}}); SF._emit_execution_status_event(e)
def run(arn):
    e = SF._executions.get(arn); t = e and json.loads((SF._state_machines.get(e["stateMachineArn"]) or {}).get("definition") or "{}").get("TimeoutSeconds")
    if t: tm = threading.Timer(t, contextvars.copy_context().run, (expire, e)); tm.daemon = True; tm.start()
    try: return _run(arn)
    finally: t and tm.cancel()
SF._run_execution, SF._fail_execution = run, lambda e, *a: _fail(e, *a) if e["status"] == "RUNNING" else None

# 7. SQS: StartMessageMoveTask / ListMessageMoveTasks / ListDeadLetterSourceQueues are missing (the move is done at once).
tasks = []
def sources(arn): return [q for q in Q._queues.values() if json.loads(q["attributes"].get("RedrivePolicy") or "{}").get("deadLetterTargetArn") == arn]
def start_move(data, qurl):
    src = Q._queue_by_arn(data["SourceArn"])
    if src is None: raise Q._Err("ResourceNotFoundException", "The resource that you specified for the SourceArn parameter doesn't exist.", 404)
    back, n = {q["attributes"]["QueueArn"]: q for q in sources(data["SourceArn"])}, 0
    for m in list(src["messages"]):
        dst = Q._queue_by_arn(data.get("DestinationArn") or (m.get("sys") or {}).get("DeadLetterQueueSourceArn") or next(iter(back), ""))
        if dst is None or m.get("visible_at", 0) > time.time(): continue
        src["messages"].remove(m); m.update(receive_count=0, first_receive_at=None, receipt_handle=None, visible_at=time.time()); dst["messages"].append(m); n += 1
    h = os.urandom(12).hex(); tasks.insert(0, {"Status": "COMPLETED", "SourceArn": data["SourceArn"], **({"DestinationArn": data["DestinationArn"]} if data.get("DestinationArn") else {}), "ApproximateNumberOfMessagesMoved": n, "ApproximateNumberOfMessagesToMove": n, "StartedTimestamp": int(time.time() * 1000)})
    return {"TaskHandle": h}
Q._HANDLERS.update({"StartMessageMoveTask": start_move, "ListMessageMoveTasks": lambda d, u: {"Results": [t for t in tasks if t["SourceArn"] == d["SourceArn"]][:int(d.get("MaxResults") or 1)]},
    "ListDeadLetterSourceQueues": lambda d, u: {"queueUrls": [q["url"] for q in sources(Q._get_q(d.get("QueueUrl", u))["attributes"]["QueueArn"])]}})

# 8. DynamoDB: CloudFormation drops TimeToLiveSpecification and PointInTimeRecoverySpecification; a TTL deletion writes no stream record.
def table_props(name, props):
    ttl = props.get("TimeToLiveSpecification") or {}; D._pitr_settings[name] = str((props.get("PointInTimeRecoverySpecification") or {}).get("PointInTimeRecoveryEnabled")).lower() == "true"
    if ttl.get("AttributeName"): D._ttl_settings[name] = {"TimeToLiveStatus": "ENABLED" if str(ttl.get("Enabled", True)).lower() == "true" else "DISABLED", "AttributeName": ttl["AttributeName"]}
    else: D._ttl_settings.pop(name, None)
wrap(H["AWS::DynamoDB::Table"], "create", lambda pid, lid, props, stack, *a: table_props(pid, props))
wrap(H["AWS::DynamoDB::Table"], "update", lambda pid, phys, old, new, *a: table_props(pid, new))
_rm = D._remove_item
def remove(table, pk, sk):
    old = _rm(table, pk, sk)
    if old is not None and threading.current_thread().name == "dynamodb-ttl-reaper" and (table.get("StreamSpecification") or {}).get("StreamEnabled"):
        arn = table["TableArn"].split(":"); _request_region.set(arn[3]); _request_account_id.set(arn[4]); name = table["TableName"]
        D._emit_stream_event(name, "REMOVE", old, None)
        D._stream_records[name][-1]["userIdentity"] = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    return old
D._remove_item = remove

# 9. CloudWatch: embedded metric format lines in Lambda logs make no metrics; AWS/Lambda metrics come only from the Invoke API (not from
#    API Gateway, SQS, ...); and every invocation opens a log stream that is never dropped (26 kB each): keep the last 500 of a group.
_logs, _met = L._emit_lambda_logs, L._emit_lambda_metrics
L._emit_lambda_metrics = lambda n, **k: _met(n, **k) if k.get("throttle") else None
def emf(func, request_id, text, error, ms, **k):
    cfg = func.get("config") or func; _met(cfg.get("FunctionName", ""), duration_ms=ms, error=error, throttle=False)
    for line in (text or "").splitlines():
        if '"_aws"' in line:
            try:
                j = json.loads(line)
                for d in j["_aws"]["CloudWatchMetrics"]:
                    for dims in d.get("Dimensions") or [[]]:
                        for m in d["Metrics"]:
                            v = j[m["Name"]]
                            for x in v if isinstance(v, list) else [v]: CW.record_metric(d["Namespace"], m["Name"], x, m.get("Unit", "None"), {n: str(j[n]) for n in dims})
            except (ValueError, KeyError, TypeError): pass
    _logs(func, request_id, text, error, ms, **k)
    st = (CL._log_groups.get((cfg.get("LoggingConfig") or {}).get("LogGroup") or "/aws/lambda/" + cfg.get("FunctionName", "")) or {}).get("streams") or {}
    while len(st) > 500: st.pop(next(iter(st)), None)
L._emit_lambda_logs = emf

# 10. CloudWatch: alarms ignore Dimensions and TreatMissingData and are evaluated only on PutMetricData; queues have no metrics.
_eval = CW._evaluate_alarm
class _View:  # what _evaluate_alarm sees of the metrics: only the alarm's own dimensions
    def __init__(self, want): self.want = want
    def items(self): return [(k, p) for k, p in list(CW._metrics.items()) if p and p[0].get("Dimensions") == self.want]
def evaluate(a):
    d = a.get("Dimensions") or {}; view = _View({x["Name"]: x["Value"] for x in d} if isinstance(d, list) else dict(d)); cut = time.time() - a.get("Period", 60) * a.get("EvaluationPeriods", 1)
    if any(k[:2] == (a.get("Namespace"), a.get("MetricName")) and p[-1]["Timestamp"] >= cut for k, p in view.items()):
        return types.FunctionType(_eval.__code__, {**vars(CW), "_metrics": view})(a)
    old, new = a["StateValue"], {"notBreaching": "OK", "breaching": "ALARM", "missing": "INSUFFICIENT_DATA"}.get(a.get("TreatMissingData") or "missing", a["StateValue"])
    if new != old:
        a.update(StateValue=new, StateUpdatedTimestamp=int(time.time()), StateReason="missing data"); CW._record_history(a["AlarmName"], old, new, "missing data"); CW._dispatch_alarm_actions(a, old, new, "missing data")
CW._evaluate_alarm = evaluate
def watch():
    while True:
        time.sleep(5)
        try:
            for (acct, region, _), q in list(Q._queues.all_items()):
                _request_account_id.set(acct); _request_region.set(region); now = time.time(); ms = list(q["messages"]); vis = [m for m in ms if m.get("visible_at", 0) <= now]; dims = {"QueueName": q["name"]}
                CW.record_metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", len(vis), "Count", dims); CW.record_metric("AWS/SQS", "ApproximateNumberOfMessagesNotVisible", len(ms) - len(vis), "Count", dims)
                CW.record_metric("AWS/SQS", "ApproximateAgeOfOldestMessage", max([now - m["sent_at"] for m in ms] or [0]), "Seconds", dims)
            for acct, region in {k[:2] for k, _ in list(CW._alarms.all_items())}:
                _request_account_id.set(acct); _request_region.set(region); CW._evict_old_metrics(); CW._evaluate_all_alarms()
        except Exception as e: L.logger.warning("watch: %s", e)
threading.Thread(target=watch, daemon=True).start()

# 11. CloudFormation, nested stacks: the template is deployed as written (no SAM transform, no validation, no CAPABILITY_AUTO_EXPAND check);
#     an update forgets the attributes of the resources that stay as they are; a failure does not say which resource failed; and dynamic
#     references are not resolved. stacks.py has its own names for the last two functions, so only nested stacks see these.
_parse, _nested, nested = E._parse_template, P._cfn_nested_stack_deploy, contextvars.ContextVar("nested", default=None)
_provision, _update = P._provision_resource, P._update_resource
def dynamic(props): return E._resolve_dynamic_references(props, None, reuse_ssm=False, reuse_secrets=False)[0]
def provision_resource(rtype, logical_id, props, stack): return _provision(rtype, logical_id, dynamic(props), stack)
def parse_nested(body):
    t, now = _parse(body), nested.get()
    if now is None: return t
    nested.set(None); parent, props = now; P._check_nested_stack_capabilities(parent, t)
    given = [{"Key": k, "Value": str(v)} for k, v in (props.get("Parameters") or {}).items()]
    t = E._apply_transforms(t, given); values = E._resolve_parameters(t, given)
    E.validate_template_support(t, E._evaluate_conditions(t, values), params=values)
    return t
def deploy_nested(logical_id, props, parent, previous_physical_id=None, **k):
    token = nested.set((parent, props)); root = (CF._stacks.get(parent) or {}).get("StackId")
    if previous_physical_id is None:
        previous_physical_id = next((n for n, s in CF._stacks.items() if root and s.get("ParentId") == root and n.startswith(f"{parent}-{logical_id}-") and s["StackStatus"] in STOPPED), None)
    try: return _nested(logical_id, props, parent, previous_physical_id=previous_physical_id, **k)
    except Exception as e:
        own = [s for n, s in CF._stacks.items() if s.get("_parent_stack_name") == parent and (n == previous_physical_id or n.startswith(f"{parent}-{logical_id}-"))]
        raise ValueError(own and own[-1].get("StackStatusReason") or str(e)) from e
    finally: nested.reset(token)
def update_resource(rtype, pid, old, new, stack, logical_id=None, old_attrs=None):
    if old_attrs is None: old_attrs = ((CF._stacks.get(stack) or {}).get("_resources", {}).get(logical_id) or {}).get("Attributes")
    if old != new: old, new = dynamic(old), dynamic(new)
    return _update(rtype, pid, old, new, stack, logical_id, old_attrs)
E._parse_template, P._cfn_nested_stack_deploy, P._provision_resource, P._update_resource = parse_nested, deploy_nested, provision_resource, update_resource

# 12. IAM: the loopback stands for TLS, so that a policy which demands encrypted transport can be deployed as it is.
from ministack.core import iam_evaluator as IE
_key = IE._resolve_condition_key
IE._resolve_condition_key = lambda key, ctx: "true" if key.lower() == "aws:securetransport" else _key(key, ctx)

# 13. IAM: calls of a stream name it, by its ARN or in their iterator; here they count as calls of no resource, which a policy about one stream refuses.
from ministack.core import iam_actions as IA
from ministack.services import dynamodb_streams as DS
_resource = IA.extract_resource_arn
def stream_arn(service, method, path, headers, body, *a):
    if service != "dynamodbstreams": return _resource(service, method, path, headers, body, *a)
    asked = json.loads(body or b"{}")
    return asked.get("StreamArn") or (DS._decode_iterator(asked.get("ShardIterator") or "") or {}).get("arn") or "*"
IA.extract_resource_arn = stream_arn

# 14. IAM: whoever may send, hide or delete a message may do so with ten at once; here that takes permissions which AWS does not have.
_action = IA.extract_iam_action
def single(*a, **k):
    action = _action(*a, **k)
    return action[:-len("Batch")] if (action or "").startswith("sqs:") and action.endswith("Batch") else action
IA.extract_iam_action = single

# 15. DynamoDB: an expression is read and its grammar checked again for every item that it is evaluated on, so that a query takes 25 ms in a
#     partition of 1,000 rows.
_tokens = functools.lru_cache(4096)(D._tokenize)
D._tokenize = lambda expr: list(_tokens(expr))
D._condition_syntax_error = functools.lru_cache(4096)(D._condition_syntax_error)

# 16. CloudFormation: a stack that failed with DisableRollback is updated from there with DisableRollback, and nested stacks with it; here it can
#     only be rolled back, and a nested stack that failed would be made a second time.
STOPPED = ("CREATE_FAILED", "UPDATE_FAILED")
_change, _none = CH._update_stack, CH._stack_has_no_updates
def update_stack(params):
    s = CH._resolve_stack(CH._p(params, "StackName")); was = (s or {}).get("StackStatus")
    if was not in STOPPED: return _change(params)
    if CH._p(params, "DisableRollback", "false").lower() != "true":
        return CH._error("ValidationError", f"This stack is currently in a non-terminal [{was}] state. To update the stack from this state, please use the disable-rollback parameter with update-stack API. To rollback to the last known good state, use the rollback-stack API")
    s.update(StackStatus="UPDATE_COMPLETE", _stopped=True)
    try: return _change(params)
    finally:
        s.pop("_stopped", None)
        if s["StackStatus"] == "UPDATE_COMPLETE": s["StackStatus"] = was
CH._stack_has_no_updates = lambda stack, *a: not stack.pop("_stopped", False) and _none(stack, *a)
CH._ACTION_HANDLERS["UpdateStack"] = update_stack

if __name__ == "__main__": app.main()
