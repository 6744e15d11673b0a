import { Title } from "@mantine/core";
import { getRouteApi, Link } from "@tanstack/react-router";
import { CopyButton } from "@/components/copy-button";
import { parseCompareSearch } from "@/features/compare/compare-search";
import { CompareView } from "@/features/compare/components/compare-view";
import classes from "./pages.module.css";
import { usePageTitle } from "./use-page-title";

const route = getRouteApi("/compare");

/** Runs side by side. Everything that can be set is in the address, so that a link shows the same. */
export function ComparePage() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  usePageTitle(search.study ? `Compare ${search.study}` : "Compare");
  return (
    <div className={classes.stack}>
      <div className={classes.head}>
        <div className={classes.titleWithPlace}>
          <Title order={1} size="h2">
            Compare
          </Title>
          {search.study !== undefined && (
            <Link to="/" search={{ study: search.study }} className={classes.place} title={search.study} dir="auto">
              {search.study}
            </Link>
          )}
        </div>
        {(search.runs ?? search.study) !== undefined && (
          <CopyButton text={() => window.location.href} label="Copy link" />
        )}
      </div>
      <CompareView
        search={search}
        onChange={(change) =>
          navigate({
            search: (before) => parseCompareSearch({ ...before, ...change }),
            replace: true,
            resetScroll: false,
          })
        }
      />
    </div>
  );
}
