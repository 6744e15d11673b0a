import { Anchor, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { useMemo } from "react";
import { ApiError, describeError } from "@/api/client";
import { meQuery } from "@/api/me";
import { runQuery } from "@/api/runs";
import { Message } from "@/components/message";
import { Failure, Loading } from "@/components/state-messages";
import { SubmitForm } from "@/features/submit/components/submit-form";
import { newOrigin, originOf } from "@/features/submit/draft";
import { MissingRun } from "./failures";
import classes from "./pages.module.css";
import { usePageTitle } from "./use-page-title";

const route = getRouteApi("/submit");

/** A new run, or an edited copy of another. */
export function SubmitPage() {
  const { from, study } = route.useSearch();
  const navigate = route.useNavigate();
  const { data: me } = useQuery(meQuery);
  const run = useQuery({ ...runQuery(from ?? ""), enabled: from !== undefined });
  usePageTitle(from ? "Re-run with edits" : "New run");
  // The request never changes, though the run does; a new origin would begin a new draft.
  const request = run.data?.request;
  const stable = JSON.stringify(request);
  // biome-ignore lint/correctness/useExhaustiveDependencies: by its contents
  const origin = useMemo(() => {
    if (!from) return newOrigin(study);
    return request ? originOf(from, request, study) : null;
  }, [from, study, stable]);

  if (run.error instanceof ApiError && run.error.status === 404) return <MissingRun detail={run.error.detail} />;
  if (from && !origin && run.error) return <Failure {...describeError(run.error)} onRetry={() => run.refetch()} />;
  if (!origin || !me) return <Loading label="Loading the run" />;
  return (
    <>
      <div className={classes.head}>
        <div>
          <Title order={1} size="h2">
            {from ? "Re-run with edits" : "New run"}
          </Title>
          {from && (
            <div className={classes.under}>
              A copy of{" "}
              <Anchor component={Link} to={`/runs/${from}`} size="sm">
                {run.data?.name ?? from}
              </Anchor>
            </div>
          )}
        </div>
      </div>
      {me.may_submit ? (
        <SubmitForm
          key={from ?? "new"}
          origin={origin}
          user={me.name}
          onSubmitted={(runId) => navigate({ to: "/runs/$runId", params: { runId } })}
        />
      ) : (
        <Message tone="warning" title="Your token may not submit runs">
          It has the role {me.role}: ask an admin for one that may.
        </Message>
      )}
    </>
  );
}
