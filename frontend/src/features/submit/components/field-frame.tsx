import { ActionIcon, Tooltip } from "@mantine/core";
import type { ReactNode } from "react";
import { IconInfo } from "@/components/icons";
import classes from "./fields.module.css";

interface FieldFrameProps {
  name: string;
  /** The schema's words; "" for none. */
  description: string;
  /** Over the whole width of the form. */
  wide?: boolean;
  children: ReactNode;
}

/** A field's place, with its explanation on demand: all words beside all fields would hide the fields. */
export function FieldFrame({ name, description, wide = false, children }: FieldFrameProps) {
  return (
    <div className={classes.frame} data-wide={wide}>
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
