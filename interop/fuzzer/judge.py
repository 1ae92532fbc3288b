"""What the fuzzer was told, against what the guard put on record, what it logged and what ran. Arguments: the directory
with all of that, and the token that the proxy added to each request."""

import glob
import json
import re
import sys
from collections import Counter

WORK, TOKEN = sys.argv[1:]
# rmcp refuses these before a guard sees them
HEADER_MISMATCH = -32020
# What an argument must have to be looked for: shorter ones are in a log for other reasons.
SHORTEST_SECRET = 16


def lines(name):
    with open(f"{WORK}/{name}") as file:
        return file.read().splitlines()


def is_open(tool):
    closed = ("test_input_", "test_elicitation", "test_sampling")
    return isinstance(tool, str) and tool.startswith("test_") and not tool.startswith(closed)


def member(value, *path):
    """What is at this path, or nothing where something on the way is of another kind."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def denial_in(message):
    for denial in (member(message, "result", "_meta", "rmcp-guard/denial"), member(message, "error", "data")):
        if member(denial, "decision") == "deny":
            return denial
    return None


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)


problems = []


def check(condition, text):
    if not condition:
        problems.append(text)


exchanges = [json.loads(line) for line in lines("exchanges.jsonl")]
records = [json.loads(line)["event"] for line in lines("records.jsonl")]
decisions = {record["id"]: record for record in records if record["rmcp_guard.kind"] == "decision"}
runs = json.loads(lines("guarded.out")[-1])["runs"]

# -- what was said ---------------------------------------------------------------------------------------------------------

told, ran, arguments, tried, calls = set(), Counter(), set(), Counter(), 0
for exchange in exchanges:
    check(exchange["status"] in (200, 202, 400, 404, 405), f"status {exchange['status']} for {exchange['request'][:200]}")
    try:
        request = json.loads(exchange["request"] or "null")
    except ValueError:
        request = None
    is_call, tool = member(request, "method") == "tools/call", member(request, "params", "name")
    if is_call:
        arguments.update(strings(member(request, "params", "arguments")))
    for message in exchange["messages"]:
        if denial := denial_in(message):
            told.add(denial["evidence_id"])
            reason = member(decisions.get(denial["evidence_id"]), "rmcp_guard.deny_reason")
            # a stranger is not told which tools and methods there are
            hidden = denial["reason"] == "badge_missing" and reason in ("tool_not_allowed", "method_not_allowed")
            check(reason == denial["reason"] or hidden, f"told {denial}, on record is {reason}")
        if not is_call or member(message, "id") is None or member(message, "error", "code") == HEADER_MISMATCH:
            continue
        calls += 1
        tried[str(tool)] += 1
        if denial is None:
            ran[tool] += 1
            check(is_open(tool), f"the answer to a call of {tool!r} is no denial: {message}")

# -- what is on record, and what ran ---------------------------------------------------------------------------------------

# neither counts instead of records, nor gaps
kinds = Counter(record["rmcp_guard.kind"] for record in records)
check(set(kinds) <= {"decision", "outcome", "policy_loaded", "notice"}, f"kinds of records: {kinds}")
on_calls = [record for record in decisions.values() if record["rmcp_guard.method"] == "tools/call"]
allowed = Counter(record["capiscio.target"] for record in on_calls if record["capiscio.decision"] == "ALLOW")
check(allowed == ran == Counter(runs), f"allowed {allowed}, answered {ran}, ran {runs}")
check(kinds["outcome"] == allowed.total(), f"{kinds['outcome']} outcomes of {allowed.total()} calls")
denied = {record["id"] for record in decisions.values() if record["capiscio.decision"] == "DENY"}
check(told <= denied, f"told, and not on record: {told - denied}")
# a notification has no answer
untold = [decisions[identifier] for identifier in denied - told]
untold = [record for record in untold if not record["capiscio.target"].startswith("notifications/")]
check(not untold, f"on record, and not told: {untold[:3]}")
closed_tried = [tool for tool in ("greet", "slow_compute", "test_sampling", "test_elicitation") if tried[tool]]
check(len(closed_tried) == 4, f"the fuzzer tried {closed_tried} only, so nothing was shown about closed tools")
check(allowed.total() > 0, "no call was allowed, so nothing was shown about open tools")

# -- what is in records and logs -------------------------------------------------------------------------------------------

log = lines("guarded.err")
copies = [line for line in log if " DEBUG rmcp_guard::evidence::record: " in line]
check(len(copies) >= len(decisions), f"{len(copies)} lines for {len(decisions)} decisions: the log does not show them")
# a caller cannot begin a line of its own
strays = [line for line in log if not re.match(r"\d{4}-\d\d-\d\dT\S+ +[A-Z]+ rmcp_guard", line)]
check(not strays, f"lines that are not the guard's: {strays[:3]}")
targets = "\n".join(record["capiscio.target"] for record in decisions.values())
secrets = {text for text in arguments if len(text) >= SHORTEST_SECRET and text not in targets} | {TOKEN}
check(len(secrets) > 10, f"{len(secrets)} texts to look for, so nothing was shown about secrets")
for where, text in (("a record", "\n".join(lines("records.jsonl"))), ("the log", "\n".join(log))):
    for secret in secrets:
        found = any(form in text for form in (secret, json.dumps(secret)[1:-1]))
        check(not found, f"{secret[:80]!r} is in {where}")

# -- what the fuzzer thinks of it ------------------------------------------------------------------------------------------

# Whether arguments fit a tool's schema is the tool's to say, and a name comes back to who sent it.
not_ours = {"accepted_malformed", "injection_reflection", "performance_outlier", "non_determinism"}
findings = Counter()
for name in sorted(glob.glob(f"{WORK}/reports/*/findings.json")):
    with open(name) as file:
        for finding in json.load(file)["findings"]:
            findings[finding["category"]] += 1
            check(finding["category"] in not_ours, f"mcp-fuzzer: {json.dumps(finding)[:400]}")

statuses = dict(sorted(Counter(exchange["status"] for exchange in exchanges).items()))
revisions = sorted({record["rmcp_guard.protocol_version"] for record in on_calls})
print(f"{len(exchanges)} requests, by status {statuses}")
print(f"{calls} calls in {', '.join(revisions)}: {allowed.total()} allowed and run, {calls - allowed.total()} denied")
print(f"{len(denied)} denials of all methods; {len(secrets)} texts looked for in records and log")
print(f"findings of mcp-fuzzer: {dict(findings)}")
if problems:
    print("FAILED:", *problems[:20], sep="\n  ", file=sys.stderr)
    sys.exit(1)
print("each call and each denial is on record once, no closed tool ran, and none of the texts was found")
