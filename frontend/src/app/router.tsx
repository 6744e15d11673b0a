import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from "@tanstack/react-router";
import { Loading } from "@/components/state-messages";
import { parseCompareSearch } from "@/features/compare/compare-search";
import { parseRunListSearch } from "@/features/runs/run-list-search";
import { parseRunSearch } from "@/features/runs/run-search";
import { parseStudiesSearch } from "@/features/studies/studies-search";
import { parseSubmitSearch } from "@/features/submit/submit-search";
import { patiently } from "@/live/patiently";
import { parsePlainSearch, stringifyPlainSearch } from "./plain-search";
import { NotFound, PageFailure } from "./routes/failures";
import { RunListPage } from "./routes/run-list-page";
import { Shell } from "./shell";

const root = createRootRoute({ component: Shell, notFoundComponent: NotFound, errorComponent: PageFailure });

const runList = createRoute({
  getParentRoute: () => root,
  path: "/",
  validateSearch: parseRunListSearch,
  component: RunListPage,
});

// The run page brings the charts; a list alone need not wait for them.
const run = createRoute({
  getParentRoute: () => root,
  path: "/runs/$runId",
  validateSearch: parseRunSearch,
  component: lazyRouteComponent(
    patiently(() => import("./routes/run-page")),
    "RunPage",
  ),
});

// The submit page brings YAML and, in a file of its own, the editor.
const submit = createRoute({
  getParentRoute: () => root,
  path: "/submit",
  validateSearch: parseSubmitSearch,
  component: lazyRouteComponent(
    patiently(() => import("./routes/submit-page")),
    "SubmitPage",
  ),
});

const compare = createRoute({
  getParentRoute: () => root,
  path: "/compare",
  validateSearch: parseCompareSearch,
  component: lazyRouteComponent(
    patiently(() => import("./routes/compare-page")),
    "ComparePage",
  ),
});

const studies = createRoute({
  getParentRoute: () => root,
  path: "/studies",
  validateSearch: parseStudiesSearch,
  component: lazyRouteComponent(
    patiently(() => import("./routes/studies-page")),
    "StudiesPage",
  ),
});

const webhooks = createRoute({
  getParentRoute: () => root,
  path: "/webhooks",
  component: lazyRouteComponent(
    patiently(() => import("./routes/webhooks-page")),
    "WebhooksPage",
  ),
});

export const router = createRouter({
  routeTree: root.addChildren([runList, run, submit, compare, studies, webhooks]),
  parseSearch: parsePlainSearch,
  stringifySearch: stringifyPlainSearch,
  defaultErrorComponent: PageFailure,
  defaultPendingComponent: () => <Loading label="Loading the page" />,
  defaultPreload: "intent",
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
