import type { ReactNode } from "react";
import { IconInfo, IconWarning } from "./icons";
import classes from "./message.module.css";

interface MessageProps {
  tone: "bad" | "warning" | "neutral";
  title: string;
  children?: ReactNode;
  /** Reads it out at once: for what a person's own click brought about. */
  urgent?: boolean;
}

/** A sentence that a person should see, with its details beneath. */
export function Message({ tone, title, children, urgent = false }: MessageProps) {
  return (
    <div className={classes.message} data-tone={tone} role={urgent ? "alert" : "note"}>
      <span className={classes.icon}>{tone === "neutral" ? <IconInfo size={18} /> : <IconWarning size={18} />}</span>
      <div className={classes.text}>
        <div className={classes.title}>{title}</div>
        {children && <div className={classes.body}>{children}</div>}
      </div>
    </div>
  );
}
