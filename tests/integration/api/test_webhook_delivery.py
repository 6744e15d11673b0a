"""Messages on their way to a receiver that verifies them: again until taken, once at a time, never to nobody."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from api.runs.webhooks import delivering
from api.runs.webhooks.delivering import DIED, MOST_OF_A_USER, record, take
from api.runs.webhooks.sending import Outcome, send
from api.settings import Settings
from tests.integration.api.hooked import Hooked, environment_of
from tests.integration.api.receiver import Answer, Receiver
from worker import tasks
from worker.collection import collect_due
from worker.connections import Connections
from worker.webhooks import deliver_due


class TestFailures:
    def test_a_message_comes_again_with_the_same_id_and_bytes_until_it_is_taken(
        self, hooks: Hooked, receiver: Receiver
    ) -> None:
        made = hooks.add(receiver.url)
        receiver.answer_next(Answer(500, body=b"not now"), Answer(503, headers={"Retry-After": "900"}))
        hooks.api.new_run()
        assert hooks.deliver() == 1
        assert hooks.show(made["id"])["failing_since"]
        for _ in range(2):
            hooks.time_passes()
            assert hooks.deliver() == 1
        assert len({(request.headers["webhook-id"], request.body) for request in receiver.requests}) == 1
        assert len(receiver.verified(made["secret"])) == 3
        [delivery] = hooks.log(made["id"])
        assert (delivery["state"], delivery["next_at"]) == ("delivered", None)
        assert [(each["number"], each["status_code"]) for each in delivery["attempts"]] == [
            (1, 500),
            (2, 503),
            (3, 200),
        ]
        assert delivery["attempts"][0]["excerpt"] == "not now"
        shown = hooks.show(made["id"])
        assert (shown["failing_since"], shown["waiting"], shown["enabled"]) == (None, 0, True)

    def test_the_delays_grow_and_a_receiver_may_ask_for_more(self, hooks: Hooked, receiver: Receiver) -> None:
        made = hooks.add(receiver.url)
        receiver.answer_next(Answer(500), Answer(500), Answer(429, headers={"Retry-After": "7200"}))
        hooks.api.new_run()
        waits = []
        for _ in range(3):
            hooks.deliver()
            with hooks.api.engine.connect() as connection:
                row = connection.exec_driver_sql(
                    "SELECT extract(epoch FROM next_at - max(at)) FROM webhook_deliveries JOIN webhook_attempts"
                    " ON delivery_id = id GROUP BY id"
                )
                waits.append(float(row.scalar_one()))
            hooks.time_passes()
        for wait, least in zip(waits, (5, 300, 7200), strict=True):
            assert least <= wait <= 1.1 * least + 30
        assert hooks.log(made["id"])[0]["state"] == "waiting"

    def test_a_receiver_that_hangs_is_left_and_holds_nobody_else_up(
        self, hooks: Hooked, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = hooks.add(receiver.url)
        with Receiver([Answer(hangs=True)] * 10) as hanging:
            # Only the one that hangs: the other may take its time, on a machine that does much else.
            impatient = functools.partial(send, seconds=1.0)
            monkeypatch.setattr(
                delivering, "send", lambda url, *rest: (impatient if url == hanging.url else send)(url, *rest)
            )
            slow = hooks.add(hanging.url)
            for _ in range(3):
                hooks.api.new_run()
            hooks.deliver()
        assert len(receiver.verified(made["secret"])) == 3
        told = hooks.log(slow["id"])
        assert [each["state"] for each in told] == ["waiting"] * 3
        assert "no answer within 1 s" in told[-1]["attempts"][0]["error"]

    def test_a_redirect_is_not_followed(self, hooks: Hooked, receiver: Receiver) -> None:
        with Receiver() as target:
            receiver.answer_next(Answer(301, headers={"Location": target.url}))
            made = hooks.add(receiver.url)
            hooks.api.new_run()
            hooks.deliver()
            assert target.connections == 0
        [attempt] = hooks.log(made["id"])[0]["attempts"]
        assert attempt["status_code"] == 301
        assert "not followed" in attempt["error"]

    def test_410_disables_drops_what_waits_and_tells_the_owner(self, hooks: Hooked, receiver: Receiver) -> None:
        made = hooks.add(receiver.url)
        receiver.answer_next(Answer(410))
        run_id = hooks.api.new_run()
        hooks.deliver()
        shown = hooks.show(made["id"])
        assert (shown["enabled"], shown["waiting"]) == (False, 0)
        assert "410" in shown["disabled_reason"]
        [event] = [
            each for each in hooks.api.get(f"/runs/{run_id}/events").json()["items"] if each["kind"] == "webhook"
        ]
        assert event["text"] == "A webhook was disabled: its receiver answered 410 (gone)."
        assert event["data"]["webhook"] == made["id"]
        hooks.api.cancel(run_id)
        assert len(hooks.log(made["id"])) == 1, "a disabled one is told of nothing"
        [dropped] = hooks.log(made["id"], state="dropped")
        refused = hooks.ask("POST", f"/{made['id']}/deliveries/{dropped['id']}/redeliver")
        assert (refused.status_code, "enable it first" in refused.json()["detail"]) == (409, True)
        assert hooks.ask("PATCH", f"/{made['id']}", json={"enabled": True}).json()["disabled_reason"] is None
        assert hooks.ask("POST", f"/{made['id']}/deliveries/{dropped['id']}/redeliver").json()["state"] == "waiting"
        hooks.deliver()
        assert [message["type"] for message in receiver.verified(made["secret"])] == ["run.queued"] * 2
        assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1

    def test_a_receiver_that_took_nothing_in_a_whole_schedule_is_disabled(
        self, hooks: Hooked, receiver: Receiver
    ) -> None:
        made = hooks.add(receiver.url)
        run_id = hooks.api.new_run()
        receiver.answer_next(*[Answer(500)] * 20)
        for attempt in range(1, 11):
            assert hooks.show(made["id"])["enabled"], attempt
            hooks.time_passes()
            assert hooks.deliver() == 1
        shown = hooks.show(made["id"])
        assert (shown["enabled"], "10 attempts over days" in shown["disabled_reason"]) == (False, True)
        [delivery] = hooks.log(made["id"])
        assert (delivery["state"], len(delivery["attempts"])) == ("failed", 10)
        events = hooks.api.get(f"/runs/{run_id}/events").json()["items"]
        assert [each["kind"] for each in events].count("webhook") == 1

    def test_a_receiver_that_took_something_meanwhile_stays_enabled(self, hooks: Hooked, receiver: Receiver) -> None:
        made = hooks.add(receiver.url)
        receiver.answer_next(Answer(500))
        run_id = hooks.api.new_run()
        hooks.deliver()
        hooks.execute("UPDATE webhook_deliveries SET failures = 9, next_at = now() + interval '1 hour'")
        hooks.api.cancel(run_id)
        hooks.deliver()
        receiver.answer_next(Answer(500))
        hooks.time_passes()
        hooks.deliver()
        assert [each["state"] for each in hooks.log(made["id"])] == ["delivered", "failed"]
        assert hooks.show(made["id"])["enabled"]


class TestManyAtOnce:
    def test_two_workers_at_once_send_each_message_once(self, hooks: Hooked, settings: Settings) -> None:
        with ExitStack() as stack:
            receivers = [stack.enter_context(Receiver()) for _ in range(5)]
            for receiver in receivers:
                hooks.add(receiver.url)
            for _ in range(12):
                hooks.api.new_run()
            others = [Connections(settings), Connections(settings)]
            made: list[int] = []
            workers = [threading.Thread(target=lambda c=c: made.append(deliver_due(c))) for c in others]  # type: ignore[misc]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join(60)
            while hooks.deliver():
                pass
            for connections in others:
                connections.close()
            for receiver in receivers:
                ids = Counter(request.headers["webhook-id"] for request in receiver.requests)
                assert (len(ids), set(ids.values())) == (12, {1})
        assert hooks.api.count("webhook_deliveries", state="delivered") == 60
        assert hooks.api.count("webhook_attempts") == 60

    def test_what_a_killed_worker_was_sending_is_sent_again_when_its_lease_ran_out(
        self, hooks: Hooked, settings: Settings
    ) -> None:
        with Receiver([Answer(hangs=True)]) as receiver:
            made = hooks.add(receiver.url)
            hooks.api.new_run()
            code = "from api.settings import Settings; from worker.connections import Connections;"
            code += "from worker.webhooks import deliver_due; deliver_due(Connections(Settings()))"
            environment = {**os.environ, **environment_of(settings)}
            worker = subprocess.Popen([sys.executable, "-c", code], env=environment)
            while not receiver.requests:
                assert worker.poll() is None
                time.sleep(0.02)
            worker.kill()
            worker.wait()
            assert hooks.deliver() == 0, "its lease is not over"
            hooks.time_passes()
            assert hooks.deliver() == 1
            told = receiver.verified(made["secret"])
        assert [message["type"] for message in told] == ["run.queued"] * 2
        assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
        [delivery] = hooks.log(made["id"])
        assert [(each["status_code"], each["error"]) for each in delivery["attempts"]] == [(None, DIED), (200, None)]

    def test_who_comes_back_after_its_lease_was_taken_over_decides_nothing(
        self, hooks: Hooked, receiver: Receiver
    ) -> None:
        made = hooks.add(receiver.url)
        hooks.api.new_run()
        with hooks.connections.transaction() as session:
            slow = take(session)
        assert slow is not None
        hooks.time_passes()
        with hooks.connections.transaction() as session:
            assert take(session) is not None
        with hooks.connections.transaction() as session:
            record(session, slow, Outcome(milliseconds=1, status_code=410))
        assert hooks.show(made["id"])["enabled"]
        assert hooks.log(made["id"])[0]["state"] == "waiting"

    def test_a_webhook_gets_one_message_at_a_time(self, hooks: Hooked, receiver: Receiver) -> None:
        hooks.add(receiver.url)
        for _ in range(2):
            hooks.api.new_run()
        with hooks.connections.transaction() as session:
            assert take(session) is not None
        with hooks.connections.transaction() as session:
            assert take(session) is None

    def test_threads_that_take_at_once_take_one_of_a_burst(self, hooks: Hooked, receiver: Receiver) -> None:
        hooks.add(receiver.url)
        for _ in range(6):
            hooks.api.new_run()
        together = threading.Barrier(6)

        def one(_: int) -> bool:
            with hooks.connections.transaction() as session:
                session.connection()
                together.wait(30)
                return take(session) is not None

        with ThreadPoolExecutor(6) as pool:
            assert sum(pool.map(one, range(6))) == 1

    def test_a_user_s_webhooks_leave_threads_to_the_others(self, hooks: Hooked, receiver: Receiver) -> None:
        mine = {hooks.add(receiver.url)["id"] for _ in range(4)}
        mias = hooks.add(receiver.url, who="mia")["id"]
        hooks.api.new_run()
        hooks.api.new_run("mia")
        taken = []
        for _ in range(5):
            with hooks.connections.transaction() as session:
                taken.append(take(session))
        told = [each.webhook_id for each in taken if each is not None]
        assert len(told) == 3
        assert len(mine.intersection(told)) == MOST_OF_A_USER
        assert mias in told

    def test_who_is_no_admin_any_more_gets_reads_and_resends_nothing_of_others(
        self, hooks: Hooked, receiver: Receiver
    ) -> None:
        made = hooks.add(receiver.url, who="ada", covers="everybody")
        hooks.api.new_run("max", visibility="private")
        [delivery] = hooks.log(made["id"], "ada")
        again = f"/{made['id']}/deliveries/{delivery['id']}/redeliver"
        hooks.execute("UPDATE users SET role = 'member' WHERE name = 'ada'")
        assert hooks.deliver() == 0
        assert hooks.log(made["id"], "ada") == []
        assert hooks.ask("POST", again, "ada").status_code == 404
        hooks.execute("UPDATE users SET role = 'viewer' WHERE name = 'ada'")
        for method, path in (("PATCH", ""), ("POST", "/rotate"), ("POST", "/test")):
            answer = hooks.ask(method, f"/{made['id']}{path}", "ada", json={"description": "x"})
            assert answer.status_code == 403, (path, answer.text)
        assert hooks.ask("POST", again, "ada").status_code == 403
        assert receiver.requests == []
        hooks.execute("UPDATE webhook_deliveries SET created_at = now() - interval '31 days'")
        hooks.execute("UPDATE webhook_deliveries SET next_at = created_at")
        collect_due(hooks.connections)
        assert hooks.api.count("webhook_deliveries") == 0

    def test_enabling_sends_nothing_from_before(self, hooks: Hooked, receiver: Receiver) -> None:
        made = hooks.add(receiver.url)
        hooks.api.new_run()
        hooks.execute("UPDATE webhooks SET enabled = false")  # As if a move had written after the disabling.
        assert hooks.ask("PATCH", f"/{made['id']}", json={"enabled": True}).status_code == 200
        assert hooks.deliver() == 0
        assert hooks.log(made["id"])[0]["state"] == "dropped"


class TestTasks:
    def test_the_celery_task_sends_and_a_second_one_meanwhile_leaves_it_to_the_first(
        self, hooks: Hooked, receiver: Receiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in environment_of(settings).items():  # Celery reads its settings at a task's first use.
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(tasks, "connections", lambda: hooks.connections)
        hooks.add(receiver.url)
        hooks.api.new_run()
        with hooks.connections.only_one("deliver_webhooks") as mine:
            assert mine
            tasks.deliver_webhooks()
        assert receiver.requests == []
        tasks.deliver_webhooks()
        tasks.deliver_webhooks()
        assert len(receiver.requests) == 1

    def test_what_is_older_than_30_days_goes_with_its_attempts_and_what_waits_stays(
        self, hooks: Hooked, receiver: Receiver
    ) -> None:
        made = hooks.add(receiver.url)
        receiver.answer_next(Answer(200), Answer(500))
        for _ in range(2):
            hooks.api.new_run()
            hooks.deliver()
        hooks.execute("UPDATE webhook_deliveries SET created_at = now() - interval '29 days'")
        collect_due(hooks.connections)
        assert len(hooks.log(made["id"])) == 2
        hooks.execute("UPDATE webhook_deliveries SET created_at = now() - interval '31 days'")
        collect_due(hooks.connections)
        assert [each["state"] for each in hooks.log(made["id"])] == ["waiting"]
        assert hooks.api.count("webhook_attempts") == 1


class TestSecrets:
    def test_after_a_rotation_both_secrets_verify_for_a_day(self, hooks: Hooked, receiver: Receiver) -> None:
        made = hooks.add(receiver.url)
        rotated = hooks.ask("POST", f"/{made['id']}/rotate").json()
        assert rotated["secret"] != made["secret"]
        assert rotated["previous_secret_until"]
        hooks.api.new_run()
        hooks.deliver()
        for secret in (made["secret"], rotated["secret"]):
            assert len(receiver.verified(secret)) == 1
        hooks.execute("UPDATE webhooks SET previous_until = now()")
        hooks.api.new_run()
        hooks.deliver()
        last = receiver.requests[-1]
        Webhook(rotated["secret"]).verify(last.body, last.headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(made["secret"]).verify(last.body, last.headers)
