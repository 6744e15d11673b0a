import { Title } from "@mantine/core";
import { getRouteApi } from "@tanstack/react-router";
import { SearchBox } from "@/components/search-box";
import { StudyList } from "@/features/studies/components/study-list";
import classes from "./pages.module.css";
import { usePageTitle } from "./use-page-title";

const route = getRouteApi("/studies");

/** All studies. */
export function StudiesPage() {
  const { q } = route.useSearch();
  const navigate = route.useNavigate();
  usePageTitle("Studies");
  return (
    <>
      <div className={classes.head}>
        <Title order={1} size="h2">
          Studies
        </Title>
        <SearchBox
          label="Find a study by name"
          placeholder="Name"
          value={q}
          onChange={(q) => navigate({ search: { q }, replace: true })}
        />
      </div>
      <StudyList q={q} />
    </>
  );
}
