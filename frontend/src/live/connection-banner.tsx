import { Button } from "@mantine/core";
import { useState } from "react";
import { IconWarning } from "@/components/icons";
import classes from "./connection-banner.module.css";
import { useConnectionState, useRetryNow } from "./live-provider";

/** How long the button says that it tries: a try against an absent server is over before one could see it. */
const SAY_TRYING_MS = 1_000;

/** Says, discreetly, that what the page shows may be old, and lets a person hurry the next try. */
export function ConnectionBanner() {
  const state = useConnectionState();
  const retryNow = useRetryNow();
  const [trying, setTrying] = useState(false);
  const retry = () => {
    setTrying(true);
    window.setTimeout(() => setTrying(false), SAY_TRYING_MS);
    retryNow();
  };
  return (
    <div role="status" className={classes.region}>
      {state === "lost" && (
        <div className={classes.banner}>
          <IconWarning size={15} />
          <span>Connection lost, trying again. What you see may be out of date.</span>
          <Button size="compact-xs" variant="default" onClick={retry} disabled={trying}>
            {trying ? "Trying…" : "Retry now"}
          </Button>
        </div>
      )}
    </div>
  );
}
