import { type ReactNode, useId } from "react";
import { IconChevron } from "./icons";
import classes from "./panel.module.css";

interface PanelProps {
  title: string;
  /** Controls at the right end of the title row. */
  tools?: ReactNode;
  /** Lets a person fold the content away. */
  collapsible?: boolean;
  children: ReactNode;
}

/** A titled card of a page. */
export function Panel({ title, tools, collapsible = false, children }: PanelProps) {
  const heading = useId();
  if (collapsible) {
    return (
      <details className={classes.panel} open>
        <summary className={classes.head}>
          <h2 className={classes.title}>{title}</h2>
          <span className={classes.chevron}>
            <IconChevron />
          </span>
        </summary>
        {tools && <div className={classes.overlay}>{tools}</div>}
        <div className={classes.body}>{children}</div>
      </details>
    );
  }
  return (
    <section className={classes.panel} aria-labelledby={heading}>
      <div className={classes.head}>
        <h2 className={classes.title} id={heading}>
          {title}
        </h2>
        <div className={classes.tools}>{tools}</div>
      </div>
      <div className={classes.body}>{children}</div>
    </section>
  );
}
