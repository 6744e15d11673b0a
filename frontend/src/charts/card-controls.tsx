import { ActionIcon, Tooltip } from "@mantine/core";
import type { ReactNode } from "react";
import { IconInfo } from "@/components/icons";

interface CardActionProps {
  label: string;
  icon: ReactNode;
  pressed?: boolean;
  onClick: () => void;
}

/** A small button at the right end of a chart's title. */
export function CardAction({ label, icon, pressed, onClick }: CardActionProps) {
  return (
    <Tooltip label={label} withArrow>
      <ActionIcon
        variant={pressed ? "light" : "subtle"}
        color={pressed ? undefined : "gray"}
        size="sm"
        aria-label={label}
        aria-pressed={pressed}
        onClick={onClick}
      >
        {icon}
      </ActionIcon>
    </Tooltip>
  );
}

/** Says what a chart or a column shows, on hover, focus and touch. */
export function CardInfo({ title, description }: { title: string; description: string }) {
  return (
    <Tooltip label={description} multiline maw={300} withArrow events={{ hover: true, focus: true, touch: true }}>
      <ActionIcon variant="subtle" color="gray" size="sm" aria-label={`About ${title}: ${description}`}>
        <IconInfo />
      </ActionIcon>
    </Tooltip>
  );
}
