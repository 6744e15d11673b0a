import { expect, test } from "vitest";
import { takeTokenFromLink } from "./token-in-link";

function visit(hash: string) {
  const replaced: string[] = [];
  const location = { hash, pathname: "/runs/r1", search: "?status=running" };
  const history = {
    // Like the browser's: the location changes at once.
    replaceState: (_data: unknown, _unused: string, url?: string | URL | null) => {
      replaced.push(String(url));
      location.hash = "";
    },
  };
  return { token: takeTokenFromLink(location, history), replaced };
}

test("takes the token and leaves path and search", () => {
  expect(visit("#token=basin_abc%2B1")).toEqual({ token: "basin_abc+1", replaced: ["/runs/r1?status=running"] });
});

test("leaves other anchors alone", () => {
  expect(visit("#timeline")).toEqual({ token: null, replaced: [] });
});

test("cleans the address even of an empty token", () => {
  expect(visit("#token=")).toEqual({ token: null, replaced: ["/runs/r1?status=running"] });
});
