"""Which webhooks are told of a run's move, and of what: in the transaction of the move, or not at all."""

from __future__ import annotations

import threading

from sqlalchemy.orm import Session

from api.db.engine import Message, transaction
from api.db.tables import Run
from api.runs.status import RunStatus, move
from tests.integration.api.hooked import Hooked
from tests.integration.api.receiver import Receiver
from trainer.contract.ends import ENDS, EndReason


class TestWhatIsTold:
    def test_each_move_of_a_run_arrives_once_signed_and_with_its_summary(
        self, hooks: Hooked, receiver: Receiver
    ) -> None:
        made = hooks.add(receiver.url)
        run_id = hooks.api.new_run(name="told", study="webhooks")
        hooks.api.start(run_id)
        hooks.end(run_id, RunStatus.failed, EndReason.loss_not_finite, "at step 7")
        assert hooks.deliver() == 3
        # In which order they arrive is not promised; each says when it happened.
        told = sorted(receiver.verified(made["secret"]), key=lambda message: message["timestamp"])
        assert [message["type"] for message in told] == ["run.queued", "run.started", "run.failed"]
        assert told[0]["data"] == {
            "id": run_id, "name": "told", "project": "default", "study": "webhooks", "status": "queued",
            "reason": None, "sentence": "Submitted and queued.", "fault": None, "detail": None, "step": 0,
            "total_steps": None, "attempt": None, "user": "max", "link": f"http://127.0.0.1:8000/runs/{run_id}",
        }  # fmt: skip
        last = told[2]["data"]
        assert (last["status"], last["reason"], last["fault"]) == ("failed", "loss_not_finite", "spec")
        assert (last["sentence"], last["detail"]) == (ENDS[EndReason.loss_not_finite].sentence, "at step 7")
        assert told[1]["data"]["attempt"] == 1
        ids = [request.headers["webhook-id"] for request in receiver.requests]
        assert len(set(ids)) == 3
        assert hooks.deliver() == 0
        assert [each["state"] for each in hooks.log(made["id"])] == ["delivered"] * 3
        assert hooks.show(made["id"])["last_success_at"]

    def test_a_lost_attempt_is_told_as_retried_and_its_successor_as_started(
        self, hooks: Hooked, receiver: Receiver
    ) -> None:
        made = hooks.add(receiver.url, events=["run.started", "run.retried"])
        run_id = hooks.api.new_run()
        first = hooks.api.start(run_id)
        hooks.api.lose(run_id, first.attempt_id)
        hooks.api.start(run_id)
        hooks.deliver()
        told = [(message["type"], message["data"]["attempt"]) for message in receiver.verified(made["secret"])]
        assert sorted(told, key=str) == [("run.retried", None), ("run.started", 1), ("run.started", 2)]

    def test_a_move_that_is_rolled_back_is_not_told(self, hooks: Hooked, receiver: Receiver) -> None:
        hooks.add(receiver.url)
        run_id = hooks.api.new_run()
        assert hooks.api.count("webhook_deliveries") == 1
        with Session(hooks.api.engine) as session:
            run = session.get_one(Run, run_id)
            move(session, run, RunStatus.cancelled, actor="x", text="x", reason=EndReason.cancelled_by_user)
            session.rollback()
        assert hooks.api.count("webhook_deliveries") == 1

    def test_where_nobody_listens_no_row_is_written_and_no_message_sent(
        self, hooks: Hooked, receiver: Receiver
    ) -> None:
        sent: list[Message] = []

        class Outbox:
            def changes_of(self, *_: object) -> list[object]:
                return []

            def deliver(self, messages: list[Message], *, wakes_streams: bool) -> None:
                sent.extend(messages)

        def run_is_cancelled() -> list[str]:
            run_id = hooks.api.new_run()
            sent.clear()
            with transaction(hooks.api.engine, Outbox()) as session:  # type: ignore[arg-type]
                run = session.get_one(Run, run_id)
                move(session, run, RunStatus.cancelled, actor="x", text="x", reason=EndReason.cancelled_by_user)
            return [message.task for message in sent]

        hooks.add(receiver.url, events=["run.failed"])
        assert run_is_cancelled() == []
        assert hooks.api.count("webhook_deliveries") == 0
        hooks.add(receiver.url, events=["run.cancelled"])
        assert run_is_cancelled() == ["deliver_webhooks"]
        assert hooks.api.count("webhook_deliveries") == 1

    def test_who_is_told_of_whose_run(self, hooks: Hooked, receiver: Receiver) -> None:
        ids = {
            "max": hooks.add(receiver.url)["id"],
            "max, other project": hooks.add(receiver.url, project="other")["id"],
            "max, failures": hooks.add(receiver.url, events=["run.failed"])["id"],
            "mia": hooks.add(receiver.url, who="mia")["id"],
            "ada": hooks.add(receiver.url, who="ada")["id"],
            "ada, everybody": hooks.add(receiver.url, who="ada", covers="everybody")["id"],
        }

        def told(**fields: str) -> set[str]:
            hooks.execute("DELETE FROM webhook_deliveries")
            hooks.api.new_run("max", **fields)
            return {
                name for name, webhook_id in ids.items() if hooks.api.count("webhook_deliveries", webhook_id=webhook_id)
            }

        assert told() == {"max", "ada, everybody"}
        assert told(visibility="private") == {"max", "ada, everybody"}
        assert told(project="other") == {"max", "max, other project", "ada, everybody"}
        hooks.execute("UPDATE users SET role = 'member' WHERE name = 'ada'")
        assert told() == {"max"}
        hooks.ask("PATCH", f"/{ids['max']}", json={"enabled": False})
        assert told() == set()

    def test_a_webhook_that_is_deleted_at_this_moment_does_not_fail_the_move(
        self, hooks: Hooked, receiver: Receiver
    ) -> None:
        webhook_id = hooks.add(receiver.url)["id"]
        answers: list[int] = []
        with hooks.connections.engine.connect() as connection:
            connection.exec_driver_sql("DELETE FROM webhooks WHERE id = %s", (webhook_id,))
            submitting = threading.Thread(target=lambda: answers.append(hooks.api.submit().status_code))
            submitting.start()
            submitting.join(0.5)
            assert answers == [], "it waits for the deletion"
            connection.commit()
        submitting.join(20)
        assert answers == [201]
        assert hooks.api.count("webhook_deliveries") == 0
