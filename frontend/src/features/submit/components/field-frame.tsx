import { ActionIcon, Tooltip } from "@mantine/core";
import type { ReactNode } from "react";
import { IconInfo } from "@/components/icons";
import classes from "./fields.module.css";

interface FieldFrameProps {
  name: string;
  /** The schema's words; "" for none. */
  description: string;
  /** Over two columns, or over the whole width of the form. */
  width?: "two" | "all";
  children: ReactNode;
}

/** A field's place, with its explanation on demand: all words beside all fields would hide the fields. */
export function FieldFrame({ name, description, width, children }: FieldFrameProps) {
  return (
    <div className={classes.frame} data-width={width}>
      {children}
      {description !== "" && (
        <Tooltip label={description} multiline maw={360} withArrow events={{ hover: true, focus: true, touch: true }}>
          <ActionIcon
            className={classes.info}
            variant="subtle"
            color="gray"
            size={20}
            aria-label={`About ${name}: ${description}`}
          >
            <IconInfo size={14} />
          </ActionIcon>
        </Tooltip>
      )}
    </div>
  );
}

/** Two controls that make one field. */
export function FieldGroup({ name, children }: { name: string; children: ReactNode }) {
  return (
    <fieldset className={classes.group}>
      <legend className={classes.legend}>{name}</legend>
      <div className={classes.row}>{children}</div>
    </fieldset>
  );
}
