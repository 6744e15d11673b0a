"""Quotas: set by admins, kept at submit, in the dry run too."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.integration.api.stack import SPEC, Api, person


def set_quota(api: Api, name: str = "max", who: str = "ada", **changes: Any) -> httpx.Response:
    return api.http.patch(f"/api/v1/users/{name}", headers=person(who), json=changes)


class TestUsers:
    def test_admins_set_quotas_and_see_them_with_the_use(self, api: Api) -> None:
        api.new_run()
        answer = set_quota(api, max_workers=8, weight=2)
        assert answer.status_code == 200, answer.text
        user = answer.json()
        assert (user["name"], user["max_workers"], user["weight"], user["max_queued_runs"]) == ("max", 8, 2, None)
        assert user["queued_runs"] >= 1
        listed = api.get("/users", "ada").json()["items"]
        assert user in listed
        assert [item["name"] for item in listed] == sorted(item["name"] for item in listed)

    def test_null_brings_back_the_installations_quota(self, api: Api) -> None:
        set_quota(api, max_workers=8, weight=3)
        user = set_quota(api, max_workers=None, weight=None).json()
        assert (user["max_workers"], user["weight"]) == (None, 1)

    @pytest.mark.parametrize("who", ["max", "vic"])
    def test_others_neither_see_nor_change_them(self, api: Api, who: str) -> None:
        assert api.get("/users", who).status_code == 403
        assert set_quota(api, who=who, max_workers=8).status_code == 403

    @pytest.mark.parametrize(
        ("name", "changes", "status"),
        [
            ("max", {}, 422),
            ("max", {"max_workers": -1}, 422),
            ("max", {"weight": 0}, 422),
            ("nobody", {"max_workers": 1}, 404),
        ],
    )
    def test_what_cannot_be_is_refused(self, api: Api, name: str, changes: dict[str, Any], status: int) -> None:
        assert set_quota(api, name, **changes).status_code == status


class TestSubmit:
    def test_one_queued_run_too_many_is_refused_with_a_remedy_in_the_dry_run_too(self, api: Api) -> None:
        api.new_run()
        queued = set_quota(api, max_workers=8).json()["queued_runs"]
        set_quota(api, max_queued_runs=queued)
        answers = [
            api.submit(),
            api.http.post("/api/v1/runs", headers=person("max"), params={"dry_run": "true"}, json={"spec": SPEC}),
        ]
        for answer in answers:
            assert answer.status_code == 422
            assert answer.headers["content-type"] == "application/problem+json"
            (error,) = answer.json()["errors"]
            assert error["path"] == "queued_runs"
            assert "your quota of" in error["allowed"]
            assert "ask an admin" in error["remedy"]
        assert set_quota(api, max_queued_runs=queued + 1).status_code == 200
        assert api.submit().status_code == 201
        assert api.submit().status_code == 422
        set_quota(api, max_queued_runs=None)

    def test_many_submissions_at_once_do_not_pass_the_quota(self, api: Api) -> None:
        queued = set_quota(api, max_workers=8).json()["queued_runs"]
        set_quota(api, max_queued_runs=queued + 2)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: api.submit().status_code, range(8)))
        assert sorted(answers) == [201] * 2 + [422] * 6
        set_quota(api, max_queued_runs=None)

    def test_repeats_of_one_submission_at_once_share_the_last_place(self, api: Api) -> None:
        queued = set_quota(api, max_workers=8).json()["queued_runs"]
        set_quota(api, max_queued_runs=queued + 1)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: api.submit(key="the-last-place"), range(8)))
        assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
        assert len({answer.json()["id"] for answer in answers}) == 1
        set_quota(api, max_queued_runs=None)

    def test_a_run_wider_than_the_quota_is_refused_and_a_repeat_of_an_earlier_one_is_not(self, api: Api) -> None:
        first = api.submit(key="before-the-quota")
        set_quota(api, max_workers=1)
        answer = api.submit()
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert (error["path"], error["value"]) == ("spec.resources.workers", "2")
        assert error["remedy"] == "Set 1 or fewer, or ask an admin for a larger quota"
        again = api.submit(key="before-the-quota")
        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
        set_quota(api, max_workers=None)

    def test_paused_runs_count_so_that_pausing_makes_no_room(self, api: Api) -> None:
        def act(run_id: str, name: str) -> None:
            assert api.http.post(f"/api/v1/runs/{run_id}/{name}", headers=person("max")).status_code == 200

        waiting, trained = api.new_run(), api.new_run()
        api.start(trained)
        set_quota(api, max_queued_runs=1)
        act(waiting, "pause")
        answer = api.submit()
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["allowed"] == "is over your quota of 1 queued run, paused ones included"
        set_quota(api, max_queued_runs=2)
        act(trained, "pause")
        act(trained, "resume")
        assert api.run(trained)["status"] == "pausing"
        assert api.submit().status_code == 422, "it queues itself once it has saved"
        act(trained, "pause")
        assert api.submit().status_code == 201
