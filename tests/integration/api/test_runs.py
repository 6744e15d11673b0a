"""Listing, cancelling, the timeline and logs of runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from sqlalchemy import text

from tests.integration.api.stack import Api


class TestList:
    def test_pages_hold_every_run_once_though_new_ones_arrive(self, api: Api) -> None:
        runs = [api.new_run() for _ in range(7)]
        seen: list[str] = []
        cursor = None
        while True:
            page = api.get("/runs", limit=3, **({"cursor": cursor} if cursor else {})).json()
            seen += [run["id"] for run in page["items"]]
            api.new_run()
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == list(reversed(runs))

    def test_filters_by_status_and_project(self, api: Api) -> None:
        queued = api.new_run(project="a")
        cancelled = api.new_run(project="b")
        api.cancel(cancelled)
        running = api.new_run(project="b")
        api.start(running)

        def ids(**query: object) -> set[str]:
            return {run["id"] for run in api.get("/runs", **query).json()["items"]}

        assert ids(status="queued") == {queued}
        assert ids(status=["queued", "running"]) == {queued, running}
        assert ids(project="b") == {cancelled, running}
        assert ids(project="b", status="cancelled") == {cancelled}

    @pytest.mark.parametrize(
        "query",
        [{"status": "lost"}, {"limit": 0}, {"limit": 1000}, {"cursor": "x"}, {"cursor": "AAAA"}, {"cursor": "é"}],
    )
    def test_a_bad_query_is_a_mistake(self, api: Api, query: dict[str, object]) -> None:
        answer = api.get("/runs", **query)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["path"].startswith("query.")

    def test_a_queued_run_knows_its_place(self, api: Api) -> None:
        first, second, third = (api.new_run() for _ in range(3))
        assert [api.run(run_id)["position"] for run_id in (first, second, third)] == [1, 2, 3]
        api.cancel(first)
        assert [api.run(run_id)["position"] for run_id in (first, second, third)] == [None, 1, 2]


class TestCancel:
    def test_a_queued_run_is_cancelled_at_once(self, api: Api) -> None:
        run = api.cancel(api.new_run()).json()
        assert (run["status"], run["reason"]) == ("cancelled", "cancelled_by_user")
        assert run["ended_at"] is not None
        assert run["cancel_requested_at"] is not None
        assert run["sentence"]

    def test_a_running_one_is_cancelling_and_a_message_goes_out(self, api: Api) -> None:
        run_id = api.new_run()
        api.start(run_id)
        with redis.Redis.from_url(api.settings.broker_url) as broker:
            broker.delete("celery")
            run = api.cancel(run_id).json()
            assert (run["status"], run["reason"], run["ended_at"]) == ("cancelling", None, None)
            [message] = api.messages()
            assert b'"task": "cancel"' in message
            assert api.cancel(run_id).json()["status"] == "cancelling", "a repeat at once is a double click"
            assert len(api.messages()) == 1

    def test_an_ended_one_stays_as_it_is(self, api: Api) -> None:
        run_id = api.new_run()
        first = api.cancel(run_id).json()
        again = api.cancel(run_id)
        assert again.status_code == 200
        assert again.json() == first

    def test_twenty_at_once_are_one_event(self, api: Api) -> None:
        run_id = api.new_run()
        api.start(run_id)
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: api.cancel(run_id), range(20)))
        assert {answer.status_code for answer in answers} == {200}
        texts = [event["text"] for event in api.get(f"/runs/{run_id}/events").json()["items"]]
        assert len([text for text in texts if text.startswith("Cancel requested")]) == 1


def test_the_timeline_comes_in_order_page_by_page(api: Api) -> None:
    run_id = api.new_run()
    api.start(run_id)
    api.cancel(run_id)
    whole = api.get(f"/runs/{run_id}/events").json()
    assert [event["data"].get("to") for event in whole["items"]] == [None, "launching", "running", "cancelling"]
    assert whole["next_after"] is None
    page = api.get(f"/runs/{run_id}/events", limit=3).json()
    rest = api.get(f"/runs/{run_id}/events", limit=3, after=page["next_after"]).json()
    assert page["items"] + rest["items"] == whole["items"]


class TestLog:
    @pytest.fixture
    def run_id(self, api: Api) -> str:
        run_id = api.new_run()
        api.start(run_id)
        return run_id

    @pytest.fixture
    def folder(self, api: Api, run_id: str) -> Path:
        folder = api.settings.storage / "runs" / run_id / "attempts" / "1" / "log"
        folder.mkdir(parents=True)
        return folder

    def test_before_there_is_one(self, api: Api, run_id: str) -> None:
        answer = api.get(f"/runs/{run_id}/attempts/1/log").json()
        assert answer == {"source": None, "sources": [], "lines": [], "truncated": False, "end": 0}
        assert api.get(f"/runs/{run_id}/attempts/2/log").status_code == 404

    def test_the_last_lines_of_rank_0_unless_another_is_asked_for(self, api: Api, run_id: str, folder: Path) -> None:
        (folder / "driver.log").write_text("joined\n")
        (folder / "rank-0.log").write_bytes(b"\xff broken\n" + b"".join(b"line %d\n" % i for i in range(1000)))
        (folder / "rank-1.log").write_text("one\n")
        answer = api.get(f"/runs/{run_id}/attempts/1/log", lines=2).json()
        assert answer["sources"] == ["driver", "rank-0", "rank-1"]
        assert (answer["source"], answer["lines"], answer["truncated"]) == ("rank-0", ["line 998", "line 999"], True)
        answer = api.get(f"/runs/{run_id}/attempts/1/log", source="driver").json()
        assert (answer["lines"], answer["truncated"]) == (["joined"], False)
        assert api.get(f"/runs/{run_id}/attempts/1/log", source="rank-7").status_code == 404
        assert api.get(f"/runs/{run_id}/attempts/1/log", source="../../x").status_code == 404

    def test_a_long_log_is_read_from_behind(self, api: Api, run_id: str, folder: Path) -> None:
        (folder / "rank-0.log").write_text("".join(f"{i:09d} {'x' * 1000}\n" for i in range(3000)))
        answer = api.get(f"/runs/{run_id}/attempts/1/log", lines=5000).json()
        assert answer["truncated"] is True
        assert answer["lines"][-1].startswith("000002999 ")
        assert 200 < len(answer["lines"]) < 300
        assert all(len(line) == 1010 for line in answer["lines"])

    def test_it_is_followed_by_bytes_line_by_line(self, api: Api, run_id: str, folder: Path) -> None:
        path = f"/runs/{run_id}/attempts/1/log"
        log = folder / "rank-0.log"
        log.write_text("one\ntwo\nthr")
        first = api.get(path).json()
        assert (first["lines"], first["end"], first["source"]) == (["one", "two"], 8, "rank-0")
        assert api.get(path, after=first["end"]).json()["lines"] == []
        with log.open("a") as more:
            more.write("ee\nfour\nfive\nsix")
        second = api.get(path, after=8, lines=2, source="rank-0").json()
        assert (second["lines"], second["truncated"]) == (["three", "four"], True)
        third = api.get(path, after=second["end"]).json()
        assert (third["lines"], third["truncated"]) == (["five"], False)
        with api.engine.begin() as connection:
            connection.execute(text("UPDATE attempts SET ended_at = now() WHERE run_id = :run"), {"run": run_id})
        last = api.get(path, after=third["end"]).json()
        assert (last["lines"], last["end"]) == (["six"], log.stat().st_size)
        assert api.get(path, after=10**9).json()["end"] == log.stat().st_size
        assert api.get(path, after=-1).status_code == 422

    def test_following_a_long_log_gives_every_line_once(self, api: Api, run_id: str, folder: Path) -> None:
        path = f"/runs/{run_id}/attempts/1/log"
        lines = [f"{i:06d} {'ü' * (i % 300)}" for i in range(3000)]
        (folder / "rank-0.log").write_text("\n".join(lines) + "\n", encoding="utf-8")
        seen: list[str] = []
        after, more = 0, True
        while more:
            part = api.get(path, after=after, lines=700).json()
            seen += part["lines"]
            after, more = part["end"], part["truncated"]
        assert seen == lines

    def test_a_link_leads_nowhere(self, api: Api, run_id: str, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("secret\n")
        (folder / "rank-0.log").symlink_to(tmp_path / "secret")
        answer = api.get(f"/runs/{run_id}/attempts/1/log")
        assert "secret" not in answer.json().get("lines", [])
        assert answer.status_code == 404
