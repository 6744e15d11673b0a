"""Who may do what: tokens, roles, private runs, the login cookie."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import text

from api.runs.credentials import sha256_of
from tests.integration.api.stack import SPEC, TOKENS, Api, bearer, person


class TestTokens:
    @pytest.mark.parametrize("path", ["/runs", "/me", "/metrics/catalogue", "/stream", "/runs/x", "/runs/x/metrics"])
    @pytest.mark.parametrize("token", ["", "basin_unknown"])
    def test_without_a_known_token_nothing_is_told(self, api: Api, path: str, token: str) -> None:
        answer = api.http.get(f"/api/v1{path}", headers=bearer(token))
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"

    def test_an_expired_token_is_over(self, api: Api) -> None:
        assert api.get("/me").json() == {
            "name": "max", "role": "member", "may_submit": True, "may_cancel_all": False, "version": "0.1.0",
        }  # fmt: skip
        with api.engine.begin() as connection:
            connection.execute(
                text("UPDATE tokens SET expires_at = now() - interval '1 s' WHERE token_sha256 = :hash"),
                {"hash": sha256_of(TOKENS["max"][1])},
            )
        assert api.get("/me").status_code == 401

    def test_when_a_token_was_used_is_noted(self, api: Api) -> None:
        api.get("/me")
        with api.engine.connect() as connection:
            used = connection.execute(text("SELECT count(last_used_at) FROM tokens")).scalar_one()
        assert used == 1


class TestRoles:
    def test_a_viewer_looks_and_touches_nothing(self, api: Api) -> None:
        run_id = api.new_run("max")
        assert api.get(f"/runs/{run_id}", "vic").status_code == 200
        refused = [api.submit("vic"), api.cancel(run_id, "vic")]
        assert [answer.status_code for answer in refused] == [403, 403]
        assert "viewer" in refused[0].json()["detail"]
        assert api.run(run_id)["status"] == "queued"

    def test_a_member_cancels_only_their_own_and_an_admin_all(self, api: Api) -> None:
        one, two = api.new_run("max"), api.new_run("max")
        assert api.cancel(one, "mia").status_code == 403
        assert api.cancel(one, "max").json()["status"] == "cancelled"
        assert api.cancel(two, "ada").json()["status"] == "cancelled"


class TestPrivateRuns:
    def test_they_are_there_for_their_owner_and_admins_only(self, api: Api) -> None:
        run_id = api.new_run("max", visibility="private")
        attempt = api.start(run_id)
        assert attempt.token
        paths = ["", "/events", "/metrics", "/attempts/1/log"]
        seen = {who: {api.get(f"/runs/{run_id}{path}", who).status_code for path in paths} for who in TOKENS}
        assert seen == {"ada": {200}, "max": {200}, "mia": {404}, "vic": {404}}
        listed = {who: [run["id"] for run in api.get("/runs", who).json()["items"]] for who in TOKENS}
        assert listed == {"ada": [run_id], "max": [run_id], "mia": [], "vic": []}
        assert api.cancel(run_id, "mia").status_code == 404


class TestCookie:
    @pytest.fixture
    def browser(self, api: Api) -> httpx.Client:
        """Logged in as max; as a browser sends it, requests say that they come from the page itself."""
        browser = httpx.Client(base_url=api.url, headers={"Sec-Fetch-Site": "same-origin"}, timeout=30)
        answer = browser.post("/api/v1/session", headers=person("max"))
        assert answer.json()["name"] == "max"
        cookie = answer.headers["set-cookie"].lower()
        assert cookie.startswith("basin_session=")
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert TOKENS["max"][1].lower() not in cookie
        yield browser
        browser.close()

    def test_it_stands_for_its_person(self, api: Api, browser: httpx.Client) -> None:
        assert browser.get("/api/v1/me").json()["name"] == "max"
        assert browser.post("/api/v1/runs", json={"spec": SPEC}).status_code == 201

    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "", "Origin": "http://127.0.0.1:1"},
        ],
    )
    def test_another_page_cannot_use_it_not_even_from_another_port_of_this_host(
        self, api: Api, browser: httpx.Client, headers: dict[str, str]
    ) -> None:
        answer = browser.post("/api/v1/runs", json={"spec": SPEC}, headers=headers)
        assert answer.status_code == 403
        assert api.count("runs") == 0

    def test_logging_out_takes_it_away(self, browser: httpx.Client) -> None:
        assert browser.delete("/api/v1/session").status_code == 204
        assert browser.get("/api/v1/me").status_code == 401

    def test_it_dies_with_its_token(self, api: Api, browser: httpx.Client) -> None:
        with api.engine.begin() as connection:
            connection.execute(text("DELETE FROM tokens"))
        assert browser.get("/api/v1/me").status_code == 401

    @pytest.mark.parametrize("value", ["", "1", "1.2.3", "1.99999999999.00", "x.y.z", "1.99999999999." + "0" * 64])
    def test_a_forged_one_opens_nothing(self, api: Api, value: str) -> None:
        answer = api.http.get("/api/v1/me", headers={"Cookie": f"basin_session={value}"})
        assert answer.status_code == 401
