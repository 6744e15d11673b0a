"""Webhooks through a real stack: a run ends, and a receiver has heard of it; `basin webhook` from add to delete."""

from __future__ import annotations

import json

from tests.integration.api.receiver import Answer, Receiver
from tests.integration.running_stack import RunningStack, until

SPEC = """
model: {name: vit_tiny_patch16_224, arguments: {patch_size: 4, embed_dim: 16, depth: 1, num_heads: 2}}
optimizer: {name: adamw, lr: 1e-3}
method: {name: looksam, k: 2}
global_batch_size: 64
steps: 6
"""


def test_a_run_is_told_to_a_receiver_from_its_submission_to_its_end(stack: RunningStack) -> None:
    with Receiver() as receiver:
        made = stack.basin_json("webhook", "add", receiver.url, "--project", "hooked")
        submitted = stack.basin("run", "submit", "-", "--json", "--project", "hooked", text=SPEC)
        run_id = json.loads(submitted.stdout)["id"]
        stack.basin("run", "watch", run_id)
        until(lambda: len(receiver.requests) >= 3, "three messages", 300, stack.tail)
        told = sorted(receiver.verified(made["secret"]), key=lambda message: message["timestamp"])
        assert [message["type"] for message in told] == ["run.queued", "run.started", "run.succeeded"]
        assert {message["data"]["id"] for message in told} == {run_id}
        last = told[-1]["data"]
        assert (last["status"], last["reason"], last["fault"], last["step"]) == ("succeeded", "completed", "nobody", 6)
        assert last["link"] == f"{stack.api_url}/runs/{run_id}"
        assert len({request.headers["webhook-id"] for request in receiver.requests}) == 3
        until(lambda: not stack.client.webhooks.show(made["id"]).waiting, "all written down", 300, stack.tail)
        log = stack.basin_json("webhook", "deliveries", made["id"])["items"]
        assert [(each["type"], each["state"]) for each in log] == [
            ("run.succeeded", "delivered"), ("run.started", "delivered"), ("run.queued", "delivered"),
        ]  # fmt: skip
        stack.basin("webhook", "redeliver", made["id"], str(log[0]["id"]))
        until(lambda: len(receiver.requests) == 4, "the message again", 300, stack.tail)
        assert receiver.requests[3].headers["webhook-id"] == log[0]["message_id"]
        stack.basin("webhook", "delete", made["id"])


def test_the_commands_say_what_is_and_what_to_do(stack: RunningStack) -> None:
    refused = stack.basin("webhook", "add", "http://hooks.example.org/", check=False)
    assert (refused.returncode, "must begin with https://" in refused.stderr) == (2, True)
    with Receiver([Answer(200), Answer(500, body=b"broken")]) as receiver:
        shown = stack.basin("webhook", "add", receiver.url, "--event", "run.failed", "--description", "pager")
        webhook_id, secret = shown.stdout.split()[0], shown.stdout.split()[3]
        assert secret.startswith("whsec_")
        assert stack.basin("webhook", "test", webhook_id).stdout.startswith("taken: status 200 in ")
        failed = stack.basin("webhook", "test", webhook_id, check=False)
        assert (failed.returncode, failed.stdout.split(" in ")[0]) == (1, "not taken: status 500")
        assert [message["type"] for message in receiver.verified(secret)] == ["webhook.test"] * 2
        assert "status 500" in stack.basin("webhook", "deliveries", webhook_id, "--state", "failed").stdout
        rotated = stack.basin_json("webhook", "rotate", webhook_id)
        assert rotated["secret"] != secret
        page = stack.basin("webhook", "show", webhook_id).stdout
        assert "pager" in page
        assert "whsec_" not in page
        edited = stack.basin_json("webhook", "edit", webhook_id, "--all-events", "--description", "", "--disable")
        assert (edited["events"], edited["description"], edited["enabled"]) == ([], None, False)
        assert "disabled" in stack.basin("webhook", "list").stdout
        assert stack.basin("webhook", "edit", webhook_id, check=False).returncode == 2
        assert stack.basin("webhook", "delete", webhook_id).stdout == f"{webhook_id} deleted\n"
    gone = stack.basin("webhook", "show", webhook_id, check=False)
    assert (gone.returncode, "there is no webhook" in gone.stderr) == (2, True)
