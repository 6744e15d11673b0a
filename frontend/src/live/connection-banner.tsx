import { IconWarning } from "@/components/icons";
import classes from "./connection-banner.module.css";
import { useConnectionState } from "./live-provider";

/** Says, discreetly, that what the page shows may be old. */
export function ConnectionBanner() {
  const state = useConnectionState();
  return (
    <div role="status" className={classes.region}>
      {state === "lost" && (
        <div className={classes.banner}>
          <IconWarning size={15} />
          Connection lost, retrying. What you see may be out of date.
        </div>
      )}
    </div>
  );
}
