"""Webhooks over HTTP: add, list, show, edit, rotate, delete, test, the log."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text

from tests.integration.api.hooked import Hooked
from tests.integration.api.receiver import Answer, Receiver

URL = "https://hooks.example.org/basin"


class TestAdd:
    def test_the_secret_is_shown_once_and_nothing_of_it_is_stored(self, hooks: Hooked) -> None:
        answer = hooks.ask("POST", json={"url": URL, "events": ["run.failed", "run.failed"], "description": "pager"})
        made = answer.json()
        assert answer.status_code == 201
        assert answer.headers["location"] == f"/api/v1/webhooks/{made['id']}"
        assert made["secret"].startswith("whsec_")
        assert (made["events"], made["covers"], made["enabled"], made["user"]) == (["run.failed"], "mine", True, "max")
        for path in ("", f"/{made['id']}"):
            assert "whsec_" not in hooks.ask("GET", path).text
        with hooks.api.engine.connect() as connection:
            row = str(connection.execute(text("SELECT webhooks::text FROM webhooks")).scalar_one())
        assert made["secret"].removeprefix("whsec_") not in row

    @pytest.mark.parametrize(
        ("body", "path", "told"),
        [
            ({"url": "http://hooks.example.org/"}, "url", "https://"),
            ({"url": "https://10.0.0.1/"}, "url", "private"),
            ({"url": "https://a:b@hooks.example.org/"}, "url", "user and password"),
            ({"url": "https://hooks.example.org/" + "x" * 2048}, "url", "2048"),
            ({"url": URL, "events": ["run.exploded"]}, "events", "run.failed"),
            ({"url": URL, "covers": "everybody"}, "covers", "mine"),
            ({"url": URL, "project": "a b"}, "project", ""),
            ({"url": URL, "secret": "mine"}, "secret", ""),
            ({}, "url", ""),
        ],
    )
    def test_mistakes_name_the_field_and_what_to_do(
        self, hooks: Hooked, body: dict[str, object], path: str, told: str
    ) -> None:
        answer = hooks.ask("POST", json=body)
        assert answer.status_code == 422
        [error] = answer.json()["errors"]
        assert error["path"].startswith(path)
        assert told in error["allowed"] + error["remedy"]
        assert error["remedy"]

    def test_viewers_have_no_runs_to_be_told_of(self, hooks: Hooked) -> None:
        assert hooks.ask("POST", who="vic", json={"url": URL}).status_code == 403

    def test_a_user_has_twenty_at_most_however_many_ask_at_once(self, hooks: Hooked) -> None:
        for _ in range(17):
            hooks.add(URL)
        answers: list[int] = []
        asking = [
            threading.Thread(target=lambda: answers.append(hooks.ask("POST", json={"url": URL}).status_code))
            for _ in range(8)
        ]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join(30)
        assert sorted(answers) == [201] * 3 + [409] * 5
        refused = hooks.ask("POST", json={"url": URL})
        assert "20 is the most" in refused.json()["detail"]
        hooks.add(URL, who="mia")


class TestWhoseItIs:
    def test_owners_and_admins_see_and_change_it_and_for_others_it_is_not_there(self, hooks: Hooked) -> None:
        webhook_id = hooks.add(URL)["id"]
        for method, path in (
            ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate"), ("POST", "/test"), ("GET", "/deliveries"),
            ("POST", "/deliveries/1/redeliver"),
        ):  # fmt: skip
            body = {"json": {"enabled": False}} if method == "PATCH" else {}
            assert hooks.ask(method, f"/{webhook_id}{path}", "mia", **body).status_code == 404, (method, path)
        assert hooks.show(webhook_id, "ada")["user"] == "max"
        assert hooks.ask("PATCH", f"/{webhook_id}", "ada", json={"enabled": False}).status_code == 200

    def test_everybody_s_are_listed_for_admins(self, hooks: Hooked) -> None:
        ids = [hooks.add(URL, who)["id"] for who in ("max", "mia", "ada")]
        assert [each["id"] for each in hooks.ask("GET").json()["items"]] == ids[:1]
        listed = hooks.ask("GET", who="ada", params={"everybody": True}).json()["items"]
        assert [each["id"] for each in listed] == ids[::-1]
        assert hooks.ask("GET", params={"everybody": True}).status_code == 403


class TestEdit:
    def test_what_is_given_is_changed_and_the_rest_stays(self, hooks: Hooked) -> None:
        webhook_id = hooks.add(URL, project="digits", description="pager")["id"]
        edited = hooks.ask("PATCH", f"/{webhook_id}", json={"events": ["run.failed"], "project": None}).json()
        assert (edited["events"], edited["project"]) == (["run.failed"], None)
        assert (edited["url"], edited["description"], edited["enabled"]) == (URL, "pager", True)

    def test_an_address_is_checked_again_and_nothing_is_changed_by_half(self, hooks: Hooked) -> None:
        webhook_id = hooks.add(URL)["id"]
        body = {"url": "https://169.254.169.254/", "description": "x"}
        assert hooks.ask("PATCH", f"/{webhook_id}", json=body).status_code == 422
        assert hooks.ask("PATCH", f"/{webhook_id}", json={}).status_code == 422
        # The owner's role counts, not that of the admin who edits.
        assert hooks.ask("PATCH", f"/{webhook_id}", "ada", json={"covers": "everybody"}).status_code == 422
        assert (hooks.show(webhook_id)["url"], hooks.show(webhook_id)["description"]) == (URL, None)

    def test_disabling_drops_what_waits(self, hooks: Hooked) -> None:
        webhook_id = hooks.add(URL)["id"]
        hooks.api.new_run()
        assert hooks.show(webhook_id)["waiting"] == 1
        shown = hooks.ask("PATCH", f"/{webhook_id}", json={"enabled": False}).json()
        assert (shown["waiting"], "by hand" in shown["disabled_reason"]) == (0, True)
        assert [each["state"] for each in hooks.log(webhook_id)] == ["dropped"]

    def test_deleting_takes_the_log_with_it(self, hooks: Hooked) -> None:
        webhook_id = hooks.add(URL)["id"]
        hooks.api.new_run()
        assert hooks.ask("DELETE", f"/{webhook_id}").status_code == 204
        assert hooks.ask("GET", f"/{webhook_id}").status_code == 404
        assert hooks.api.count("webhook_deliveries") == 0


class TestTest:
    def test_it_says_at_once_what_the_receiver_answered(self, hooks: Hooked) -> None:
        with Receiver([Answer(500, body=b"broken")]) as receiver:
            made = hooks.add(receiver.url)
            failed = hooks.ask("POST", f"/{made['id']}/test").json()
            taken = hooks.ask("POST", f"/{made['id']}/test").json()
            told = receiver.verified(made["secret"])
        assert (failed["state"], failed["attempts"][0]["status_code"]) == ("failed", 500)
        assert failed["attempts"][0]["excerpt"] == "broken"
        assert (taken["state"], taken["attempts"][0]["status_code"]) == ("delivered", 200)
        assert [message["type"] for message in told] == ["webhook.test"] * 2
        assert [each["id"] for each in hooks.log(made["id"])] == [taken["id"], failed["id"]]

    def test_it_is_sent_once_and_decides_nothing(self, hooks: Hooked) -> None:
        with Receiver([Answer(410)]) as receiver:
            made = hooks.add(receiver.url)
            tested = hooks.ask("POST", f"/{made['id']}/test").json()
            hooks.time_passes()
            assert hooks.deliver() == 0
            assert len(receiver.requests) == 1
        shown = hooks.show(made["id"])
        assert (shown["enabled"], shown["failing_since"]) == (True, None)
        again = hooks.ask("POST", f"/{made['id']}/deliveries/{tested['id']}/redeliver")
        assert (again.status_code, "was a test" in again.json()["detail"]) == (409, True)

    def test_a_disabled_one_can_be_tested(self, hooks: Hooked) -> None:
        with Receiver() as receiver:
            made = hooks.add(receiver.url)
            hooks.ask("PATCH", f"/{made['id']}", json={"enabled": False})
            assert hooks.ask("POST", f"/{made['id']}/test").json()["state"] == "delivered"

    def test_an_address_that_is_no_longer_allowed_is_told_and_not_reached(self, hooks: Hooked) -> None:
        with Receiver() as receiver:
            made = hooks.add(receiver.url)
            hooks.execute("UPDATE webhooks SET url = :url", url=receiver.url.replace("127.0.0.1", "127.0.0.2"))
            tested = hooks.ask("POST", f"/{made['id']}/test").json()
        assert tested["state"] == "failed"
        assert "private, local or reserved" in tested["attempts"][0]["error"]


class TestLog:
    def test_it_is_read_page_by_page(self, hooks: Hooked) -> None:
        webhook_id = hooks.add(URL)["id"]
        runs = [hooks.api.new_run() for _ in range(5)]
        first = hooks.ask("GET", f"/{webhook_id}/deliveries", params={"limit": 3}).json()
        rest = hooks.ask("GET", f"/{webhook_id}/deliveries", params={"limit": 3, "before": first["next_before"]}).json()
        assert [each["run_id"] for each in first["items"] + rest["items"]] == runs[::-1]
        assert rest["next_before"] is None

    def test_what_was_taken_can_be_sent_again_with_the_same_id(self, hooks: Hooked) -> None:
        with Receiver() as receiver:
            made = hooks.add(receiver.url)
            hooks.api.new_run()
            hooks.deliver()
            [delivery] = hooks.log(made["id"])
            answer = hooks.ask("POST", f"/{made['id']}/deliveries/{delivery['id']}/redeliver")
            assert answer.status_code == 202
            hooks.deliver()
            assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1
            assert len(receiver.verified(made["secret"])) == 2
        assert [each["number"] for each in hooks.log(made["id"])[0]["attempts"]] == [1, 2]
        missing = hooks.ask("POST", f"/{made['id']}/deliveries/{delivery['id'] + 1}/redeliver")
        assert (missing.status_code, "BASIN_WEBHOOK_LOG_KEPT_DAYS" in missing.json()["detail"]) == (404, True)
